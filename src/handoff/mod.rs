//! Hand-offs: what a snapshot knows, in the form that another tool takes.
//!
//! Each submodule reads a committed snapshot and never calls the API: [`dbt`] writes exposures and reads dbt's
//! artifacts, [`impact`] says what a change of the warehouse breaks, [`datahub`] makes metadata change proposals,
//! [`openlineage`] makes events, [`openmetadata`] requests, and `mcp` answers an assistant's questions.

pub mod datahub;
pub mod dbt;
pub mod impact;
#[cfg(feature = "mcp")]
pub mod mcp;
pub mod openlineage;
pub mod openmetadata;
mod pages;
mod relation;
mod rows;

pub use pages::Pages;
pub use relation::Relation;
