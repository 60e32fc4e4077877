//! Naming rules of a connection, from its settings.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};

use super::names::{Defaults, Warehouse};
use super::{ConnectionNames, Inputs};
use crate::snapshot;

/// A connection, as far as names go.
#[derive(Debug, Clone)]
pub struct Naming {
    /// Kind.
    pub warehouse: Warehouse,
    /// Settings that complete its names.
    pub defaults: Defaults,
}

impl Naming {
    /// Of a connection that isn't listed: names are taken as they are.
    pub fn unknown() -> Self {
        Self { warehouse: Warehouse::Other, defaults: Defaults::default() }
    }
}

/// All connections by identifier.
///
/// # Errors
/// If the table can't be read.
pub fn namings(inputs: &Inputs<'_>) -> Result<HashMap<String, Naming>, snapshot::Error> {
    let table = &crate::tables::DATA_CONNECTIONS;
    let mut namings = HashMap::new();
    let nothing = ConnectionNames::default();
    // Those that the token may not see go by their identifier.
    for (id, given) in &inputs.given.connections {
        let warehouse = Warehouse::of_type(given.kind.as_deref().unwrap_or(""));
        let (database, schema) = (given.database.as_deref(), given.schema.as_deref());
        let defaults = Defaults::of_connection(warehouse, database, schema, None);
        namings.insert(id.clone(), Naming { warehouse, defaults });
    }
    for batch in inputs.read(table)? {
        let batch = batch?;
        for i in 0..batch.num_rows() {
            let Some(id) = text(&batch, "data_connection_id", i) else { continue };
            let [database, schema, url, kind] =
                ["database", "schema", "jdbc_url", "type"].map(|name| text(&batch, name, i));
            let given = inputs.given.connection(id, text(&batch, "name", i)).unwrap_or(&nothing);
            let warehouse = Warehouse::of_type(given.kind.as_deref().or(kind).unwrap_or(""));
            let (database, schema) =
                (given.database.as_deref().or(database), given.schema.as_deref().or(schema));
            let defaults = Defaults::of_connection(warehouse, database, schema, url);
            namings.insert(id.to_owned(), Naming { warehouse, defaults });
        }
    }
    Ok(namings)
}

/// A text of a batch.
pub fn text<'a>(batch: &'a RecordBatch, column: &str, row: usize) -> Option<&'a str> {
    let column = batch.column_by_name(column).expect("a column of the table").as_string::<i32>();
    column.is_valid(row).then(|| column.value(row))
}
