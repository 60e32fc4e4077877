//! Knowledge that the API doesn't have: schemas of tables, and settings of connections that the token may not see.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use super::sql::knowledge::Schemas;

/// Errors of a file of schemas.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// It can't be opened or read.
    #[error("can't read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It isn't what its name's ending says.
    #[error("{} isn't a readable {kind} file", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// CSV, Parquet or JSON.
        kind: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It has no such columns.
    #[error("{} has no column {column}; it has {}", path.display(), found.join(", "))]
    Columns {
        /// The file.
        path: PathBuf,
        /// The column that is missing.
        column: &'static str,
        /// The columns that it has.
        found: Vec<String>,
    },
    /// It holds nothing.
    #[error("{} names no columns of tables", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Settings of a connection that complete its names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionNames {
    /// Warehouse type as the API names it, for a connection that isn't listed.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Database, catalog or project of names without one.
    pub database: Option<String>,
    /// Schema or dataset of names without one.
    pub schema: Option<String>,
    /// Name of the warehouse among several of its kind, for catalogs that tell them apart.
    pub platform_instance: Option<String>,
}

impl ConnectionNames {
    /// Sets one of its fields by name. False if there is none of that name.
    pub fn set(&mut self, field: &str, value: &str) -> bool {
        let field = match field {
            "type" => &mut self.kind,
            "database" => &mut self.database,
            "schema" => &mut self.schema,
            "platform_instance" => &mut self.platform_instance,
            _ => return false,
        };
        *field = Some(value.to_owned());
        true
    }
}

/// All that a person said.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Schemas of tables.
    pub schemas: Arc<Schemas>,
    /// Connections by name or identifier, in lower case.
    pub connections: BTreeMap<String, ConnectionNames>,
    /// Prices of what warehouses use.
    pub prices: super::prices::Config,
}

impl Given {
    /// Settings of a connection.
    pub fn connection(&self, id: &str, name: Option<&str>) -> Option<&ConnectionNames> {
        let by = |key: &str| self.connections.get(&key.to_lowercase());
        by(id).or_else(|| by(name?))
    }
}

const COLUMNS: [&str; 4] = ["table_catalog", "table_schema", "table_name", "column_name"];

/// Reads schemas: rows of INFORMATION_SCHEMA.COLUMNS as `.parquet` or `.csv`, or dbt's `catalog.json`.
///
/// # Errors
/// If the file can't be read, or is no such file.
pub fn schemas(path: &Path) -> Result<Schemas, GivenError> {
    let mut schemas = Schemas::default();
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_lowercase();
    match ending.as_str() {
        "json" => of_dbt(path, &mut schemas)?,
        "parquet" => of_parquet(path, &mut schemas)?,
        _ => of_csv(path, &mut schemas)?,
    }
    if schemas.is_empty() {
        return Err(GivenError::Empty { path: path.into() });
    }
    Ok(schemas)
}

fn open(path: &Path) -> Result<File, GivenError> {
    File::open(path).map_err(|source| GivenError::Io { path: path.into(), source })
}

fn damaged<E: std::error::Error + Send + Sync + 'static>(
    path: &Path,
    kind: &'static str,
) -> impl Fn(E) -> GivenError {
    let path = path.to_owned();
    move |source| GivenError::Damaged { path: path.clone(), kind, source: Box::new(source) }
}

/// Places of the columns, of which the catalog may be missing.
fn places(path: &Path, found: Vec<String>) -> Result<[Option<usize>; 4], GivenError> {
    let mut places = [None; 4];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        *place = found.iter().position(|name| name.trim().eq_ignore_ascii_case(column));
        if place.is_none() && column != COLUMNS[0] {
            return Err(GivenError::Columns { path: path.into(), column, found });
        }
    }
    Ok(places)
}

