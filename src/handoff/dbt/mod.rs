//! dbt: what it builds, read from its artifacts, and the exposures that it takes.

mod artifact;
mod exposures;

pub use artifact::{
    Artifact, Catalog, Column, Error, Kind, Manifest, Node, Refused, load_catalog, load_manifest,
};
pub use exposures::{
    Exposure, Exposures, ExposuresError, Left, Maturity, Options, Owner, Scope, Why, exposures,
};
