//! Workspace audit and metadata exporter for [Hex](https://hex.tech): crawls the Hex API and writes Parquet
//! and CSV snapshots to a data lake.
//!
//! The modules follow the data: [`client`] asks the API, [`crawl`] decides what to ask, [`journal`] keeps
//! every answer, [`tables`] turns answers into rows, [`mod@derive`] computes lineage and statistics from them,
//! [`export`] drives them all, [`history`] imports query histories, [`snapshot`] commits the result to a [`store`],
//! [`lineage`], [`cost`], [`diff`], [`audit`] and [`access`] answer from it, and [`handoff`] gives it to other tools. [`sim`]
//! is a simulated workspace to run them against. [`cli`] is the `hexport` command.

#![forbid(unsafe_code)]

#[cfg(feature = "lake")]
pub mod access;
#[cfg(feature = "lake")]
pub mod audit;
#[cfg(feature = "cli")]
pub mod cli;
pub mod client;
#[cfg(feature = "lake")]
pub mod cost;
#[cfg(feature = "lake")]
pub mod crawl;
#[cfg(feature = "lake")]
pub mod derive;
#[cfg(feature = "lake")]
pub mod diff;
#[cfg(feature = "lake")]
pub mod export;
#[cfg(feature = "lake")]
pub mod handoff;
#[cfg(feature = "lake")]
pub mod history;
#[cfg(feature = "lake")]
pub mod journal;
#[cfg(feature = "lake")]
pub mod lineage;
#[cfg(feature = "lake")]
pub mod notify;
#[cfg(feature = "lake")]
pub mod registry;
#[cfg(feature = "lake")]
pub mod report;
#[cfg(feature = "lake")]
pub mod schema;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "lake")]
pub mod snapshot;
#[cfg(feature = "lake")]
pub mod store;
#[cfg(feature = "lake")]
pub mod tables;
pub mod units;
