//! Table names, Jinja and SQL: any text is read or refused, and nothing panics.
#![no_main]

use std::collections::HashSet;

use hexport::derive::names::{Defaults, Warehouse, reported};
use hexport::derive::sql::filter::{Branches, without_jinja};
use hexport::derive::sql::{Setting, read};
use libfuzzer_sys::fuzz_target;

const KINDS: [&str; 10] =
    ["snowflake", "bigquery", "postgres", "redshift", "databricks", "trino", "clickhouse", "sqlserver", "mysql", "duckdb"];

fuzz_target!(|data: (u8, &str)| {
    let (kind, text) = data;
    let warehouse = Warehouse::of_type(KINDS[usize::from(kind) % KINDS.len()]);
    let (defaults, dataframes) = (Defaults::default(), HashSet::from(["df".to_owned()]));
    let _ = reported(text, warehouse, &defaults);
    let _ = without_jinja(text, Branches::First);
    let _ = read(text, Setting { warehouse, defaults: &defaults, dataframes: &dataframes, dataframes_only: kind > 200 });
});
