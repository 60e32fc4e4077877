//! Warehouse table names: database, schema and table by the rules of the connection's type.
//!
//! A name that can't be parsed stays as given and is flagged, never guessed.

use serde::{Deserialize, Serialize};

/// A kind of warehouse: how it quotes, folds and completes names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Warehouse {
    /// Snowflake.
    Snowflake,
    /// BigQuery.
    BigQuery,
    /// PostgreSQL and its kin: AlloyDB, Cloud SQL.
    Postgres,
    /// Redshift.
    Redshift,
    /// Databricks.
    Databricks,
    /// Athena.
    Athena,
    /// Trino, Presto, Starburst.
    Trino,
    /// ClickHouse.
    ClickHouse,
    /// SQL Server and its kin.
    SqlServer,
    /// MySQL and MariaDB.
    MySql,
    /// DuckDB and MotherDuck; also what Hex queries dataframes with.
    DuckDb,
    /// One that this version doesn't know.
    Other,
}

/// Rules for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// Unquoted names become upper case; quoted ones are kept.
    Upper,
    /// Unquoted names become lower case; quoted ones are kept.
    Lower,
    /// All names are the same in any case.
    Insensitive,
    /// Names are kept as written.
    Sensitive,
}

impl Warehouse {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Snowflake,
        Self::BigQuery,
        Self::Postgres,
        Self::Redshift,
        Self::Databricks,
        Self::Athena,
        Self::Trino,
        Self::ClickHouse,
        Self::SqlServer,
        Self::MySql,
        Self::DuckDb,
        Self::Other,
    ];

    /// The kind that the API's connection type names.
    pub fn of_type(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "snowflake" => Self::Snowflake,
            "bigquery" => Self::BigQuery,
            "postgres" | "postgresql" | "alloydb" | "cloudsql__postgres" | "cockroachdb" | "materialize" => {
                Self::Postgres
            }
            "redshift" => Self::Redshift,
            "databricks" | "spark" => Self::Databricks,
            "athena" => Self::Athena,
            "trino" | "presto" | "starburst" => Self::Trino,
            "clickhouse" => Self::ClickHouse,
            "sqlserver" | "mssql" | "cloudsql__sqlserver" | "synapse" | "fabric" => Self::SqlServer,
            "mysql" | "mariadb" | "cloudsql__mysql" => Self::MySql,
            "duckdb" | "motherduck" => Self::DuckDb,
            _ => Self::Other,
        }
    }

    fn case(self) -> Case {
        match self {
            Self::Snowflake => Case::Upper,
            Self::Postgres | Self::Redshift => Case::Lower,
            Self::Databricks | Self::Athena | Self::Trino | Self::SqlServer | Self::DuckDb => {
                Case::Insensitive
            }
            Self::BigQuery | Self::ClickHouse | Self::MySql | Self::Other => Case::Sensitive,
        }
    }

    /// Levels of a whole name: two where a database holds its tables directly.
    fn levels(self) -> usize {
        match self {
            Self::ClickHouse | Self::MySql => 2,
            _ => 3,
        }
    }

    /// A part of a name as SQL has it, as the warehouse stores it.
    pub fn fold(self, part: &str, quoted: bool) -> String {
        match (self.case(), quoted) {
            (Case::Insensitive, _) | (Case::Lower, false) => part.to_lowercase(),
            (Case::Upper, false) => part.to_uppercase(),
            (Case::Upper | Case::Lower, true) | (Case::Sensitive, _) => part.to_owned(),
        }
    }

    /// Whether `column.field` needs no parentheses.
    pub(super) fn has_fields(self) -> bool {
        !matches!(self, Self::Postgres | Self::Snowflake | Self::SqlServer | Self::MySql)
    }

    /// Schema that an unqualified name is in where the connection's settings name none.
    fn usual_schema(self) -> Option<&'static str> {
        match self {
            Self::Postgres | Self::Redshift => Some("public"),
            Self::Snowflake => Some("PUBLIC"),
            Self::SqlServer => Some("dbo"),
            Self::Databricks | Self::ClickHouse => Some("default"),
            Self::DuckDb => Some("main"),
            _ => None,
        }
    }
}

/// Database and schema of names that are not written in full, from a connection's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Database, catalog or project.
    pub database: Option<String>,
    /// Schema or dataset.
    pub schema: Option<String>,
}

