//! Warehouses and the SQL that simulated notebooks read them with, together with the truth about what each
//! query reads.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::rng::{chance, pick, skewed};

/// A warehouse table by its resolved name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableRef {
    /// Index of the data connection in the world.
    pub connection: usize,
    /// Database (Snowflake), project (BigQuery), catalog (Databricks, Trino, Athena); none where the
    /// warehouse has two levels (ClickHouse).
    pub database: Option<String>,
    /// Schema, dataset or ClickHouse database.
    pub schema: String,
    /// Table.
    pub table: String,
}

impl TableRef {
    /// The name as the warehouse reports it: all levels, joined by dots.
    pub fn qualified(&self) -> String {
        match &self.database {
            Some(database) => format!("{database}.{}.{}", self.schema, self.table),
            None => format!("{}.{}", self.schema, self.table),
        }
    }
}

/// Tables that a cell reads, components that it imports, and its source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CellTruth {
    /// Tables that it reads.
    pub tables: Vec<TableRef>,
    /// Tables that it writes.
    pub writes: Vec<TableRef>,
    /// Columns that it reads, with the table they belong to.
    pub columns: Vec<(TableRef, String)>,
    /// Of these, those that its text names without their table, although it reads more than one.
    pub unqualified: Vec<(TableRef, String)>,
    /// The others: those whose table the text leaves no doubt about.
    pub shown: Vec<(TableRef, String)>,
    /// Dataframes of earlier cells.
    pub dataframes: Vec<String>,
    /// The component that the cell imports: identifier and version.
    pub component: Option<(String, i64)>,
    /// Number of following cells that the cell holds.
    pub holds: usize,
}

/// A table of a warehouse.
#[derive(Debug, Clone)]
pub struct CatalogTable {
    /// Name.
    pub name: TableRef,
    /// Columns.
    pub columns: Vec<String>,
}

/// Tables behind a data connection.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Warehouse type as the API names it.
    pub kind: &'static str,
    /// Default database.
    pub database: Option<String>,
    /// Default schema; none where the connection's settings don't name one.
    pub schema: Option<String>,
    /// Tables, the most read first.
    pub tables: Vec<CatalogTable>,
}

const SCHEMAS: [&str; 8] =
    ["core", "sales", "finance", "marketing", "product", "hr_private", "support", "staging"];
const NOUNS: [&str; 24] = [
    "orders",
    "customers",
    "events",
    "sessions",
    "invoices",
    "payments",
    "subscriptions",
    "products",
    "accounts",
    "leads",
    "campaigns",
    "tickets",
    "refunds",
    "shipments",
    "employees",
    "salaries",
    "page_views",
    "devices",
    "experiments",
    "features",
    "churn_scores",
    "ledger",
    "contracts",
    "usage_daily",
];
const PREFIXES: [&str; 5] = ["", "dim_", "fct_", "stg_", "raw_"];
const COLUMNS: [&str; 28] = [
    "id",
    "customer_id",
    "account_id",
    "created_at",
    "updated_at",
    "status",
    "amount",
    "currency",
    "country",
    "region",
    "email",
    "name",
    "plan",
    "source",
    "channel",
    "device",
    "quantity",
    "price",
    "discount",
    "tax",
    "started_at",
    "ended_at",
    "is_active",
    "score",
    "segment",
    "owner_id",
    "product_id",
    "notes",
];

/// Warehouse types of the description, the commonest first.
pub const KINDS: [&str; 8] =
    ["snowflake", "bigquery", "postgres", "databricks", "redshift", "athena", "trino", "clickhouse"];

