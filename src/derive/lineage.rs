//! `lineage`: which project reads or writes which table, by five kinds of evidence.

use polars::prelude::*;

use super::cells::READ;
use super::components;
use super::connections::{Naming, namings, text as text_at};
use super::names::reported;
use super::{Inputs, RUN_STATS, SQL_TABLES, by_nullable_key};
use crate::schema::columns::{boolean, int, text, time};
use crate::schema::{self, Origin, Table, itself};
use crate::tables::{CELLS, DATA_CONNECTIONS, EXECUTED_TABLES, PROJECTS};

/// One row a project, connection, table and direction.
pub static LINEAGE: Table = Table {
    name: "lineage",
    doc: "Warehouse tables that projects read or write, by Hex's queried tables, the cells' SQL, imported components and executed queries",
    origin: Origin::Derived(&[
        "queried_tables",
        "sql_tables",
        "executed_tables",
        "component_imports",
        "cells",
        "projects",
        "data_connections",
        "run_stats",
    ]),
    key: &["project_id", "data_connection_id", "table_key", "direction"],
    columns: &[
        text("project_id", "", "Project").required(),
        text("data_connection_id", "", "Data connection"),
        text("table_key", "", "Full name of the table; the same for all uses of a table on one connection").required(),
        text("direction", "", "read or write").required(),
        text("database_name", "", "Database, catalog or project; null if the name doesn't say"),
        text("schema_name", "", "Schema or dataset; null if the name doesn't say"),
        text("table_name", "", "Table; the name as given, if it could not be parsed").required(),
        text("reported_name", "", "Name as Hex's queried tables give it"),
        boolean("parsed", "", "Whether the name could be parsed by the rules of the connection's type")
            .required(),
        schema::Column::new(
            "evidence",
            schema::Type::List(&schema::Type::Utf8),
            "",
            "Sorted: component (a component that the project imports), executed (warehouses' query histories), queried (Hex's queried tables), scanned (SQL that could not be parsed), sql (parsed SQL)",
        )
        .required(),
        schema::Column::new(
            "via_component_ids",
            schema::Type::List(&schema::Type::Utf8),
            "",
            "Components whose cells read or write it, of those that the project imports, directly or through others; null if none does",
        ),
        int("cells", "", "SQL cells of the project itself that read or write it"),
        int("executions", "", "Queries that read or wrote it, by imported query histories").noise(),
        time("first_executed_at", "", "Start of the first of them").noise(),
        time("last_executed_at", "", "Start of the last of them").noise(),
        text("project_title", "", "Project's title"),
        text("project_type", "", "PROJECT or COMPONENT"),
        text("project_status", "", "Project's status label"),
        text("owner_email", "", "Project's owner"),
        boolean("is_published", "", "Whether the project was ever published"),
        boolean("is_archived", "", "Whether the project is archived or in the trash"),
        text("connection_name", "", "Data connection's name"),
        text("connection_type", "", "Data connection's type"),
        time("first_seen_at", "", "First snapshot in the unbroken series that has it")
            .noise(),
        time("last_seen_at", "", "When the evidence was last read from the API").noise(),
        time("last_run_at", "", "Start of the project's last run").noise(),
    ],
    elsewhere: &[],
    explode: itself,
};

pub(super) const KEY: [&str; 4] = ["project_id", "data_connection_id", "table_key", "direction"];