impl Defaults {
    /// The defaults of a connection: its `database`, `schema` and `jdbc_url` columns.
    pub fn of_connection(
        warehouse: Warehouse,
        database: Option<&str>,
        schema: Option<&str>,
        jdbc_url: Option<&str>,
    ) -> Self {
        let stored = |name: &str| warehouse.fold(name, true);
        let in_url = |key: &str| {
            let (name, value) = jdbc_url?
                .split(';')
                .filter_map(|p| p.split_once('='))
                .find(|(k, _)| k.eq_ignore_ascii_case(key))?;
            (!name.is_empty() && !value.is_empty()).then(|| value.to_owned())
        };
        if warehouse.levels() == 2 {
            let schema = database.or(schema).or(warehouse.usual_schema());
            return Self { database: None, schema: schema.map(stored) };
        }
        let database = database.map(str::to_owned).or_else(|| in_url("ConnCatalog"));
        let schema = schema.map(str::to_owned).or_else(|| in_url("ConnSchema"));
        Self {
            database: database.as_deref().map(stored),
            schema: schema.as_deref().map(stored).or_else(|| warehouse.usual_schema().map(str::to_owned)),
        }
    }
}

impl Defaults {
    /// Effect of `USE DATABASE name`, `USE CATALOG name` and `USE DATABASE a.b`.
    pub(super) fn use_database(&mut self, name: Vec<String>, warehouse: Warehouse) {
        match &*name {
            [schema] if warehouse.levels() == 2 => self.schema = Some(schema.clone()),
            [database] => {
                self.database = Some(database.clone());
                self.schema = warehouse.usual_schema().map(str::to_owned);
            }
            _ => self.use_schema(name),
        }
    }

    /// Effect of `USE SCHEMA name` and `USE SCHEMA database.name`.
    pub(super) fn use_schema(&mut self, mut name: Vec<String>) {
        if let Some(schema) = name.pop() {
            self.schema = Some(schema);
        }
        if let Some(database) = name.pop() {
            self.database = Some(database);
        }
    }

    /// Effect of `USE name`: a schema, where it can't mean anything else.
    pub(super) fn use_object(&mut self, name: Vec<String>, warehouse: Warehouse) {
        match warehouse {
            Warehouse::Databricks | Warehouse::Trino | Warehouse::Athena | Warehouse::DuckDb => {
                self.use_schema(name)
            }
            _ => self.use_database(name, warehouse),
        }
    }
}

/// A table's name, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// Database, catalog or project.
    pub database: Option<String>,
    /// Schema, dataset, or database where there are two levels.
    pub schema: Option<String>,
    /// Table.
    pub table: String,
}

impl TableName {
    /// The whole name, its parts joined by dots; a part that has a dot is quoted. The same for the same table
    /// of a connection, wherever the name comes from.
    pub fn key(&self) -> String {
        let is_dotted = |part: &String| part.contains('.') && !part.starts_with(INFORMATION_SCHEMA);
        let quoted = |part: &String| if is_dotted(part) { format!("\"{part}\"") } else { part.clone() };
        let parts = [self.database.as_ref(), self.schema.as_ref(), Some(&self.table)];
        parts.into_iter().flatten().map(quoted).collect::<Vec<_>>().join(".")
    }
}

/// Prefix of BigQuery's views of metadata. They stand in a dataset or a region, and their name has a dot.
const INFORMATION_SCHEMA: &str = "INFORMATION_SCHEMA.";

/// A part of a name and whether it was quoted.
pub type Part = (String, bool);

/// Reads a name that the warehouse reports, such as Hex's queried tables have. `None` if it isn't one.
pub fn reported(text: &str, warehouse: Warehouse, defaults: &Defaults) -> Option<TableName> {
    // Hex reports them as they stand in queries, in any case: they are folded as SQL's are.
    assemble(split(text.trim(), warehouse)?, warehouse, defaults)
}

/// Makes a name of the parts that SQL has. `None` if it isn't a table's name.
pub fn assemble(parts: Vec<Part>, warehouse: Warehouse, defaults: &Defaults) -> Option<TableName> {
    let mut parts: Vec<Part> = match warehouse {
        // One pair of backticks may hold a whole name.
        Warehouse::BigQuery => parts
            .into_iter()
            .flat_map(|(p, q)| p.split('.').map(|s| (s.to_owned(), q)).collect::<Vec<_>>())
            .collect(),
        _ => parts,
    };
    if warehouse == Warehouse::BigQuery {
        legacy_project(&mut parts);
        let (table, _) = parts.last_mut()?;
        if let Some((name, partition)) = table.split_once('$')
            && !partition.is_empty()
            && (partition.bytes().all(|b| b.is_ascii_digit() || b == b'_') || is_partition(partition))
        {
            *table = name.to_owned();
        }
        metadata_view(&mut parts);
    }
    // `database..table` leaves the schema to the login's default.
    let skipped_schema = warehouse == Warehouse::SqlServer && parts.len() == 3 && parts[1].0.is_empty();
    let empty = parts.iter().enumerate().any(|(i, (part, _))| part.is_empty() && !(skipped_schema && i == 1));
    if empty || parts.is_empty() || parts.len() > warehouse.levels() {
        return None;
    }
    let mut folded = parts.iter().map(|(part, quoted)| warehouse.fold(part, *quoted)).rev();
    let table = folded.next()?;
    let schema = folded.next().filter(|schema| !schema.is_empty()).or_else(|| defaults.schema.clone());
    // A database without a schema would be a gap in the name.
    let completed = || schema.as_ref().filter(|_| warehouse.levels() > 2).and(defaults.database.clone());
    let database = folded.next().or_else(completed);
    Some(TableName { database, schema, table })
}

