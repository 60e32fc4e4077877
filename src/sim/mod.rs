//! A simulated Hex workspace: a deterministic generator and an HTTP server that follows Hex's published
//! description.
//!
//! The same seed and size give the same workspace, byte for byte, and the generator knows the truth about
//! it: tests compare what an export wrote with [`World`], not with a second run of the exporter.

mod changes;
mod clock;
mod faults;
mod limits;
mod rng;
mod server;
mod sql;
mod world;

pub use changes::Change;
pub use clock::Clock;
pub use faults::Faults;
#[cfg(test)]
pub(crate) use limits::Counter;
pub use limits::{LimitKind, RateLimit};
pub use server::{RequestRecord, SimConfig, SimServer, SimToken};
pub use sql::{CellTruth, TableRef};
pub use world::{Plan, ProjectRecord, RunSpec, World, WorldConfig};