fn of_csv(path: &Path, schemas: &mut Schemas) -> Result<(), GivenError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(open(path)?);
    let failed = damaged::<csv::Error>(path, "CSV");
    let header = reader.headers().map_err(&failed)?;
    let names = header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    let places = places(path, names)?;
    for record in reader.records() {
        let record = record.map_err(&failed)?;
        let [catalog, schema, table, column] = places.map(|place| place.and_then(|at| record.get(at)));
        schemas.add(catalog, schema, table, column);
    }
    Ok(())
}

fn of_parquet(path: &Path, schemas: &mut Schemas) -> Result<(), GivenError> {
    let failed = damaged::<parquet::errors::ParquetError>(path, "Parquet");
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(open(path)?).and_then(|b| b.build()).map_err(failed)?;
    let failed = damaged::<arrow::error::ArrowError>(path, "Parquet");
    for batch in reader {
        let batch: RecordBatch = batch.map_err(&failed)?;
        let names = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut columns = Vec::new();
        for place in places(path, names)? {
            let texts = place.map(|at| arrow::compute::cast(batch.column(at), &DataType::Utf8)).transpose();
            columns.push(texts.map_err(&failed)?);
        }
        for row in 0..batch.num_rows() {
            let text = |at: usize| {
                let texts = columns[at].as_ref()?.as_string::<i32>();
                texts.is_valid(row).then(|| texts.value(row))
            };
            schemas.add(text(0), text(1), text(2), text(3));
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct DbtCatalog {
    #[serde(default)]
    nodes: BTreeMap<String, DbtTable>,
    #[serde(default)]
    sources: BTreeMap<String, DbtTable>,
}

#[derive(Deserialize)]
struct DbtTable {
    metadata: DbtName,
    #[serde(default)]
    columns: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct DbtName {
    #[serde(default)]
    database: Option<String>,
    schema: String,
    name: String,
}

fn of_dbt(path: &Path, schemas: &mut Schemas) -> Result<(), GivenError> {
    let reader = std::io::BufReader::new(open(path)?);
    let catalog: DbtCatalog =
        serde_json::from_reader(reader).map_err(damaged::<serde_json::Error>(path, "catalog.json"))?;
    for table in catalog.nodes.into_values().chain(catalog.sources.into_values()) {
        let DbtName { database, schema, name } = &table.metadata;
        let columns: BTreeSet<&String> = table.columns.keys().collect();
        for column in columns {
            schemas.add(database.as_deref(), Some(schema), Some(name), Some(column));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::names::TableName;
    use super::*;

    #[test]
    fn schemas_come_from_csv_and_dbt_and_wrong_files_say_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let csv = "\u{feff}TABLE_CATALOG,Table_Schema,TABLE_NAME,COLUMN_NAME,DATA_TYPE\nDB,CORE,ORDERS,ID,INT\nDB,CORE,ORDERS,TOTAL,INT\n";
        let dbt = r#"{"nodes": {"model.x": {"metadata": {"type": "t", "database": "db", "schema": "core", "name": "orders"},
            "columns": {"ID": {"type": "int"}, "TOTAL": {}}}}, "sources": {}, "errors": null}"#;
        let table =
            TableName { database: Some("db".into()), schema: Some("core".into()), table: "orders".into() };
        for path in [file("a.csv", csv), file("catalog.json", dbt)] {
            let schemas = schemas(&path).unwrap();
            let columns: Vec<&String> = schemas.of(&table).unwrap().values().collect();
            assert_eq!(columns, ["ID", "TOTAL"], "{}", path.display());
            assert!(schemas.of(&TableName { database: Some("other".into()), ..table.clone() }).is_none());
            assert!(schemas.of(&TableName { database: None, ..table.clone() }).is_some());
        }
        for (path, why) in [
            (file("b.csv", "a,b\n1,2\n"), "has no column table_schema; it has a, b"),
            (file("c.csv", "table_schema,table_name,column_name\n"), "names no columns"),
            (file("d.json", "{\"nodes\": 3}"), "isn't a readable catalog.json"),
            (file("e.parquet", "no"), "isn't a readable Parquet"),
            (dir.path().join("f.csv"), "can't read"),
        ] {
            let error = schemas(&path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