/// Partitions of BigQuery that have names.
fn is_partition(name: &str) -> bool {
    ["__UNPARTITIONED__", "__NULL__"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// `project.region.INFORMATION_SCHEMA.TABLES`: the view is called by both of its last parts.
fn metadata_view(parts: &mut Vec<Part>) {
    let [.., (schema, _), (view, _)] = &**parts else { return };
    if parts.len() > 2 && format!("{schema}.").eq_ignore_ascii_case(INFORMATION_SCHEMA) {
        let name = format!("{INFORMATION_SCHEMA}{}", view.to_ascii_uppercase());
        parts.truncate(parts.len() - 2);
        parts.push((name, true));
    }
}

/// `project:dataset.table` of BigQuery's legacy SQL, also with a domain before the project.
fn legacy_project(parts: &mut Vec<Part>) {
    let Some(at) = parts.iter().rposition(|(part, _)| part.contains(':')) else { return };
    let before: Vec<String> = parts.drain(..at).map(|(part, _)| part).collect();
    let (part, quoted) = parts.remove(0);
    let (left, right) = part.rsplit_once(':').unwrap_or((&part, ""));
    let prefix: Vec<&str> = before.iter().map(String::as_str).chain([left]).collect();
    let prefix = prefix.join(".");
    if parts.len() >= 2 {
        // `example.com:project` `.dataset.table`
        parts.insert(0, (format!("{prefix}:{right}"), quoted));
    } else {
        parts.insert(0, (right.to_owned(), quoted));
        parts.insert(0, (prefix, quoted));
    }
}

/// Splits a name at dots outside quotes. `None` for what isn't a name: unbalanced quotes, white space or
/// signs outside quotes.
pub(super) fn split(text: &str, warehouse: Warehouse) -> Option<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    let (mut part, mut quoted, mut closed) = (String::new(), false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let end = match c {
            '"' | '`' => Some(c),
            '[' if matches!(warehouse, Warehouse::SqlServer | Warehouse::BigQuery | Warehouse::Other) => {
                Some(']')
            }
            _ => None,
        };
        match (c, end) {
            (_, Some(end)) if part.is_empty() && !closed => {
                quoted = true;
                closed = true;
                loop {
                    let inner = chars.next()?;
                    if inner == end {
                        // A quote that is doubled stands for itself.
                        if chars.peek() == Some(&end) {
                            chars.next();
                        } else {
                            break;
                        }
                    }
                    part.push(inner);
                }
            }
            (_, Some(_)) => return None,
            ('.', None) => {
                parts.push((std::mem::take(&mut part), quoted));
                (quoted, closed) = (false, false);
            }
            _ if closed => return None,
            (c, None) if c.is_alphanumeric() || "_$-*:#/@ ".contains(c) => part.push(c),
            _ => return None,
        }
    }
    parts.push((part, quoted));
    let is_path = text.contains("://") || text.starts_with(['/', '@']);
    let blank = parts.iter().any(|(part, quoted)| !quoted && part.contains(' '));
    (!is_path && !blank).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(database: &str, schema: &str) -> Defaults {
        Defaults { database: Some(database.into()), schema: Some(schema.into()) }
    }

    fn key(text: &str, warehouse: Warehouse) -> Option<String> {
        reported(text, warehouse, &defaults("DB", "SC")).map(|name| name.key())
    }

    #[test]
    fn reported_names_are_split_by_each_warehouses_rules() {
        use Warehouse as W;
        for (warehouse, text, expected) in [
            (W::Snowflake, "PROD.CORE.ORDERS", Some("PROD.CORE.ORDERS")),
            (W::Snowflake, "\"Prod\".core.\"Or.ders\"", Some("Prod.CORE.\"Or.ders\"")),
            (W::Snowflake, "global.public.orders", Some("GLOBAL.PUBLIC.ORDERS")),
            (W::BigQuery, "acme.sales.events$__UNPARTITIONED__", Some("acme.sales.events")),
            (
                W::BigQuery,
                "`acme.region-eu.INFORMATION_SCHEMA.TABLES`",
                Some("acme.region-eu.INFORMATION_SCHEMA.TABLES"),
            ),
            (W::BigQuery, "region-eu.information_schema.jobs", Some("DB.region-eu.INFORMATION_SCHEMA.JOBS")),
            (W::Snowflake, "CORE.ORDERS", Some("DB.CORE.ORDERS")),
            (W::Snowflake, "ORDERS", Some("DB.SC.ORDERS")),
            (W::Snowflake, "a.b.c.d", None),
            (W::Snowflake, "@stage/path", None),
            (W::Snowflake, "a..b", None),
            (W::Snowflake, "select 1", None),
            (W::Snowflake, "\"open.b", None),
            (W::Snowflake, "", None),
            (W::BigQuery, "my-project.sales.orders", Some("my-project.sales.orders")),
            (W::BigQuery, "`my-project.sales.orders`", Some("my-project.sales.orders")),
            (W::BigQuery, "`my-project`.`sales`.events_*", Some("my-project.sales.events_*")),
            (W::BigQuery, "my-project.sales.events$20240101", Some("my-project.sales.events")),
            (W::BigQuery, "my-project:sales.orders", Some("my-project.sales.orders")),
            (W::BigQuery, "[my-project:sales.orders]", Some("my-project.sales.orders")),
            (
                W::BigQuery,
                "example.com:my-project.sales.orders",
                Some("\"example.com:my-project\".sales.orders"),
            ),
            (W::Postgres, "public.\"Weird\"\"Name\"", Some("DB.public.Weird\"Name")),
            (W::Databricks, "Main.Default.Orders", Some("main.default.orders")),
            (W::ClickHouse, "core.orders", Some("core.orders")),
            (W::ClickHouse, "a.core.orders", None),
            (W::MySql, "`my db`.`t`", Some("my db.t")),
            (W::SqlServer, "[Sales].[dbo].[Or.ders]", Some("sales.dbo.\"or.ders\"")),
            (W::SqlServer, "Sales..Orders", Some("sales.SC.orders")),
            (W::DuckDb, "s3://bucket/file.parquet", None),
            (W::Trino, "hive.Web.clicks", Some("hive.web.clicks")),
        ] {
            assert_eq!(key(text, warehouse).as_deref(), expected, "{warehouse:?} {text}");
        }
    }

    #[test]
    fn unquoted_names_in_sql_are_folded_as_the_warehouse_does() {
        let name = |warehouse: Warehouse, quoted| {
            let parts = vec![("Core".to_owned(), quoted), ("Orders".to_owned(), quoted)];
            assemble(parts, warehouse, &Defaults::default()).unwrap().key()
        };
        assert_eq!(name(Warehouse::Snowflake, false), "CORE.ORDERS");
        assert_eq!(name(Warehouse::Snowflake, true), "Core.Orders");
        assert_eq!(name(Warehouse::Postgres, false), "core.orders");
        assert_eq!(name(Warehouse::Postgres, true), "Core.Orders");
        assert_eq!(name(Warehouse::Trino, true), "core.orders");
        assert_eq!(name(Warehouse::BigQuery, false), "Core.Orders");
    }

    #[test]
    fn names_are_completed_from_the_connections_settings_and_not_otherwise() {
        let url = "jdbc:databricks://host:443/default;ConnCatalog=main;ConnSchema=gold";
        let of = |w, d, s, u| Defaults::of_connection(w, d, s, u);
        assert_eq!(of(Warehouse::Databricks, None, None, Some(url)), defaults("main", "gold"));
        assert_eq!(of(Warehouse::Postgres, Some("app"), None, None), defaults("app", "public"));
        assert_eq!(
            of(Warehouse::ClickHouse, Some("web"), None, None),
            Defaults { database: None, schema: Some("web".into()) }
        );
        let project = of(Warehouse::BigQuery, Some("acme"), None, None);
        assert_eq!(reported("orders", Warehouse::BigQuery, &project).unwrap().key(), "orders");
        assert_eq!(
            reported("sales.orders", Warehouse::BigQuery, &project).unwrap().key(),
            "acme.sales.orders"
        );
    }

    #[test]
    fn any_text_is_read_or_refused_without_a_panic() {
        use rand::{RngExt, SeedableRng};
        let mut r = rand_chacha::ChaCha8Rng::seed_from_u64(4);
        let alphabet: Vec<char> = "ab.\"`[]:$*-_ /@é\u{0}".chars().collect();
        for _ in 0..20_000 {
            let text: String =
                (0..r.random_range(0..14)).map(|_| alphabet[r.random_range(0..alphabet.len())]).collect();
            for warehouse in
                [Warehouse::BigQuery, Warehouse::SqlServer, Warehouse::Snowflake, Warehouse::ClickHouse]
            {
                if let Some(name) = reported(&text, warehouse, &Defaults::default()) {
                    assert!(!name.table.is_empty(), "{text}");
                }
            }
        }
    }
}