/// Makes the tables that connection number `connection` reaches.
pub fn catalog(rng: &mut ChaCha8Rng, connection: usize, kind: &'static str) -> Catalog {
    let fold = |name: &str| {
        if kind == "snowflake" { name.to_uppercase() } else { name.to_owned() }
    };
    let database = match kind {
        "clickhouse" => None,
        "athena" => Some("awsdatacatalog".to_owned()),
        "bigquery" => Some(format!("acme-{}-{connection}", pick(rng, &["prod", "analytics", "dwh"]))),
        _ => Some(fold(&format!(
            "{}{connection}",
            pick(rng, &["analytics", "prod", "warehouse", "reporting"])
        ))),
    };
    let schemas: Vec<String> = match kind {
        "postgres" | "redshift" => {
            std::iter::once("public").chain(SCHEMAS).map(str::to_owned).take(5).collect()
        }
        _ => SCHEMAS.iter().map(|s| fold(s)).collect(),
    };
    let count = rng.random_range(20..70);
    let mut tables: Vec<CatalogTable> = Vec::new();
    for _ in 0..count {
        let schema = schemas[skewed(rng, schemas.len())].clone();
        let table = fold(&format!("{}{}", pick(rng, &PREFIXES), pick(rng, &NOUNS)));
        let name = TableRef { connection, database: database.clone(), schema, table };
        if tables.iter().any(|t| t.name == name) {
            continue;
        }
        let width = rng.random_range(4..12);
        let mut columns = vec![fold("id")];
        while columns.len() < width {
            let column = fold(pick(rng, &COLUMNS));
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        tables.push(CatalogTable { name, columns });
    }
    let schema = match kind {
        "bigquery" | "athena" => None,
        "postgres" | "redshift" => Some("public".to_owned()),
        "databricks" | "clickhouse" => Some("default".to_owned()),
        _ => Some(schemas[0].clone()),
    };
    Catalog { kind, database, schema, tables }
}

/// A generated SQL cell.
pub struct SqlCell {
    /// Source text.
    pub source: String,
    /// Tables that it reads.
    pub truth: CellTruth,
    /// Columns of its result.
    pub output: Vec<String>,
}

struct Table<'a> {
    table: &'a CatalogTable,
    alias: String,
    columns: Vec<&'a str>,
}

/// Writes a query against `catalog`. `prefer` shifts which tables are read, so that projects differ.
pub fn query(rng: &mut ChaCha8Rng, catalog: &Catalog, prefer: usize) -> SqlCell {
    let count = [1, 1, 1, 2, 2, 3][rng.random_range(0..6)];
    let mut tables: Vec<Table<'_>> = Vec::new();
    for i in 0..count {
        let at = (skewed(rng, catalog.tables.len()) + prefer) % catalog.tables.len();
        let table = &catalog.tables[at];
        if tables.iter().any(|t| t.table.name == table.name) {
            continue;
        }
        let mut columns: Vec<&str> = vec![&table.columns[0]];
        for column in &table.columns[1..] {
            if chance(rng, 0.4) {
                columns.push(column);
            }
        }
        tables.push(Table { table, alias: format!("{}{i}", pick(rng, &["t", "a", "src_"])), columns });
    }
    let style = Style { kind: catalog.kind, upper: chance(rng, 0.7), catalog };
    let mut truth = CellTruth::default();
    let (source, output) = match rng.random_range(0..10) {
        0 if tables.len() == 1 => subquery(rng, &style, &tables),
        1 => ctes(rng, &style, &tables),
        2 if tables.len() > 1 => union(rng, &style, &tables),
        3 => jinja(rng, &style, &tables),
        4 => looped(rng, &style, &mut tables),
        5 => macros(rng, &style, &tables),
        6 if tables.len() > 1 => unqualified(rng, &style, &mut tables, &mut truth),
        7 => writing(rng, &style, &tables, &mut truth),
        _ => join(rng, &style, &tables, None),
    };
    for table in &tables {
        truth.tables.push(table.table.name.clone());
        truth.columns.extend(table.columns.iter().map(|c| (table.table.name.clone(), (*c).to_owned())));
    }
    let columns = truth.columns.iter().filter(|column| !truth.unqualified.contains(column));
    truth.shown = columns.cloned().collect();
    SqlCell { source, truth, output }
}

/// Writes a query over the dataframe of an earlier cell.
pub fn dataframe_query(rng: &mut ChaCha8Rng, frame: &str, columns: &[String]) -> SqlCell {
    let column = &columns[rng.random_range(0..columns.len())];
    let source = match rng.random_range(0..3) {
        0 => format!("select {column}, count(*) as n\nfrom {frame}\ngroup by 1\norder by n desc"),
        1 => format!("with ranked as (\n  select {column} from {frame}\n)\nselect * from ranked limit 100"),
        _ => format!("SELECT {column}\nFROM {frame}\nWHERE {column} IS NOT NULL"),
    };
    let truth = CellTruth { dataframes: vec![frame.to_owned()], ..CellTruth::default() };
    SqlCell { source, truth, output: vec![column.clone()] }
}

