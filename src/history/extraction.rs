//! The SQL that extracts a warehouse's query history, from where the last import ended.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, TimeDelta, Utc};

use super::error::Error;
use super::kind::Kind;
use crate::snapshot::{Lake, TableReader};
use crate::tables::HISTORY_DAYS;

/// The time that the templates extract from.
const SINCE: &str = "2000-01-01 00:00:00";
/// Time that the first extraction goes back, where nothing was imported yet.
const FIRST: TimeDelta = TimeDelta::days(30);
/// Time to go back before the last query imported: queries still running then were not in the history yet. A query
/// extracted twice is imported once.
const OVERLAP: TimeDelta = TimeDelta::days(1);

/// An extraction, ready to be run in the warehouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extraction {
    /// The connection whose watermark it begins at; none if nothing was imported yet.
    pub connection: Option<String>,
    /// Where it begins.
    pub since: DateTime<Utc>,
    /// The SQL.
    pub sql: String,
}

/// The extraction of a kind of warehouse, from the year 2000 on.
pub fn template(kind: Kind) -> &'static str {
    match kind {
        Kind::Snowflake => include_str!("../../queries/warehouse/snowflake.sql"),
        Kind::BigQuery => include_str!("../../queries/warehouse/bigquery.sql"),
        Kind::Databricks => include_str!("../../queries/warehouse/databricks.sql"),
        Kind::Redshift => include_str!("../../queries/warehouse/redshift.sql"),
        Kind::Athena => include_str!("../../queries/warehouse/athena.sql"),
        Kind::ClickHouse => include_str!("../../queries/warehouse/clickhouse.sql"),
        Kind::Postgres => include_str!("../../queries/warehouse/postgres.sql"),
        Kind::Trino => include_str!("../../queries/warehouse/trino.sql"),
    }
}

/// The extractions of a kind of warehouse: one for each connection of which a history was imported into the lake.
///
/// # Errors
/// If the lake can't be read.
pub fn extractions(lake: Option<&Lake>, kind: Kind, now: DateTime<Utc>) -> Result<Vec<Extraction>, Error> {
    let watermarks = lake.map_or(Ok(Watermarks::new()), |lake| watermarks(lake, kind))?;
    let of = |connection: Option<String>, since: DateTime<Utc>| {
        let sql = template(kind).replace(SINCE, &since.format("%Y-%m-%d %H:%M:%S").to_string());
        Extraction { connection, since, sql }
    };
    Ok(match watermarks.is_empty() {
        true => vec![of(None, now - FIRST)],
        false => watermarks.into_iter().map(|(connection, last)| of(connection, last - OVERLAP)).collect(),
    })
}

/// Times by connection.
type Watermarks = BTreeMap<Option<String>, DateTime<Utc>>;

/// The start of the last query that was imported, by connection.
fn watermarks(lake: &Lake, kind: Kind) -> Result<Watermarks, Error> {
    let mut last = Watermarks::new();
    let Some(newest) = lake.manifests()?.newest_of_all() else { return Ok(last) };
    for batch in TableReader::open(lake, &newest.manifest, &HISTORY_DAYS)?.into_iter().flatten() {
        let batch = batch?;
        let column = |name: &str| batch.column_by_name(name).expect("a column of the table");
        let (kinds, names) =
            (column("warehouse").as_string::<i32>(), column("connection_name").as_string::<i32>());
        let times = column("last_at").as_primitive::<TimestampMicrosecondType>();
        for row in (0..batch.num_rows()).filter(|row| kinds.value(*row) == kind.name()) {
            let name = names.is_valid(row).then(|| names.value(row).to_owned());
            let at = DateTime::from_timestamp_micros(times.value(row)).unwrap_or_default();
            let known = last.entry(name).or_insert(at);
            *known = at.max(*known);
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_has_a_watermark_and_the_columns_that_an_import_needs() {
        let now = "2026-11-02T06:00:00Z".parse().unwrap();
        for kind in Kind::ALL {
            let made = extractions(None, kind, now).unwrap();
            assert_eq!(made.len(), 1);
            let sql = &made[0].sql;
            assert!(sql.contains("'2026-10-03 06:00:00") && !sql.contains(SINCE), "{kind}: {sql}");
            for name in super::super::kind::Field::REQUIRED.map(|field| field.name()) {
                assert!(sql.contains(name), "{kind}: {name}");
            }
            assert!(
                sql.contains(&format!("'{kind}' AS warehouse")) && sql.contains("Hex query metadata:"),
                "{kind}"
            );
        }
    }
}