/// Computes the rows.
pub fn derive(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    let by_key = || KEY.map(col);
    let cells = inputs.scan(&CELLS)?.select([
        col("project_id"),
        col("static_id"),
        col("fetched_at").alias("sql_seen"),
    ]);
    let sql = inputs
        .scan(&SQL_TABLES)?
        .join(
            cells,
            ["project_id", "static_id"].map(col),
            ["project_id", "static_id"].map(col),
            JoinArgs::new(JoinType::Left),
        )
        .group_by(by_key())
        .agg([
            len().cast(DataType::Int64).alias("cells"),
            col("evidence").eq(lit("sql")).any(true).alias("is_parsed"),
            col("evidence").eq(lit("scanned")).any(true).alias("is_scanned"),
            col("database_name").first(),
            col("schema_name").first(),
            col("table_name").first(),
            col("sql_seen").max(),
        ]);
    let full = || by_nullable_key(JoinType::Full).with_coalesce(JoinCoalesce::CoalesceColumns);
    let both = queried(inputs)?.lazy().join(sql, by_key(), by_key(), full());
    let all = both.join(executed(inputs)?, by_key(), by_key(), full());
    let all = all.join(components::tables(inputs)?, by_key(), by_key(), full());
    let either = |queried: &str, sql: &'static str, executed: &str, via: &str| {
        coalesce(&[col(queried), col(sql), col(executed), col(via)]).alias(sql)
    };
    let projects = inputs.scan(&PROJECTS)?.select([
        col("project_id"),
        col("title").alias("project_title"),
        col("type").alias("project_type"),
        col("status").alias("project_status"),
        col("owner_email"),
        col("last_published_at").is_not_null().alias("is_published"),
        col("archived_at").is_not_null().or(col("trashed_at").is_not_null()).alias("is_archived"),
    ]);
    let connections = inputs.scan(&DATA_CONNECTIONS)?.select([
        col("data_connection_id"),
        col("name").alias("connection_name"),
        col("type").alias("connection_type"),
    ]);
    let runs = inputs
        .scan(&RUN_STATS)?
        .filter(col("run_trigger").eq(lit("ALL")))
        .select([col("project_id"), col("last_run_at")]);
    let left = || JoinArgs::new(JoinType::Left);
    let joined = all
        .with_columns([
            either("queried_database", "database_name", "executed_database", "via_database"),
            either("queried_schema", "schema_name", "executed_schema", "via_schema"),
            either("queried_table", "table_name", "executed_table", "via_table"),
            col("parsed").fill_null(lit(true)),
            later(later(later(col("queried_seen"), col("sql_seen")), col("executed_seen")), col("via_seen"))
                .alias("last_seen_at"),
        ])
        .join(projects, [col("project_id")], [col("project_id")], left())
        .join(connections, [col("data_connection_id")], [col("data_connection_id")], left())
        .join(runs, [col("project_id")], [col("project_id")], left());
    let now = lit(inputs.snapshot_at.timestamp_micros()).cast(utc());
    let found = match &inputs.last_lineage {
        None => joined.with_column(now.alias("first_seen_at")).collect()?,
        Some(path) => {
            let first = col("first_seen_at").alias("known_at");
            let last = inputs.scan_file(path.clone(), &LINEAGE)?;
            let known = last.select([col(KEY[0]), col(KEY[1]), col(KEY[2]), col(KEY[3]), first]);
            joined
                .join(known, by_key(), by_key(), by_nullable_key(JoinType::Left))
                .with_column(coalesce(&[col("known_at"), now]).alias("first_seen_at"))
                .collect()?
        }
    };
    with_evidence(found)
}

/// Adds the list of what each row rests on, in the order of the alphabet.
fn with_evidence(mut found: DataFrame) -> PolarsResult<DataFrame> {
    let queried = found.column("reported_name")?.is_not_null();
    let [scanned, parsed] =
        ["is_scanned", "is_parsed"].map(|name| found.column(name).and_then(|c| c.bool().cloned()));
    let (scanned, parsed) = (scanned?, parsed?);
    let executed = found.column("executions")?.is_not_null();
    let mut lists = ListStringChunkedBuilder::new("evidence".into(), found.height(), found.height() * 2);
    let component = found.column("via_component_ids")?.is_not_null();
    let of_rows = executed.iter().zip(queried.iter()).zip(scanned.iter().zip(parsed.iter()));
    for (((executed, queried), (scanned, parsed)), component) in of_rows.zip(component.iter()) {
        let kinds = [
            (component, "component"),
            (executed, "executed"),
            (queried, "queried"),
            (scanned, "scanned"),
            (parsed, "sql"),
        ];
        lists.append_values_iter(kinds.into_iter().filter(|(is, _)| *is == Some(true)).map(|(_, name)| name));
    }
    found.with_column(lists.finish().into_series().into())?;
    Ok(found)
}

