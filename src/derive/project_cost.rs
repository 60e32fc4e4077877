//! `project_cost`: what each project's queries used and cost, by day.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::Date32Type;
use polars::prelude::*;

use super::Inputs;
use super::connections::text as text_at;
use super::prices::{Spent, Usage};
use crate::schema::columns::{date, float, int, text};
use crate::schema::{Origin, Table, itself};
use crate::tables::QUERY_DAYS;

/// One row a project, context, user and day (UTC).
pub static PROJECT_COST: Table = Table {
    name: "project_cost",
    doc: "What each project's warehouse queries used and cost, by context, user and day (UTC)",
    origin: Origin::Derived(&["query_days"]),
    key: &["project_id", "day", "context", "user_email"],
    columns: &[
        text("project_id", "", "Project; empty if the queries' comment names none").required(),
        date("day", "", "Day (UTC) on which the queries started").required(),
        text("context", "", "What made Hex send them, such as SCHEDULED_RUN"),
        text("user_email", "", "User that Hex sent them for"),
        int("queries", "", "Queries").required(),
        int("failures", "", "Of these, failed").required(),
        int("cached", "", "Of these, answered from the warehouse's result cache").required(),
        float("seconds", "", "Their time in the warehouse, in seconds").required(),
        float("failed_seconds", "", "Of this, of failed queries").required(),
        int("bytes_scanned", "", "Bytes that they scanned").required(),
        float("credits", "", "Credits or DBUs that the warehouse attributes to them").required(),
        float("slot_seconds", "", "Slot or CPU time, in seconds").required(),
        float("cost", "", "Cost by the prices in [cost]; null if nothing of it has a price"),
        float("failed_cost", "", "Of this, of failed queries"),
        text("currency", "", "Currency of the prices"),
    ],
    elsewhere: &[],
    explode: itself,
};

/// Computes the rows.
pub fn derive(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    let failed = super::unreadable;
    let prices = &inputs.given.prices;
    let mut spent: BTreeMap<(String, i32, Option<String>, Option<String>), Spent> = BTreeMap::new();
    for batch in inputs.read(&QUERY_DAYS).map_err(failed)? {
        let batch = batch.map_err(failed)?;
        let days = batch.column_by_name("day").expect("a column of the table").as_primitive::<Date32Type>();
        for row in 0..batch.num_rows() {
            let text = |name| text_at(&batch, name, row);
            let owned = |name| text(name).map(str::to_owned);
            let usage = Usage::at(&batch, row);
            let cost = prices.cost(text("warehouse").unwrap_or(""), text("connection_name"), &usage);
            let key = (
                owned("project_id").unwrap_or_default(),
                days.value(row),
                owned("context"),
                owned("user_email"),
            );
            spent.entry(key).or_default().add(usage, cost, text("outcome").unwrap_or(""));
        }
    }
    let keys = || spent.keys();
    let currency = prices.currency.clone().filter(|_| !prices.is_empty());
    let columns = usage_columns(spent.values());
    let mut frame = df!(
        "project_id" => keys().map(|key| key.0.clone()).collect::<Vec<_>>(),
        "day" => keys().map(|key| key.1).collect::<Vec<_>>(),
        "context" => keys().map(|key| key.2.clone()).collect::<Vec<_>>(),
        "user_email" => keys().map(|key| key.3.clone()).collect::<Vec<_>>(),
        "currency" => keys().map(|_| currency.clone()).collect::<Vec<_>>(),
    )?;
    for column in columns {
        frame.with_column(column)?;
    }
    Ok(frame)
}

/// The columns of usage and cost that all tables of cost have.
pub(super) fn usage_columns<'a>(rows: impl Iterator<Item = &'a Spent> + Clone) -> Vec<Column> {
    let whole = |name: &str, of: fn(&Spent) -> i64| {
        Column::new(name.into(), rows.clone().map(of).collect::<Vec<i64>>())
    };
    let number = |name: &str, of: fn(&Spent) -> f64| {
        Column::new(name.into(), rows.clone().map(of).collect::<Vec<f64>>())
    };
    let maybe = |name: &str, of: fn(&Spent) -> Option<f64>| {
        Column::new(name.into(), rows.clone().map(of).collect::<Vec<Option<f64>>>())
    };
    vec![
        whole("queries", |s| s.usage.queries),
        whole("failures", |s| s.failures),
        whole("cached", |s| s.usage.cached),
        number("seconds", |s| s.usage.seconds),
        number("failed_seconds", |s| s.failed_seconds),
        whole("bytes_scanned", |s| s.usage.bytes_scanned),
        number("credits", |s| s.usage.credits),
        number("slot_seconds", |s| s.usage.slot_seconds),
        maybe("cost", |s| s.cost),
        maybe("failed_cost", |s| s.failed_cost),
    ]
}
