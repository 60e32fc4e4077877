//! `table_usage`: who reads and writes each warehouse table.

use polars::prelude::*;

use super::cells::READ;
use super::different::Different;
use super::frame::compact;
use super::{COLUMN_LINEAGE, Inputs, LINEAGE, RUN_DAILY, by_nullable_key};
use crate::schema::columns::{int, text, time};
use crate::schema::{Column, Origin, Table, Type, itself};
use crate::tables::PROJECTS;

/// One row a connection and table.
pub static TABLE_USAGE: Table = Table {
    name: "table_usage",
    doc: "Who reads and writes each warehouse table, and how much",
    origin: Origin::Derived(&["lineage", "projects", "column_lineage", "run_daily"]),
    key: &["data_connection_id", "table_key"],
    columns: &[
        text("data_connection_id", "", "Data connection"),
        text("table_key", "", "Full name of the table").required(),
        text("database_name", "", "Database, catalog or project"),
        text("schema_name", "", "Schema or dataset"),
        text("table_name", "", "Table").required(),
        text("connection_name", "", "Data connection's name"),
        text("connection_type", "", "Data connection's type"),
        int("projects", "", "Projects that read it").required(),
        int("writing_projects", "", "Projects whose SQL writes it").required(),
        int("live_projects", "", "Of these, those published and neither archived nor in the trash")
            .required(),
        int("published_projects", "", "Of those that read it, the published ones, archived or not")
            .required(),
        int("archived_projects", "", "Of those that read it, the archived ones, published or not").required(),
        int("owners", "", "People who own them").required(),
        Column::new("owner_emails", Type::List(&Type::Utf8), "", "Their email addresses"),
        int("columns", "", "Columns that cells' SQL reads").required(),
        int("app_views_last_30_days", "", "Views of these projects' apps in the last 30 days").required(),
        int("runs_last_30_days", "", "Runs of these projects in the 30 days before the snapshot").required(),
        time("first_seen_at", "", "First snapshot that has it"),
        time("last_run_at", "", "Start of the last run of a project that reads it"),
    ],
    elsewhere: &[],
    explode: itself,
};

const KEY: [&str; 2] = ["data_connection_id", "table_key"];

/// Computes the rows.
pub fn derive(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    // Part by part, each added to the ones before: a table has many readers, and only its own row is held.
    let failed = super::unreadable;
    let recent = recent_runs(inputs)?.collect()?;
    let mut usage: Option<DataFrame> = None;
    for part in inputs.parts(&[&LINEAGE], 0).map_err(failed)? {
        let next = of_part(&part, recent.clone().lazy())?;
        let all = match usage.take() {
            None => next,
            Some(usage) => added(concat([usage.lazy(), next], UnionArgs::default())?),
        };
        usage = Some(compact(all.collect()?)?);
    }
    let usage = usage.expect("there is always a part").lazy();
    let columns = Different::read(inputs, &COLUMN_LINEAGE, &KEY, "column_name", None)?;
    let columns = columns.counted(&KEY, "columns")?.lazy();
    let owners = Different::read(inputs, &LINEAGE, &KEY, "owner_email", Some(("direction", READ)))?;
    let owners = owners.listed(&KEY, "owners", "owner_emails")?.lazy();
    let left = || by_nullable_key(JoinType::Left);
    usage
        .join(owners, KEY.map(col), KEY.map(col), left())
        .join(columns, KEY.map(col), KEY.map(col), left())
        .with_columns(["owners", "columns"].map(|name| col(name).fill_null(lit(0i64))))
        .collect()
}

/// Usage by the projects of several parts, from that by the projects of each.
fn added(parts: LazyFrame) -> LazyFrame {
    parts.group_by(KEY.map(col)).agg([
        by_name(NAMES, true, false).as_expr().first(),
        by_name(SUMS, true, false).as_expr().sum(),
        col("first_seen_at").min(),
        col("last_run_at").max(),
    ])
}

const NAMES: [&str; 5] = ["database_name", "schema_name", "table_name", "connection_name", "connection_type"];
const SUMS: [&str; 7] = [
    "projects",
    "writing_projects",
    "live_projects",
    "published_projects",
    "archived_projects",
    "app_views_last_30_days",
    "runs_last_30_days",
];

/// Usage of each table by some projects.
fn of_part(part: &Inputs<'_>, recent: LazyFrame) -> PolarsResult<LazyFrame> {
    let views =
        part.scan(&PROJECTS)?.select([col("project_id"), col("app_views_last_30_days").alias("views")]);
    let (of_project, left) = (|| [col("project_id")], || JoinArgs::new(JoinType::Left));
    let joined = part.scan(&LINEAGE)?.join(views, of_project(), of_project(), left());
    Ok(joined.join(recent, of_project(), of_project(), left()).group_by(KEY.map(col)).agg([
        by_name(NAMES, true, false).as_expr().first(),
        is_read().cast(DataType::Int64).sum().alias("projects"),
        is_read().not().cast(DataType::Int64).sum().alias("writing_projects"),
        live().and(is_read()).cast(DataType::Int64).sum().alias("live_projects"),
        of("is_published").and(is_read()).cast(DataType::Int64).sum().alias("published_projects"),
        of("is_archived").and(is_read()).cast(DataType::Int64).sum().alias("archived_projects"),
        col("views").filter(is_read()).sum().alias("app_views_last_30_days"),
        col("recent_runs").filter(is_read()).sum().alias("runs_last_30_days"),
        col("first_seen_at").min(),
        col("last_run_at").max(),
    ]))
}

/// Whether this is so of a row's project; not known is no.
fn of(column: &'static str) -> Expr {
    col(column).fill_null(lit(false))
}

/// Whether a row of `lineage` says that its project reads the table.
fn is_read() -> Expr {
    col("direction").eq(lit(READ))
}

/// Whether a row of `lineage` is of a project that is in use.
pub(super) fn live() -> Expr {
    col("is_published").and(col("is_archived").not()).fill_null(lit(false))
}

/// Runs of each project in the 30 days before the snapshot, as `recent_runs`.
pub(super) fn recent_runs(inputs: &Inputs<'_>) -> PolarsResult<LazyFrame> {
    let since = (inputs.snapshot_at - chrono::TimeDelta::days(30)).date_naive();
    let days = (since - chrono::NaiveDate::default()).num_days() as i32;
    let failed = super::unreadable;
    let mut recent = Vec::new();
    for part in inputs.parts(&[&RUN_DAILY], 0).map_err(failed)? {
        let days = part.scan(&RUN_DAILY)?.filter(col("day").gt(lit(days).cast(DataType::Date)));
        let runs = days.group_by([col("project_id")]).agg([col("runs").sum().alias("recent_runs")]);
        recent.push(compact(runs.collect()?)?.lazy());
    }
    concat(recent, UnionArgs::default())
}