struct Style<'a> {
    kind: &'static str,
    upper: bool,
    catalog: &'a Catalog,
}

impl Style<'_> {
    fn word(&self, word: &str) -> String {
        if self.upper { word.to_uppercase() } else { word.to_lowercase() }
    }

    /// A table's name as an author would write it: quoted or not, in full or by the connection's defaults.
    fn table(&self, rng: &mut ChaCha8Rng, name: &TableRef) -> String {
        let defaults =
            self.catalog.database == name.database && self.catalog.schema.as_deref() == Some(&name.schema);
        let form = rng.random_range(0..4);
        let parts: Vec<&str> = match (&name.database, form) {
            _ if defaults && form == 0 => vec![&name.table],
            (Some(_), 1) | (None, _) => vec![&name.schema, &name.table],
            (Some(database), _) => vec![database, &name.schema, &name.table],
        };
        match self.kind {
            "bigquery" if form == 2 => parts.iter().map(|p| format!("`{p}`")).collect::<Vec<_>>().join("."),
            "bigquery" => format!("`{}`", parts.join(".")),
            "databricks" | "clickhouse" if form == 2 => {
                parts.iter().map(|p| format!("`{p}`")).collect::<Vec<_>>().join(".")
            }
            "snowflake" if form == 3 => parts.join(".").to_lowercase(),
            "snowflake" | "postgres" | "redshift" | "athena" | "trino" if form == 2 => {
                parts.iter().map(|p| format!("\"{p}\"")).collect::<Vec<_>>().join(".")
            }
            _ => parts.join("."),
        }
    }

    fn column(&self, rng: &mut ChaCha8Rng, column: &str) -> String {
        if self.kind == "snowflake" && chance(rng, 0.5) { column.to_lowercase() } else { column.to_owned() }
    }
}

fn list(rng: &mut ChaCha8Rng, style: &Style<'_>, table: &Table<'_>, prefix: &str) -> Vec<String> {
    table.columns.iter().map(|c| format!("{prefix}{}", style.column(rng, c))).collect()
}

fn join(
    rng: &mut ChaCha8Rng,
    style: &Style<'_>,
    tables: &[Table<'_>],
    filter: Option<&str>,
) -> (String, Vec<String>) {
    let mut select: Vec<String> = Vec::new();
    let mut output = Vec::new();
    for (i, table) in tables.iter().enumerate() {
        for column in &table.columns {
            let written = style.column(rng, column);
            let name = if i == 0 {
                (*column).to_lowercase()
            } else {
                format!("{}_{}", table.alias, column.to_lowercase())
            };
            let alias = if i == 0 { String::new() } else { format!(" {} {name}", style.word("as")) };
            select.push(format!("{}.{written}{alias}", table.alias));
            output.push(name);
        }
    }
    let first = &tables[0];
    let mut sql = format!(
        "{} {}\n{} {} {} {}",
        style.word("select"),
        select.join(", "),
        style.word("from"),
        style.table(rng, &first.table.name),
        style.word("as"),
        first.alias
    );
    for table in &tables[1..] {
        let how = pick(rng, &["join", "left join", "inner join"]);
        sql += &format!(
            "\n{} {} {} {} {} {}.{} = {}.{}",
            style.word(how),
            style.table(rng, &table.table.name),
            style.word("as"),
            table.alias,
            style.word("on"),
            first.alias,
            style.column(rng, first.columns[0]),
            table.alias,
            style.column(rng, table.columns[0])
        );
    }
    if let Some(filter) = filter {
        sql += &format!("\n{filter}");
    }
    (sql, output)
}

fn subquery(rng: &mut ChaCha8Rng, style: &Style<'_>, tables: &[Table<'_>]) -> (String, Vec<String>) {
    let table = &tables[0];
    let columns = list(rng, style, table, "");
    let output: Vec<String> = table.columns.iter().map(|c| c.to_lowercase()).collect();
    let sql = format!(
        "{select} q.* {from} (\n  -- latest rows only\n  {select} {columns} {from} {name}\n) q {limit} 1000",
        select = style.word("select"),
        from = style.word("from"),
        limit = style.word("limit"),
        columns = columns.join(", "),
        name = style.table(rng, &table.table.name),
    );
    (sql, output)
}

