//! Reading a table of a committed snapshot back, in the schema that it has today.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use super::manifest::Manifest;
use super::views::preferred;
use super::{Error, Flaw, Lake, csv, upgrade};
use crate::schema::Table;

const BATCH_ROWS: usize = 8192;

/// Rows whose first column of the key, a text, is from one value on and before another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The first value; without it, from the beginning.
    pub from: Option<String>,
    /// The value after the last; without it, to the end.
    pub to: Option<String>,
}

impl KeyRange {
    /// Whether a value is in it.
    pub fn holds(&self, value: &str) -> bool {
        self.from.as_deref().is_none_or(|from| from <= value)
            && self.to.as_deref().is_none_or(|to| value < to)
    }

    fn is_all(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    /// Whether a row group may have rows in it, by its statistics of this column.
    fn may_be_in(&self, group: &RowGroupMetaData, column: &str) -> bool {
        let of = |found: &&ColumnChunkMetaData| found.column_path().parts() == [column];
        let Some(statistics) = group.columns().iter().find(of).and_then(|of| of.statistics()) else {
            return true;
        };
        fn text(bytes: Option<&[u8]>) -> Option<&str> {
            std::str::from_utf8(bytes?).ok()
        }
        let ends = statistics.min_is_exact() && statistics.max_is_exact();
        let (least, most) = (text(statistics.min_bytes_opt()), text(statistics.max_bytes_opt()));
        let before = self.to.as_deref().zip(least).is_some_and(|(to, least)| least >= to);
        let after = self.from.as_deref().zip(most).is_some_and(|(from, most)| most < from);
        !(ends && (before || after))
    }

    /// The rows of a batch that are in it, which is sorted by this column.
    fn cut(&self, batch: &RecordBatch, column: &str) -> Result<RecordBatch, ArrowError> {
        let Some(values) = batch.column_by_name(column).and_then(|column| column.as_string_opt::<i32>())
        else {
            return Err(ArrowError::SchemaError(format!("{column} is no column of texts")));
        };
        let first_not = |is_before: &dyn Fn(&str) -> bool| {
            let (mut low, mut high) = (0, values.len());
            while low < high {
                let middle = low + (high - low) / 2;
                if is_before(values.value(middle)) { low = middle + 1 } else { high = middle }
            }
            low
        };
        let start = self.from.as_deref().map_or(0, |from| first_not(&|value| value < from));
        let end = self.to.as_deref().map_or(values.len(), |to| first_not(&|value| value < to));
        Ok(batch.slice(start, end.saturating_sub(start)))
    }
}

/// A table's rows, in the order of its key. A column that the snapshot doesn't have yet, or has with another
/// type, is null.
pub struct TableReader {
    path: PathBuf,
    table: &'static Table,
    schema: SchemaRef,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
    range: KeyRange,
    rows: u64,
}

impl TableReader {
    /// Opens a table, of its Parquet file or else of its CSV file; `None` if the snapshot doesn't have it.
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
        Self::with_schema(lake, manifest, table, some_columns(table, columns))
    }

    /// Opens a table's file, wherever it is.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn open_file(path: &Path, table: &'static Table) -> Result<Self, Error> {
        Self::read(path, table, table.schema(), KeyRange::default())
    }

    /// Opens some columns of a table's file, wherever it is.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn open_file_columns(path: &Path, table: &'static Table, columns: &[&str]) -> Result<Self, Error> {
        Self::read(path, table, some_columns(table, columns), KeyRange::default())
    }

    /// Opens the rows of a range in a table's file. Only what may hold some of them is read.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn open_range(path: &Path, table: &'static Table, range: &KeyRange) -> Result<Self, Error> {
        Self::read(path, table, table.schema(), range.clone())
    }

    /// Opens some columns of the rows of a range in a table's file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn open_range_columns(
        path: &Path,
        table: &'static Table,
        range: &KeyRange,
        columns: &[&str],
    ) -> Result<Self, Error> {
        Self::read(path, table, some_columns(table, columns), range.clone())
    }

    fn with_schema(
        lake: &Lake,
        manifest: &Manifest,
        table: &'static Table,
        schema: SchemaRef,
    ) -> Result<Option<Self>, Error> {
        let Some(entry) = manifest.tables.get(table.name) else { return Ok(None) };
        let Some(file) = preferred(entry) else { return Ok(None) };
        let path = lake.file(manifest, file)?;
        match file.format.as_str() {
            "parquet" => Self::read(&path, table, schema, KeyRange::default()).map(Some),
            _ => {
                let batches = Box::new(csv::read(&path, &schema, BATCH_ROWS)?);
                let (range, rows) = (KeyRange::default(), entry.rows);
                Ok(Some(Self { path, table, schema, batches, range, rows }))
            }
        }
    }

    fn read(path: &Path, table: &'static Table, schema: SchemaRef, range: KeyRange) -> Result<Self, Error> {
        let input = File::open(path).map_err(Error::io("can't read", path))?;
        let damaged = |e| Flaw::Parquet(e).of(path);
        let builder = ParquetRecordBatchReaderBuilder::try_new(input).map_err(damaged)?;
        // A range is cut by the first column of the key, whether that is wanted or not.
        let cut_by = (!range.is_all()).then_some(table.key[0]);
        let names = schema.fields().iter().map(|f| f.name().as_str()).chain(cut_by);
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let rows = builder.metadata().file_metadata().num_rows() as u64;
        let groups = (!range.is_all()).then(|| {
            let groups = builder.metadata().row_groups().iter().enumerate();
            groups.filter(|(_, group)| range.may_be_in(group, table.key[0])).map(|(i, _)| i).collect()
        });
        let builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS);
        let builder = match groups {
            Some(groups) => builder.with_row_groups(groups),
            None => builder,
        };
        let batches = builder.build().map_err(damaged)?;
        Ok(Self { path: path.into(), table, schema, batches: Box::new(batches), range, rows })
    }

    /// Rows of the whole file.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes them into a Parquet file, with the columns that are known.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`], [`Error::Table`].
    pub fn write_parquet(mut self, path: &Path) -> Result<(), Error> {
        let failed = Error::of_table::<parquet::errors::ParquetError>(self.table);
        let file = File::create(path).map_err(Error::io("can't create", path))?;
        let first = self.next().transpose()?;
        let schema = first.as_ref().map_or_else(|| self.schema.clone(), RecordBatch::schema);
        let mut writer = ArrowWriter::try_new(file, schema, None).map_err(failed)?;
        for batch in first.into_iter().map(Ok).chain(self) {
            writer.write(&batch?).map_err(failed)?;
        }
        writer.close().map(drop).map_err(failed)
    }

    fn adapt(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let batch = match self.range.is_all() {
            true => batch,
            false => &self.range.cut(batch, self.table.key[0]).map_err(|e| self.failed(e))?,
        };
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for field in self.schema.fields() {
            let stored = batch.column_by_name(field.name());
            let column = upgrade::column(self.table.name, field, stored, batch.num_rows());
            // What an older version didn't write is unknown, also where today's always has a value.
            let is_unknown = column.is_none();
            columns.push(column.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows())));
            fields.push(match is_unknown && !field.is_nullable() {
                true => Arc::new(field.as_ref().clone().with_nullable(true)),
                false => field.clone(),
            });
        }
        let schema = match fields[..] == self.schema.fields()[..] {
            true => self.schema.clone(),
            false => Arc::new(Schema::new(fields)),
        };
        RecordBatch::try_new(schema, columns).map_err(|e| self.failed(e))
    }

    fn failed(&self, error: ArrowError) -> Error {
        Flaw::Rows(error).of(&self.path)
    }
}

