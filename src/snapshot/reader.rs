//! Reading a table of a committed snapshot back, in the schema that it has today.

use std::fs::File;
use std::path::Path;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::manifest::Manifest;
use super::{Error, Lake};
use crate::tables::Table;

const BATCH_ROWS: usize = 8192;

/// A table's rows, in the order of its key. A column that the snapshot doesn't have yet, or has with another
/// type, is null.
pub struct TableReader {
    table: &'static Table,
    schema: SchemaRef,
    batches: ParquetRecordBatchReader,
}

impl TableReader {
    /// Opens a table; `None` if the snapshot doesn't have it as Parquet.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn open(lake: &Lake, manifest: &Manifest, table: &'static Table) -> Result<Option<Self>, Error> {
        Self::with_schema(lake, manifest, table, table.schema())
    }

    /// Opens some columns of a table.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn open_columns(
        lake: &Lake,
        manifest: &Manifest,
        table: &'static Table,
        columns: &[&str],
    ) -> Result<Option<Self>, Error> {
        let schema = table.schema();
        let wanted: Vec<_> =
            columns.iter().filter_map(|name| schema.field_with_name(name).ok().cloned()).collect();
        Self::with_schema(lake, manifest, table, Schema::new(wanted).into())
    }

    /// Opens a table's file, wherever it is.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn open_file(path: &Path, table: &'static Table) -> Result<Self, Error> {
        Self::read(path, table, table.schema())
    }

    fn with_schema(
        lake: &Lake,
        manifest: &Manifest,
        table: &'static Table,
        schema: SchemaRef,
    ) -> Result<Option<Self>, Error> {
        let file =
            manifest.tables.get(table.name).and_then(|t| t.files.iter().find(|f| f.format == "parquet"));
        let Some(file) = file else { return Ok(None) };
        Self::read(&lake.file(manifest, file)?, table, schema).map(Some)
    }

    fn read(path: &Path, table: &'static Table, schema: SchemaRef) -> Result<Self, Error> {
        let input = File::open(path).map_err(Error::io("can't read", path))?;
        let damaged =
            |e: parquet::errors::ParquetError| Error::Damaged { path: path.into(), why: e.to_string() };
        let builder = ParquetRecordBatchReaderBuilder::try_new(input).map_err(damaged)?;
        let names = schema.fields().iter().map(|f| f.name().as_str());
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let batches = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(damaged)?;
        Ok(Self { table, schema, batches })
    }

    fn adapt(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let columns: Vec<ArrayRef> = self
            .schema
            .fields()
            .iter()
            .map(|field| match batch.column_by_name(field.name()) {
                Some(column) if column.data_type() == field.data_type() => column.clone(),
                _ => new_null_array(field.data_type(), batch.num_rows()),
            })
            .collect();
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| self.failed(e))
    }

    fn failed(&self, error: impl std::fmt::Display) -> Error {
        Error::Table {
            table: self.table.name,
            why: format!("the last snapshot's rows can't be read: {error}"),
        }
    }
}

impl Iterator for TableReader {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        Some(batch.map_err(|e| self.failed(e)).and_then(|batch| self.adapt(&batch)))
    }
}