fn ctes(rng: &mut ChaCha8Rng, style: &Style<'_>, tables: &[Table<'_>]) -> (String, Vec<String>) {
    let (with, select, from, as_) =
        (style.word("with"), style.word("select"), style.word("from"), style.word("as"));
    let mut parts = Vec::new();
    for (i, table) in tables.iter().enumerate() {
        let columns = list(rng, style, table, "").join(", ");
        parts.push(format!(
            "cte_{i} {as_} (\n  {select} {columns}\n  {from} {}\n)",
            style.table(rng, &table.table.name)
        ));
    }
    let last = tables.len() - 1;
    let columns = list(rng, style, &tables[last], "").join(", ");
    let output = tables[last].columns.iter().map(|c| c.to_lowercase()).collect();
    let others: String =
        (0..last).map(|i| format!(", ({select} count(*) {from} cte_{i}) {as_} n_{i}")).collect();
    (format!("{with} {}\n{select} {columns}{others}\n{from} cte_{last}", parts.join(", ")), output)
}

fn union(rng: &mut ChaCha8Rng, style: &Style<'_>, tables: &[Table<'_>]) -> (String, Vec<String>) {
    let all = style.word("union all");
    let parts: Vec<String> = tables
        .iter()
        .map(|table| {
            let rest: String = list(rng, style, table, "")[1..]
                .iter()
                .map(|c| format!(" {} {c} {}", style.word("and"), style.word("is not null")))
                .collect();
            format!(
                "{} {}\n{} {}\n{} 1 = 1{rest}",
                style.word("select"),
                style.column(rng, table.columns[0]),
                style.word("from"),
                style.table(rng, &table.table.name),
                style.word("where"),
            )
        })
        .collect();
    (parts.join(&format!("\n{all}\n")), vec![tables[0].columns[0].to_lowercase()])
}

/// A loop that writes the list of columns, or one query a table.
fn looped(rng: &mut ChaCha8Rng, style: &Style<'_>, tables: &mut [Table<'_>]) -> (String, Vec<String>) {
    let (select, from, as_) = (style.word("select"), style.word("from"), style.word("as"));
    let quoted = |texts: Vec<String>| texts.iter().map(|t| format!("'{t}'")).collect::<Vec<_>>().join(", ");
    if tables.len() > 1 {
        // Only the key of each is read.
        tables.iter_mut().for_each(|table| table.columns.truncate(1));
        let names = quoted(tables.iter().map(|table| style.table(rng, &table.table.name)).collect());
        let column = style.column(rng, tables[0].columns[0]);
        let sql = format!(
            "{{% for name in [{names}] %}}\n{select} {column} {from} {{{{ name | sqlsafe }}}}\n{{% if not loop.last %}}{}\n\
             {{% endif %}}\n{{% endfor %}}",
            style.word("union all")
        );
        return (sql, vec![tables[0].columns[0].to_lowercase()]);
    }
    let table = &tables[0];
    let output = table.columns.iter().map(|column| column.to_lowercase()).collect();
    let columns = quoted(list(rng, style, table, ""));
    let sql = format!(
        "{{% set wanted = [{columns}] %}}\n{select}\n{{% for column in wanted %}}\n  {alias}.{{{{ column | sqlsafe }}}}\
         {{% if not loop.last %}},{{% endif %}}\n{{% endfor %}}\n{from} {} {as_} {alias}",
        style.table(rng, &table.table.name),
        alias = table.alias,
    );
    (sql, output)
}

/// A macro that writes a column of each table.
fn macros(rng: &mut ChaCha8Rng, style: &Style<'_>, tables: &[Table<'_>]) -> (String, Vec<String>) {
    let (sql, output) = join(rng, style, tables, None);
    let key = style.column(rng, tables[0].columns[0]);
    let calls: String =
        tables.iter().map(|table| format!("{{{{ key_of('{}') | sqlsafe }}}}, ", table.alias)).collect();
    // The macro's calls come before the first column of the list.
    let (verb, rest) = sql.split_once(' ').expect("a query begins with its verb");
    let text =
        format!("{{% macro key_of(alias) %}}{{{{ alias }}}}.{key}{{% endmacro %}}\n{verb} {calls}{rest}");
    (text, output)
}

