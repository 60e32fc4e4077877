//! `connection_usage`: what each data connection is used for.

use polars::prelude::*;

use super::different::Different;
use super::frame::compact;
use super::table_usage::{live, recent_runs};
use super::{Inputs, LINEAGE, SQL_CELLS};
use crate::schema::columns::{int, text, time};
use crate::schema::{Origin, Table, itself};
use crate::tables::DATA_CONNECTIONS;

/// One row a connection, also one that nobody uses.
pub static CONNECTION_USAGE: Table = Table {
    name: "connection_usage",
    doc: "What each data connection is used for",
    origin: Origin::Derived(&["data_connections", "lineage", "sql_cells", "run_daily"]),
    key: &["data_connection_id"],
    columns: &[
        text("data_connection_id", "", "Data connection").required(),
        text("name", "", "Name"),
        text("type", "", "Type"),
        int("projects", "", "Projects that read tables through it, or have SQL cells on it").required(),
        int(
            "live_projects",
            "",
            "Projects that read tables and are published and neither archived nor in the trash",
        )
        .required(),
        int("owners", "", "People who own the projects that read tables").required(),
        int("tables", "", "Tables that are read through it").required(),
        int("sql_cells", "", "SQL cells on it").required(),
        int("unreadable_cells", "", "Of these, cells whose SQL could not be read for lineage").required(),
        int(
            "runs_last_30_days",
            "",
            "Runs of the projects that read tables, in the 30 days before the snapshot",
        )
        .required(),
        time("last_run_at", "", "Start of the last of these projects' runs"),
    ],
    elsewhere: &[],
    explode: itself,
};

/// Computes the rows.
pub fn derive(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    // Part by part: a project is in one part alone, so what is counted of projects adds up.
    let failed = super::unreadable;
    let recent = recent_runs(inputs)?.collect()?;
    let mut usage = Vec::new();
    for part in inputs.parts(&[&LINEAGE, &SQL_CELLS], 0).map_err(failed)? {
        usage.push(compact(of_part(&part, recent.clone().lazy())?.collect()?)?.lazy());
    }
    let different = |value: &'static str, name: &str| -> PolarsResult<LazyFrame> {
        let by = ["data_connection_id"];
        Ok(Different::read(inputs, &LINEAGE, &by, value, None)?.counted(&by, name)?.lazy())
    };
    let usage = concat(usage, UnionArgs::default())?
        .group_by(id())
        .agg([by_name(SUMS, true, false).as_expr().sum(), col("last_run_at").max()]);
    let counts = SUMS.into_iter().chain(["tables", "owners"]);
    inputs
        .scan(&DATA_CONNECTIONS)?
        .select(["data_connection_id", "name", "type"].map(col))
        .join(usage, id(), id(), left())
        .join(different("table_key", "tables")?, id(), id(), left())
        .join(different("owner_email", "owners")?, id(), id(), left())
        .with_columns(counts.map(|name| col(name).fill_null(lit(0i64))).collect::<Vec<_>>())
        .collect()
}

const SUMS: [&str; 5] = ["projects", "live_projects", "sql_cells", "unreadable_cells", "runs_last_30_days"];

fn id() -> [Expr; 1] {
    [col("data_connection_id")]
}

fn left() -> JoinArgs {
    JoinArgs::new(JoinType::Left)
}

/// Usage of each connection by some projects.
fn of_part(part: &Inputs<'_>, recent: LazyFrame) -> PolarsResult<LazyFrame> {
    let pairs = ["data_connection_id", "project_id"];
    let lineage = part
        .scan(&LINEAGE)?
        .select(["data_connection_id", "project_id", "is_published", "is_archived", "last_run_at"].map(col));
    // Every table that a project reads of a connection says the same of the project.
    let lineage = lineage.unique(Some(by_name(pairs, true, false)), UniqueKeepStrategy::Any);
    let cells = part.scan(&SQL_CELLS)?.select(["data_connection_id", "project_id", "parsed"].map(col));
    let using = concat(
        [lineage.clone(), cells.clone()].map(|frame| frame.select(pairs.map(col))),
        UnionArgs::default(),
    )?
    .unique(None, UniqueKeepStrategy::Any)
    .group_by(id())
    .agg([len().cast(DataType::Int64).alias("projects")]);
    let projects =
        lineage.join(recent, [col("project_id")], [col("project_id")], left()).group_by(id()).agg([
            live().cast(DataType::Int64).sum().alias("live_projects"),
            col("recent_runs").sum().alias("runs_last_30_days"),
            col("last_run_at").max(),
        ]);
    let cells = cells.group_by(id()).agg([
        len().cast(DataType::Int64).alias("sql_cells"),
        col("parsed").not().cast(DataType::Int64).sum().alias("unreadable_cells"),
    ]);
    let known = |frame: LazyFrame| frame.filter(col("data_connection_id").is_not_null());
    Ok(known(using).join(projects, id(), id(), left()).join(cells, id(), id(), left()))
}
