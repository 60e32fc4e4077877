//! Flags for what the API doesn't say about warehouses.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::exit::{Code, Failure};
use super::settings::Settings;
use crate::derive::{ConnectionNames, Given, schemas};

/// Flags with knowledge about the warehouses.
#[derive(Debug, clap::Args)]
pub struct GivenArgs {
    /// Columns of your tables, to resolve * and unqualified columns: INFORMATION_SCHEMA.COLUMNS as .csv or .parquet,
    /// or dbt's catalog.json
    #[arg(long, value_name = "FILE", env = "HEXPORT_SCHEMAS", help_heading = "Lineage")]
    schemas: Option<PathBuf>,
    #[command(flatten)]
    connections: ConnectionArgs,
}

/// Flags with knowledge about connections.
#[derive(Debug, clap::Args)]
pub struct ConnectionArgs {
    /// Setting of a connection that the token may not see, to complete table names: database, schema, type or
    /// platform_instance, by the connection's name or identifier
    #[arg(long = "connection", value_name = "NAME.database=VALUE", help_heading = "Lineage")]
    connections: Vec<Assignment>,
}

/// `NAME.field=value`
#[derive(Debug, Clone)]
struct Assignment {
    connection: String,
    field: String,
    value: String,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(left, value)| Some((left.rsplit_once('.')?, value)));
        let Some(((connection, field), value)) =
            parts.filter(|((name, _), value)| !name.is_empty() && !value.is_empty())
        else {
            return Err("write NAME.database=VALUE, with the name or identifier of a connection".into());
        };
        if !ConnectionNames::default().set(field, value) {
            return Err(format!("'{field}' isn't database, schema, type or platform_instance"));
        }
        Ok(Self { connection: connection.into(), field: field.into(), value: value.into() })
    }
}

impl ConnectionArgs {
    /// Reads what the flags and the settings file tell; flags come first.
    pub fn read(&self, settings: &Settings) -> Given {
        let mut given = super::import::given(settings);
        for Assignment { connection, field, value } in &self.connections {
            given.connections.entry(connection.to_lowercase()).or_default().set(field, value);
        }
        given
    }
}

impl GivenArgs {
    /// Reads what the flags and the settings file tell; flags come first.
    ///
    /// # Errors
    /// If the file of schemas can't be read.
    pub fn read(&self, settings: &Settings) -> Result<Given, Failure> {
        let mut given = self.connections.read(settings);
        if let Some(path) = self.schemas.as_ref().or(settings.file.export.schemas.as_ref()) {
            let read = schemas(path).map_err(|e| {
                let why = std::error::Error::source(&e).map_or(String::new(), |source| format!(": {source}"));
                Failure::new(Code::Usage, format!("schemas: {e}{why}")).next(
                    "Export INFORMATION_SCHEMA.COLUMNS with table_catalog, table_schema, table_name and column_name, or \
                     name dbt's target/catalog.json.",
                )
            })?;
            given.schemas = Arc::new(read);
        }
        Ok(given)
    }
}