/// A join whose columns are named without their table: each is a column of one of the tables alone.
fn unqualified(
    rng: &mut ChaCha8Rng,
    style: &Style<'_>,
    tables: &mut [Table<'_>],
    truth: &mut CellTruth,
) -> (String, Vec<String>) {
    let whole: Vec<Vec<String>> = tables.iter().map(|table| table.table.columns.clone()).collect();
    let mut names = Vec::new();
    for (at, table) in tables.iter_mut().enumerate() {
        let others = || whole.iter().enumerate().filter(|(other, _)| *other != at);
        let key = table.columns[0];
        table.columns.retain(|column| {
            *column == key || !others().any(|(_, columns)| columns.iter().any(|other| other == column))
        });
        for column in &table.columns[1..] {
            names.push(style.column(rng, column));
            truth.unqualified.push((table.table.name.clone(), (*column).to_owned()));
        }
    }
    let (sql, _) = join(rng, style, tables, None);
    let (_, rest) = sql.split_once('\n').expect("a join has a line for its columns");
    let output = names.iter().map(|name| name.to_lowercase()).chain(["n".to_owned()]).collect();
    names.push(format!("1 {} n", style.word("as")));
    // The first key is in the conditions of the join alone, as the others are.
    (format!("{} {}\n{rest}", style.word("select"), names.join(", ")), output)
}

/// A statement that writes a table from a query.
fn writing(
    rng: &mut ChaCha8Rng,
    style: &Style<'_>,
    tables: &[Table<'_>],
    truth: &mut CellTruth,
) -> (String, Vec<String>) {
    let fold = |name: String| if style.kind == "snowflake" { name.to_uppercase() } else { name };
    let first = &tables[0].table.name;
    let target = TableRef { table: fold(format!("rpt_{}", pick(rng, &NOUNS))), ..first.clone() };
    let name = style.table(rng, &target);
    let (query, _) = join(rng, style, tables, None);
    let key = tables[0].columns[0];
    let can_merge = ["snowflake", "bigquery", "postgres", "databricks", "trino"].contains(&style.kind);
    let sql = match rng.random_range(0..3) {
        0 if can_merge => {
            truth.columns.push((target.clone(), key.to_owned()));
            format!(
                "{merge} {name} {as_} old\n{using} (\n{query}\n) {as_} new\n{on} old.{key} = new.{key}\n{when} ({key}) \
                 {values} (new.{key})",
                merge = style.word("merge into"),
                using = style.word("using"),
                as_ = style.word("as"),
                on = style.word("on"),
                when = style.word("when not matched then insert"),
                values = style.word("values"),
            )
        }
        1 => format!("{} {name} {}\n{query}", style.word("create table"), style.word("as")),
        _ => format!("{} {name}\n{query}", style.word("insert into")),
    };
    truth.writes.push(target);
    // What is written is no dataframe.
    (sql, Vec::new())
}

fn jinja(rng: &mut ChaCha8Rng, style: &Style<'_>, tables: &[Table<'_>]) -> (String, Vec<String>) {
    let first = &tables[0];
    let column = format!("{}.{}", first.alias, style.column(rng, first.columns[0]));
    let filter = match rng.random_range(0..4) {
        0 => format!("{} {column} = {{{{ selected_id }}}}", style.word("where")),
        1 => format!("{} {column} {} ({{{{ ids | array }}}})", style.word("where"), style.word("in")),
        2 => format!(
            "{} 1 = 1\n{{% if only_some %}}\n  {} {column} > {{{{ lower }}}}\n{{% endif %}}",
            style.word("where"),
            style.word("and")
        ),
        _ => format!(
            "{{# filter set by the app #}}\n{} {column} {} '{{{{ pattern }}}}%'",
            style.word("where"),
            style.word("like")
        ),
    };
    join(rng, style, tables, Some(&filter))
}
