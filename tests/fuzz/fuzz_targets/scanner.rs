//! The scan for tables in SQL that doesn't parse: nothing panics.
#![no_main]

use std::collections::HashSet;

use hexport::derive::names::{Defaults, Warehouse};
use hexport::derive::sql::Setting;
use hexport::derive::sql::scanner::scan_text;
use libfuzzer_sys::fuzz_target;

const KINDS: [&str; 5] = ["snowflake", "bigquery", "sqlserver", "clickhouse", "duckdb"];

fuzz_target!(|data: (u8, &str)| {
    let (kind, text) = data;
    let warehouse = Warehouse::of_type(KINDS[usize::from(kind) % KINDS.len()]);
    let (defaults, dataframes) = (Defaults::default(), HashSet::from(["df".to_owned()]));
    let dataframes_only = kind > 200;
    let _ = scan_text(text, Setting { warehouse, defaults: &defaults, dataframes: &dataframes, dataframes_only });
});
