//! `hexport schema`: the exported tables.

use serde_json::{Value, json};

use super::ddl::{self, Engine};
use super::exit::{Code, Failure};
use super::render;
use crate::registry;
use crate::schema::{Column, Origin, Table, type_name};

/// Arguments of `hexport schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Table to show [default: all]
    #[arg(value_name = "TABLE")]
    table: Option<String>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Form::Table)]
    format: Form,
    /// Where the lake is, for the definitions of engines
    #[arg(long, value_name = "URL", default_value = "s3://bucket/hex")]
    location: String,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// Markdown.
    Markdown,
    /// Definitions for Amazon Athena and AWS Glue, over the Delta tables
    DdlAthena,
    /// Definitions for BigQuery, over the snapshots' Parquet files
    #[value(name = "ddl-bigquery")]
    DdlBigQuery,
    /// Definitions for ClickHouse, over the snapshots' Parquet files
    #[value(name = "ddl-clickhouse")]
    DdlClickHouse,
    /// Definitions for Databricks and Spark, over the Delta tables
    DdlDatabricks,
    /// Definitions for DuckDB, over the snapshots' Parquet files
    #[value(name = "ddl-duckdb")]
    DdlDuckDb,
    /// Definitions for Snowflake, over the snapshots' Parquet files
    DdlSnowflake,
    /// Definitions for Trino, over the Delta tables
    DdlTrino,
}

impl Form {
    fn engine(self) -> Option<Engine> {
        match self {
            Form::Table | Form::Json | Form::Markdown => None,
            Form::DdlAthena => Some(Engine::Athena),
            Form::DdlBigQuery => Some(Engine::BigQuery),
            Form::DdlDatabricks => Some(Engine::Databricks),
            Form::DdlClickHouse => Some(Engine::ClickHouse),
            Form::DdlDuckDb => Some(Engine::DuckDb),
            Form::DdlSnowflake => Some(Engine::Snowflake),
            Form::DdlTrino => Some(Engine::Trino),
        }
    }
}

/// Shows the tables.
///
/// # Errors
/// For a name that isn't a table's.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let chosen: Vec<&'static Table> = match &args.table {
        None => registry::all().collect(),
        Some(name) => {
            let known = || registry::all().map(|t| t.name).collect::<Vec<_>>().join(", ");
            let missing = || {
                Failure::new(Code::Usage, format!("there is no table '{name}'"))
                    .next(format!("There are {}.", known()))
            };
            vec![registry::by_name(name).ok_or_else(missing)?]
        }
    };
    if let Some(engine) = args.format.engine() {
        // Engines refuse tables that have no files yet.
        let is_wanted = |table: &&&'static Table| args.table.is_some() || !registry::is_of_history(table);
        let left: Vec<&str> =
            chosen.iter().filter(|table| !is_wanted(table)).map(|table| table.name).collect();
        if !left.is_empty() {
            println!("-- Once a query history was imported, define by name: {}\n", left.join(", "));
        }
        let statements = chosen.iter().filter(is_wanted);
        let statements = statements.map(|table| ddl::statement(engine, table, &args.location));
        println!("{}", statements.collect::<Vec<_>>().join("\n\n"));
        return Ok(Code::Complete);
    }
    match args.format {
        Form::Json => {
            let all: Vec<Value> = chosen.iter().map(|t| as_json(t)).collect();
            println!("{}", serde_json::to_string_pretty(&all).unwrap_or_default());
        }
        Form::Markdown => chosen.iter().for_each(|t| print_markdown(t)),
        _ => chosen.iter().for_each(|t| print_table(t)),
    }
    Ok(Code::Complete)
}

fn source(table: &Table) -> String {
    match table.origin {
        Origin::Api(operation) => operation.id.into(),
        Origin::Crawl => "the crawl".into(),
        Origin::History(_) => "hexport import query-history".into(),
        Origin::Derived(from) => from.join(", "),
    }
}

/// Where a column's value comes from, in the API's own words.
fn field(column: &Column) -> String {
    match column.from {
        "@entity" => "the project or group asked about".into(),
        from if from.is_empty() || from.starts_with('@') => "hexport".into(),
        from => from.replace('|', ", else "),
    }
}

fn nullable(column: &Column) -> &'static str {
    if column.nullable { "null" } else { "" }
}

fn as_json(table: &'static Table) -> Value {
    let columns: Vec<Value> = table
        .all_columns()
        .map(|c| json!({"name": c.name, "type": type_name(&c.ty.arrow()), "nullable": c.nullable, "source": field(c), "doc": c.doc}))
        .collect();
    json!({"table": table.name, "doc": table.doc, "source": source(table), "key": table.key, "columns": columns})
}

fn print_markdown(table: &'static Table) {
    println!(
        "## {}\n\n{}. From `{}`; key: {}.\n",
        table.name,
        table.doc,
        source(table),
        table.key.join(", ")
    );
    println!("| column | type | null | source | meaning |\n| --- | --- | --- | --- | --- |");
    for c in table.all_columns() {
        let escaped = |text: &str| text.replace('|', "\\|");
        println!(
            "| {} | {} | {} | {} | {} |",
            c.name,
            escaped(&type_name(&c.ty.arrow())),
            nullable(c),
            escaped(&field(c)),
            escaped(c.doc)
        );
    }
    println!();
}

fn print_table(table: &'static Table) {
    println!("{}: {}\n  from {}; key: {}\n", table.name, table.doc, source(table), table.key.join(", "));
    let mut shown = render::table(&["  Column", "Type", "", "Source", "Meaning"], &[]);
    // The common columns mean the same everywhere; only their names stand in each table.
    for c in table.columns {
        shown.add_row([
            format!("  {}", c.name),
            type_name(&c.ty.arrow()),
            nullable(c).into(),
            field(c),
            c.doc.into(),
        ]);
    }
    let names: Vec<&str> = table.common().iter().map(|c| c.name).collect();
    println!("{shown}\n  and {}, as every table\n", names.join(", "));
}
