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

/// What a cell reads, imports and holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CellTruth {
    /// Tables.
    pub tables: Vec<TableRef>,
    /// Columns, with the table they belong to.
    pub columns: Vec<(TableRef, String)>,
    /// Dataframes of earlier cells.
    pub dataframes: Vec<String>,
    /// The component that the cell imports: identifier and version.
    pub component: Option<(String, i64)>,
    /// How many of the next cells the cell holds.
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

/// What a data connection reaches.
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
    let (source, output) = match rng.random_range(0..6) {
        0 if tables.len() == 1 => subquery(rng, &style, &tables),
        1 => ctes(rng, &style, &tables),
        2 if tables.len() > 1 => union(rng, &style, &tables),
        3 => jinja(rng, &style, &tables),
        _ => join(rng, &style, &tables, None),
    };
    let mut truth = CellTruth::default();
    for table in &tables {
        truth.tables.push(table.table.name.clone());
        truth.columns.extend(table.columns.iter().map(|c| (table.table.name.clone(), (*c).to_owned())));
    }
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