/// The later of two times, of which either may be null.
fn later(a: Expr, b: Expr) -> Expr {
    when(a.clone().gt(b.clone())).then(a.clone()).otherwise(coalesce(&[b, a]))
}

pub(super) fn utc() -> DataType {
    DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC))
}

/// Tables that executed queries read or wrote; none where no query history was imported.
fn executed(inputs: &Inputs<'_>) -> PolarsResult<LazyFrame> {
    let days = match inputs.has(EXECUTED_TABLES.name) {
        true => inputs.scan(&EXECUTED_TABLES)?,
        false => nothing_executed()?.lazy(),
    };
    Ok(days.group_by(KEY.map(col)).agg([
        col("queries").sum().alias("executions"),
        col("first_at").min().alias("first_executed_at"),
        col("last_at").max().alias("last_executed_at"),
        col("database_name").first().alias("executed_database"),
        col("schema_name").first().alias("executed_schema"),
        col("table_name").first().alias("executed_table"),
        col("fetched_at").max().alias("executed_seen"),
    ]))
}

/// The columns of `executed_tables` that lineage needs, without rows.
fn nothing_executed() -> PolarsResult<DataFrame> {
    let text = |name: &str| Column::new_empty(name.into(), &DataType::String);
    let time = |name: &str| Column::new_empty(name.into(), &utc());
    let mut columns: Vec<Column> =
        KEY.into_iter().chain(["database_name", "schema_name", "table_name"]).map(text).collect();
    columns.extend(["first_at", "last_at", "fetched_at"].map(time));
    columns.push(Column::new_empty("queries".into(), &DataType::Int64));
    DataFrame::new(0, columns)
}

/// Hex's queried tables with their names taken apart.
fn queried(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    let failed = super::unreadable;
    let namings = namings(inputs).map_err(failed)?;
    let unknown = Naming::unknown();
    let (mut projects, mut connections, mut keys, mut names) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut databases, mut schemas, mut tables, mut parsed) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut seen = Vec::new();
    for batch in inputs.read(&crate::tables::QUERIED_TABLES).map_err(failed)? {
        let batch = batch.map_err(failed)?;
        for i in 0..batch.num_rows() {
            let Some(name) = text_at(&batch, "table_name", i) else { continue };
            let connection = text_at(&batch, "data_connection_id", i);
            let naming = connection.and_then(|id| namings.get(id)).unwrap_or(&unknown);
            let table = reported(name, naming.warehouse, &naming.defaults);
            projects.push(text_at(&batch, "project_id", i).unwrap_or("").to_owned());
            connections.push(connection.map(str::to_owned));
            keys.push(table.as_ref().map_or(name.to_owned(), |t| t.key()));
            names.push(name.to_owned());
            parsed.push(table.is_some());
            tables.push(table.as_ref().map_or(name.to_owned(), |t| t.table.clone()));
            schemas.push(table.as_ref().and_then(|t| t.schema.clone()));
            databases.push(table.and_then(|t| t.database));
            seen.push(fetched_at(&batch, i));
        }
    }
    let names_count = names.len();
    let frame = df!(
        "project_id" => projects, "data_connection_id" => connections, "table_key" => keys, "reported_name" => names,
        "direction" => vec![READ; names_count], "queried_database" => databases, "queried_schema" => schemas, "queried_table" => tables, "parsed" => parsed,
        "queried_seen" => seen,
    )?;
    // Two reported names may be one table.
    frame
        .lazy()
        .with_column(col("queried_seen").cast(utc()))
        .unique(Some(by_name(KEY, true, false)), UniqueKeepStrategy::First)
        .collect()
}

fn fetched_at(batch: &arrow::array::RecordBatch, row: usize) -> i64 {
    use arrow::array::AsArray;
    let column = batch.column_by_name("fetched_at").expect("a common column");
    column.as_primitive::<arrow::datatypes::TimestampMicrosecondType>().value(row)
}
