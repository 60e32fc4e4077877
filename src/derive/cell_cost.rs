//! `cell_cost`: what each cell's queries used and cost.

use std::collections::{BTreeMap, HashMap};

use arrow::array::AsArray;
use arrow::datatypes::Date32Type;
use polars::prelude::*;

use super::Inputs;
use super::connections::text as text_at;
use super::prices::{Spent, Usage};
use super::project_cost::usage_columns;
use crate::schema::columns::{date, float, int, text};
use crate::schema::{Origin, Table, itself};
use crate::tables::usage::{BYTES_SCANNED, CACHED, QUERIES, SECONDS};
use crate::tables::{CELLS, QUERY_DAYS};

/// One row a cell that the comment of a query names.
pub static CELL_COST: Table = Table {
    name: "cell_cost",
    doc: "What each cell's warehouse queries used and cost",
    origin: Origin::Derived(&["query_days", "cells"]),
    key: &["project_id", "cell_id"],
    columns: &[
        text("project_id", "", "Project; empty if the queries' comment names none").required(),
        text("cell_id", "", "Cell, as the queries' comment names it").required(),
        text("static_id", "", "Cell's durable identifier; null if the draft no longer has the cell"),
        text("cell_label", "", "Cell's label"),
        date("first_day", "", "Day (UTC) of the first query").required(),
        date("last_day", "", "Day (UTC) of the last query").required(),
        QUERIES,
        int("failures", "", "Of these, failed").required(),
        CACHED,
        SECONDS.required(),
        BYTES_SCANNED.required(),
        float("credits", "", "Credits or DBUs that the warehouse attributes to them").required(),
        float("slot_seconds", "", "Slot or CPU time, in seconds").required(),
        float("cost", "", "Cost by the prices in [cost]; null if nothing of it has a price"),
        float("failed_cost", "", "Of this, of failed queries"),
    ],
    elsewhere: &[],
    explode: itself,
};

/// Computes the rows.
pub fn derive(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    let failed = super::unreadable;
    let prices = &inputs.given.prices;
    let mut spent: BTreeMap<(String, String), (Spent, i32, i32)> = BTreeMap::new();
    for batch in inputs.read(&QUERY_DAYS).map_err(failed)? {
        let batch = batch.map_err(failed)?;
        let days = batch.column_by_name("day").expect("a column of the table").as_primitive::<Date32Type>();
        for row in 0..batch.num_rows() {
            let text = |name| text_at(&batch, name, row);
            let (Some(project), Some(cell)) = (text("project_id"), text("cell_id")) else { continue };
            let usage = Usage::at(&batch, row);
            let cost = prices.cost(text("warehouse").unwrap_or(""), text("connection_name"), &usage);
            let day = days.value(row);
            let entry = spent.entry((project.to_owned(), cell.to_owned()));
            let (spent, first, last) = entry.or_insert((Spent::default(), day, day));
            spent.add(usage, cost, text("outcome").unwrap_or(""));
            (*first, *last) = (day.min(*first), day.max(*last));
        }
    }
    // The comment's URL may name a cell of a version, or the durable one.
    let mut cells: HashMap<(String, String), (String, Option<String>)> = HashMap::new();
    for batch in inputs.read(&CELLS).map_err(failed)? {
        let batch = batch.map_err(failed)?;
        for row in 0..batch.num_rows() {
            let text = |name| text_at(&batch, name, row);
            let (Some(project), Some(durable)) = (text("project_id"), text("static_id")) else { continue };
            for id in [text("cell_id"), Some(durable)].into_iter().flatten() {
                let key = (project.to_owned(), id.to_lowercase());
                if spent.contains_key(&key) {
                    cells.insert(key, (durable.to_owned(), text("label").map(str::to_owned)));
                }
            }
        }
    }
    let keys = || spent.keys();
    let cell = |key| cells.get(key);
    let mut frame = df!(
        "project_id" => keys().map(|key| key.0.clone()).collect::<Vec<_>>(),
        "cell_id" => keys().map(|key| key.1.clone()).collect::<Vec<_>>(),
        "static_id" => keys().map(|key| cell(key).map(|c| c.0.clone())).collect::<Vec<_>>(),
        "cell_label" => keys().map(|key| cell(key).and_then(|c| c.1.clone())).collect::<Vec<_>>(),
        "first_day" => spent.values().map(|s| s.1).collect::<Vec<_>>(),
        "last_day" => spent.values().map(|s| s.2).collect::<Vec<_>>(),
    )?;
    for column in usage_columns(spent.values().map(|s| &s.0)) {
        frame.with_column(column)?;
    }
    Ok(frame)
}
