//! `[export]` of the settings file: what the flags of `hexport export` say, written down for every night.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;
use clap::ValueEnum;
use serde::{Deserialize, Deserializer};

use super::export::{FormatArg, Revalidate, parse_age, parse_freshness, parse_revalidate};
use crate::crawl::Freshness;
use crate::snapshot::DeltaMode;
use crate::units::parse_duration;

/// Defaults of `hexport export`, and of `plan` and `rebuild` where they take the same flag. A flag wins.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportSettings {
    /// Tables to write.
    pub tables: Vec<String>,
    /// Formats of the files.
    #[serde(deserialize_with = "formats")]
    pub format: Vec<FormatArg>,
    /// Content of Delta tables.
    #[serde(deserialize_with = "delta_mode")]
    pub delta_mode: Option<DeltaMode>,
    /// File of the warehouses' schemas.
    pub schemas: Option<PathBuf>,
    /// Time that an export may take.
    #[serde(deserialize_with = "duration")]
    pub budget: Option<Duration>,
    /// Requests that an export may send.
    pub max_requests: Option<u64>,
    /// Freshness of runs.
    #[serde(deserialize_with = "freshness")]
    pub freshness: Option<Freshness>,
    /// Age at which unchanged data is re-read.
    #[serde(deserialize_with = "revalidate")]
    pub revalidate: Option<Revalidate>,
    /// Age from which runs are left out.
    #[serde(deserialize_with = "age")]
    pub runs_keep: Option<TimeDelta>,
    /// Tables given up for good.
    pub without: Vec<String>,
    /// Organisation that the token belongs to.
    pub workspace_id: Option<String>,
    /// Whether the journal is kept after the commit.
    pub keep_journal: bool,
    /// Whether tables that the token may not read count as gaps.
    pub strict: bool,
    /// Whether gaps end with exit code 0.
    pub ok_incomplete: bool,
    /// File for Prometheus' textfile collector.
    pub metrics_file: Option<PathBuf>,
}

/// Reads a text as the flag of the same name would.
fn parsed<'de, D, T>(from: D, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(from)?;
    parse(&text).map(Some).map_err(serde::de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    parsed(from, parse_duration)
}

fn freshness<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Freshness>, D::Error> {
    parsed(from, parse_freshness)
}

fn age<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TimeDelta>, D::Error> {
    parsed(from, parse_age)
}

fn revalidate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Revalidate>, D::Error> {
    parsed(from, parse_revalidate)
}

/// A value of a flag that takes one of a few names.
fn one_of<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, true).map_err(|_| {
        let names = T::value_variants().iter().filter_map(|value| value.to_possible_value());
        let names: Vec<String> = names.map(|name| name.get_name().to_owned()).collect();
        format!("'{text}' is none of {}", names.join(", "))
    })
}

fn delta_mode<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DeltaMode>, D::Error> {
    parsed(from, one_of)
}

fn formats<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<FormatArg>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    names.iter().map(|name| one_of(name)).collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}

/// A flag that may be set in the file, and so must be able to say no: `--strict` or `--strict=false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(bool);

impl FromStr for Switch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| "write true or false".into())
    }
}

/// The flag, else the file.
pub fn is_on(flag: Option<Switch>, file: bool) -> bool {
    flag.map_or(file, |switch| switch.0)
}
