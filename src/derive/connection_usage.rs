//! `connection_usage`: what each data connection is used for.

use polars::prelude::*;

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
    let id = || [col("data_connection_id")];
    let left = || JoinArgs::new(JoinType::Left);
    let pairs = ["data_connection_id", "project_id"];
    let lineage = inputs.scan(&LINEAGE)?;
    let cells = inputs.scan(&SQL_CELLS)?.filter(col("data_connection_id").is_not_null());
    let using = concat(
        [lineage.clone().select(pairs.map(col)), cells.clone().select(pairs.map(col))],
        UnionArgs::default(),
    )?
    .group_by(id())
    .agg([col("project_id").n_unique().cast(DataType::Int64).alias("projects")]);
    let tables = lineage
        .clone()
        .group_by(id())
        .agg([col("table_key").n_unique().cast(DataType::Int64).alias("tables")]);
    let projects = lineage
        .unique(Some(by_name(pairs, true, false)), UniqueKeepStrategy::Any)
        .join(recent_runs(inputs)?, [col("project_id")], [col("project_id")], left())
        .group_by(id())
        .agg([
            live().cast(DataType::Int64).sum().alias("live_projects"),
            col("owner_email").drop_nulls().n_unique().cast(DataType::Int64).alias("owners"),
            col("recent_runs").sum().alias("runs_last_30_days"),
            col("last_run_at").max(),
        ]);
    let cells = cells.group_by(id()).agg([
        len().cast(DataType::Int64).alias("sql_cells"),
        col("parsed").not().cast(DataType::Int64).sum().alias("unreadable_cells"),
    ]);
    let counts = [
        "projects",
        "live_projects",
        "owners",
        "tables",
        "sql_cells",
        "unreadable_cells",
        "runs_last_30_days",
    ];
    inputs
        .scan(&DATA_CONNECTIONS)?
        .select(["data_connection_id", "name", "type"].map(col))
        .join(using, id(), id(), left())
        .join(tables, id(), id(), left())
        .join(projects, id(), id(), left())
        .join(cells, id(), id(), left())
        .with_columns(counts.map(|name| col(name).fill_null(lit(0i64))))
        .collect()
}
