//! Prices of queries, from `[cost]` in `hexport.toml`, and their usage.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use serde::{Deserialize, Deserializer};

const TIB: f64 = (1u64 << 40) as f64;
const HOUR: f64 = 3600.0;

/// Prices of what a warehouse uses. Those that aren't set cost nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prices {
    /// Of a credit (Snowflake) or DBU (Databricks).
    #[serde(deserialize_with = "price")]
    pub credit: Option<f64>,
    /// Of a tebibyte scanned (BigQuery on demand, Athena).
    #[serde(deserialize_with = "price")]
    pub tib: Option<f64>,
    /// Of an hour of a slot (BigQuery editions) or CPU (Trino).
    #[serde(deserialize_with = "price")]
    pub slot_hour: Option<f64>,
    /// Of an hour that a query takes.
    #[serde(deserialize_with = "price")]
    pub hour: Option<f64>,
}

fn price<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let price = f64::deserialize(from)?;
    match price.is_finite() && price >= 0.0 {
        true => Ok(Some(price)),
        false => Err(serde::de::Error::custom(format!("{price} is not a price"))),
    }
}

/// Prices by kind of warehouse, and of connections that have their own.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Currency, as people write it.
    pub currency: Option<String>,
    /// By kind of warehouse, such as `snowflake`.
    pub warehouses: BTreeMap<String, Prices>,
    /// By connection, by name: what they set comes before the warehouse's prices.
    pub connections: BTreeMap<String, Prices>,
}

impl Config {
    /// Whether there is a price at all.
    pub fn is_empty(&self) -> bool {
        let has_price = |prices: &Prices| *prices != Prices::default();
        !self.warehouses.values().chain(self.connections.values()).any(has_price)
    }

    /// Cost of some usage; `None` if nothing of the connection has a price.
    pub fn cost(&self, warehouse: &str, connection: Option<&str>, usage: &Usage) -> Option<f64> {
        let of = |prices: &BTreeMap<String, Prices>, name: &str| {
            prices.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, prices)| *prices)
        };
        let own = connection.and_then(|name| of(&self.connections, name)).unwrap_or_default();
        let usual = of(&self.warehouses, warehouse).unwrap_or_default();
        let parts = [
            (own.credit.or(usual.credit), usage.credits),
            (own.tib.or(usual.tib), usage.bytes_scanned as f64 / TIB),
            (own.slot_hour.or(usual.slot_hour), usage.slot_seconds / HOUR),
            (own.hour.or(usual.hour), usage.seconds / HOUR),
        ];
        parts.iter().filter_map(|(price, amount)| Some((*price)? * amount)).reduce(|a, b| a + b)
    }
}

/// Usage of queries.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Queries.
    pub queries: i64,
    /// Of these, answered from a cache.
    pub cached: i64,
    /// Time in the warehouse.
    pub seconds: f64,
    /// Bytes scanned.
    pub bytes_scanned: i64,
    /// Credits or DBUs.
    pub credits: f64,
    /// Slot or CPU time.
    pub slot_seconds: f64,
}

impl Usage {
    /// The usage in a row of one of the tables that add queries up.
    pub fn at(batch: &RecordBatch, row: usize) -> Self {
        let whole = |name: &str| {
            let column = batch.column_by_name(name).expect("a column of usage").as_primitive::<Int64Type>();
            if column.is_valid(row) { column.value(row) } else { 0 }
        };
        let number = |name: &str| {
            let column = batch.column_by_name(name).expect("a column of usage").as_primitive::<Float64Type>();
            if column.is_valid(row) { column.value(row) } else { 0.0 }
        };
        Self {
            queries: whole("queries"),
            cached: whole("cached"),
            seconds: number("seconds"),
            bytes_scanned: whole("bytes_scanned"),
            credits: number("credits"),
            slot_seconds: number("slot_seconds"),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.queries += other.queries;
        self.cached += other.cached;
        self.seconds += other.seconds;
        self.bytes_scanned = self.bytes_scanned.saturating_add(other.bytes_scanned);
        self.credits += other.credits;
        self.slot_seconds += other.slot_seconds;
    }
}

/// Usage with what it costs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// Usage.
    pub usage: Usage,
    /// Queries that failed.
    pub failures: i64,
    /// Their time in the warehouse.
    pub failed_seconds: f64,
    /// Cost; `None` if nothing of it has a price.
    pub cost: Option<f64>,
    /// Cost of failed queries.
    pub failed_cost: Option<f64>,
}

impl Spent {
    /// Adds usage of a cost; of failed queries if `outcome` says so.
    pub fn add(&mut self, usage: Usage, cost: Option<f64>, outcome: &str) {
        let add = |a: Option<f64>, b: Option<f64>| [a, b].into_iter().flatten().reduce(|a, b| a + b);
        self.usage += usage;
        self.cost = add(self.cost, cost);
        if outcome == "failed" {
            self.failures += usage.queries;
            self.failed_seconds += usage.seconds;
            self.failed_cost = add(self.failed_cost, cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_costs_what_is_priced_and_connections_have_their_own_prices() {
        let config: Config = toml::from_str(
            r#"
            currency = "EUR"
            [warehouses]
            snowflake = { credit = 3.0 }
            BigQuery = { tib = 6.25, slot_hour = 0.04 }
            [connections."Prod Snowflake"]
            credit = 2.0
            hour = 1.0
            "#,
        )
        .unwrap();
        let usage = Usage {
            queries: 2,
            seconds: 1800.0,
            bytes_scanned: 1 << 39,
            credits: 1.5,
            slot_seconds: 7200.0,
            ..Usage::default()
        };
        for (warehouse, connection, cost) in [
            ("snowflake", None, Some(4.5)),
            ("snowflake", Some("prod snowflake"), Some(3.5)),
            ("bigquery", Some("other"), Some(3.125 + 0.08)),
            ("postgres", None, None),
        ] {
            assert_eq!(config.cost(warehouse, connection, &usage), cost, "{warehouse} {connection:?}");
        }
        assert!(Config::default().is_empty() && !config.is_empty());
        for wrong in ["warehouses.trino.credit = -1.0", "warehouses.trino.credit = nan", "prices = 3"] {
            assert!(toml::from_str::<Config>(wrong).is_err(), "{wrong}");
        }
    }
}