/// A table's schema, with these columns alone.
fn some_columns(table: &Table, columns: &[&str]) -> SchemaRef {
    let schema = table.schema();
    let wanted: Vec<_> =
        columns.iter().filter_map(|name| schema.field_with_name(name).ok().cloned()).collect();
    Schema::new(wanted).into()
}

impl Iterator for TableReader {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        Some(batch.map_err(|e| self.failed(e)).and_then(|batch| self.adapt(&batch)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::TableWriter;
    use super::*;
    use crate::schema::{Datum, batch_of};
    use crate::snapshot::Format;
    use crate::tables::PROJECT_CATEGORIES;

    #[test]
    fn a_range_is_cut_by_the_key_whatever_is_read_of_it() {
        let table = &PROJECT_CATEGORIES;
        let folder = tempfile::tempdir().unwrap();
        let id = "2026-11-01T000000Z".parse().unwrap();
        let mut writer = TableWriter::create(table, &[Format::Parquet], folder.path(), &id).unwrap();
        // Several row groups' worth of projects with two rows each.
        let row = |at: usize| {
            let of = |column: &crate::schema::Column| match column.name {
                "project_id" => Datum::Text(format!("p{:06}", at / 2)),
                _ if !column.nullable && column.ty == crate::schema::Type::Utf8 => {
                    Datum::Text(format!("c{:06}", at))
                }
                _ if column.ty == crate::schema::Type::Timestamp => Datum::Time(at as i64),
                _ => Datum::Null,
            };
            table.all_columns().map(of).collect()
        };
        writer.write(&batch_of(table, (0..40_000).map(row).collect()).unwrap()).unwrap();
        writer.finish().unwrap();
        let path = folder.path().join(format!("{}.parquet", table.name));
        let range = |from: Option<&str>, to: Option<&str>| KeyRange {
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
        };
        for (range, rows) in [
            (range(None, None), 40_000),
            (range(Some("p000010"), Some("p000011")), 2),
            (range(Some("p0000105"), Some("p0000106")), 0),
            (range(Some("p019000"), None), 2_000),
            (range(None, Some("p000100")), 200),
            (range(Some("q"), None), 0),
        ] {
            let all = TableReader::open_range(&path, table, &range).unwrap();
            let whole: Vec<RecordBatch> = all.map(Result::unwrap).collect();
            assert_eq!(whole.iter().map(RecordBatch::num_rows).sum::<usize>(), rows, "{range:?}");
            for columns in [&["project_id", "fetched_at"][..], &["fetched_at"]] {
                let some = TableReader::open_range_columns(&path, table, &range, columns).unwrap();
                let found: Vec<RecordBatch> = some.map(Result::unwrap).collect();
                let expected = whole.iter().map(|batch| {
                    let places: Vec<usize> =
                        columns.iter().map(|name| batch.schema().index_of(name).unwrap()).collect();
                    batch.project(&places).unwrap()
                });
                let columns_of = |batch: &RecordBatch| batch.columns().to_vec();
                assert_eq!(
                    found.iter().map(columns_of).collect::<Vec<_>>(),
                    expected.map(|batch| columns_of(&batch)).collect::<Vec<_>>(),
                    "{range:?} {columns:?}"
                );
            }
        }
    }
}
