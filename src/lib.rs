//! Workspace audit and metadata exporter for [Hex](https://hex.tech): crawls the Hex API and writes Parquet
//! and CSV snapshots to a data lake.
//!
//! The modules follow the data: [`client`] asks the API, [`crawl`] decides what to ask, [`journal`] keeps
//! every answer, [`tables`] turns answers into rows, [`mod@derive`] computes lineage and statistics from them,
//! [`export`] drives them all, [`snapshot`] commits the result to a [`store`], [`lineage`], [`diff`],
//! [`audit`] and [`access`] answer from it, and [`handoff`] gives it to other tools. [`sim`] is a simulated workspace
//! to run them against. [`cli`] is the `hexport` command.

pub mod access;
pub mod audit;
pub mod cli;
pub mod client;
pub mod crawl;
pub mod derive;
pub mod diff;
pub mod export;
pub mod handoff;
pub mod journal;
pub mod lineage;
pub mod notify;
pub mod registry;
pub mod report;
pub mod schema;
#[cfg(feature = "sim")]
pub mod sim;
pub mod snapshot;
pub mod store;
pub mod tables;
pub mod units;
