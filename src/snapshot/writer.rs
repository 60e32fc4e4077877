//! Writing a table's record batches to files: Parquet and CSV from the same batches.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder, StructArray};
use arrow::compute::concat_batches;
use arrow::csv::WriterBuilder;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::LineDelimited;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, ParquetMetaData, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use super::forget::Pseudonyms;
use super::manifest::{FileEntry, TableEntry};
use super::{Error, SnapshotId};
use crate::schema::{Column, Table, type_name};

/// Rows of a row group: engines read whole groups in parallel, and hold one in memory.
const ROW_GROUP_ROWS: usize = 122_880;
/// A row group is closed earlier when it holds this many bytes (long SQL and code sources).
const ROW_GROUP_BYTES: usize = 64 << 20;
const ZSTD_LEVEL: i32 = 3;
/// Rows that are handed to the file writers at a time: where a page ends depends on it. With a number of their own, the
/// same rows make the same file, in whatever batches they come.
const WRITTEN_ROWS: usize = 1024;

/// File format of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Apache Parquet, zstd.
    Parquet,
    /// CSV (RFC 4180), times in ISO 8601 UTC, nested values as JSON.
    Csv,
}

impl Format {
    /// Name in manifests, and ending of files.
    pub fn name(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Csv => "csv",
        }
    }
}

/// Writes one table, in every format asked for.
pub struct TableWriter {
    table: &'static Table,
    rows: u64,
    /// Rows that don't fill [`WRITTEN_ROWS`] yet.
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    sinks: Vec<Sink>,
    pseudonyms: Arc<Pseudonyms>,
}

enum Sink {
    Parquet { name: String, path: PathBuf, writer: Box<ArrowWriter<HashingFile>> },
    Csv { name: String, path: PathBuf, writer: Box<arrow::csv::Writer<HashingFile>> },
}

impl TableWriter {
    /// Begins a table's files in `folder`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Table`].
    pub fn create(
        table: &'static Table,
        formats: &[Format],
        folder: &Path,
        snapshot_id: &SnapshotId,
    ) -> Result<Self, Error> {
        let mut sinks = Vec::new();
        for format in formats {
            let name = format!("{}.{}", table.name, format.name());
            let path = folder.join(&name);
            let file = HashingFile::create(&path).map_err(Error::io("can't create", &path))?;
            sinks.push(match format {
                Format::Parquet => {
                    let properties = Some(properties(table, snapshot_id));
                    let writer = ArrowWriter::try_new(file, table.schema(), properties)
                        .map_err(|e| failed(table, &path, e))?;
                    Sink::Parquet { name, path, writer: Box::new(writer) }
                }
                Format::Csv => {
                    let writer = WriterBuilder::new()
                        .with_header(true)
                        .with_timestamp_tz_format("%Y-%m-%dT%H:%M:%S%.6fZ".into())
                        .build(file);
                    Sink::Csv { name, path, writer: Box::new(writer) }
                }
            });
        }
        let (pending, pseudonyms) = (Vec::new(), Arc::default());
        Ok(Self { table, rows: 0, pending, pending_rows: 0, sinks, pseudonyms })
    }

    /// Replaces addresses of forgotten people in every row that is written.
    pub fn with(self, pseudonyms: &Arc<Pseudonyms>) -> Self {
        Self { pseudonyms: pseudonyms.clone(), ..self }
    }

    /// Appends rows. Batches come in the order of the table's key.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Table`].
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.rows += batch.num_rows() as u64;
        let replaced = self.pseudonyms.batch(self.table, batch).map_err(Error::of_table(self.table))?;
        let mut rest = replaced.unwrap_or_else(|| batch.clone());
        while self.pending_rows + rest.num_rows() >= WRITTEN_ROWS {
            let missing = WRITTEN_ROWS - self.pending_rows;
            self.pending.push(rest.slice(0, missing));
            rest = rest.slice(missing, rest.num_rows() - missing);
            self.write_pending()?;
        }
        if rest.num_rows() > 0 {
            self.pending_rows += rest.num_rows();
            self.pending.push(rest);
        }
        Ok(())
    }

    fn write_pending(&mut self) -> Result<(), Error> {
        let whole = match self.pending.as_slice() {
            [one] => one.clone(),
            several => concat_batches(&self.table.schema(), several).map_err(Error::of_table(self.table))?,
        };
        self.pending.clear();
        self.pending_rows = 0;
        let batch = &whole;
        for sink in &mut self.sinks {
            match sink {
                Sink::Parquet { writer, path, .. } => {
                    writer.write(batch).map_err(|e| failed(self.table, path, e))?;
                    if writer.in_progress_size() >= ROW_GROUP_BYTES {
                        writer.flush().map_err(|e| failed(self.table, path, e))?;
                    }
                }
                Sink::Csv { writer, path, .. } => {
                    let flat = flatten(batch).map_err(|e| failed(self.table, path, e))?;
                    writer.write(&flat).map_err(|e| failed(self.table, path, e))?;
                }
            }
        }
        Ok(())
    }

    /// Ends the files and makes them durable.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Table`].
    pub fn finish(mut self) -> Result<TableEntry, Error> {
        // A CSV writer that has seen no batch has written no header.
        if self.pending_rows > 0 || self.rows == 0 {
            self.write_pending()?;
        }
        let mut files = Vec::new();
        for sink in self.sinks {
            let (format, name, path, file) = match sink {
                Sink::Parquet { name, path, writer } => {
                    let file = writer.into_inner().map_err(|e| failed(self.table, &path, e))?;
                    (Format::Parquet, name, path, file)
                }
                Sink::Csv { name, path, writer } => (Format::Csv, name, path, writer.into_inner()),
            };
            let (bytes, sha256) = file.finish().map_err(Error::io("can't write", &path))?;
            files.push(FileEntry { path: name, format: format.name().into(), bytes, sha256, snapshot: None });
        }
        let has_csv = files.iter().any(|file| file.format == Format::Csv.name());
        let column = |column: &Column| (column.name.to_owned(), type_name(&column.ty.arrow()));
        let columns = if has_csv { self.table.all_columns().map(column).collect() } else { Vec::new() };
        Ok(TableEntry {
            rows: self.rows,
            doc: self.table.doc.to_owned(),
            columns,
            files,
            ..TableEntry::default()
        })
    }
}

/// Sorts a writer's errors: a disk that is full or can't be written to isn't the rows' fault.
fn failed(
    table: &'static Table,
    path: &Path,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(e) = cause {
        // Errors within errors: the system's own is the innermost that has a code.
        let system = e.downcast_ref::<io::Error>().or(match e.downcast_ref::<ArrowError>() {
            Some(ArrowError::IoError(_, inner)) => Some(inner),
            _ => None,
        });
        if let Some(code) = system.and_then(io::Error::raw_os_error) {
            return Error::io("can't write", path)(io::Error::from_raw_os_error(code));
        }
        cause = e.source();
    }
    Error::of_table(table)(error)
}

fn properties(table: &Table, snapshot_id: &SnapshotId) -> WriterProperties {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("a level that zstd knows");
    let sorting = table.key_indices().into_iter().map(|i| SortingColumn {
        column_idx: i as i32,
        descending: false,
        nulls_first: true,
    });
    // Leaf columns are counted where a struct or list comes before; keys never do.
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_sorting_columns(Some(sorting.collect()))
        .set_created_by(format!("hexport {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(vec![
            KeyValue::new("hexport.snapshot_id".into(), snapshot_id.to_string()),
            KeyValue::new("hexport.schema_version".into(), crate::schema::SCHEMA_VERSION.to_string()),
            KeyValue::new("hexport.table".into(), table.name.to_owned()),
        ]));
    for column in table.columns.iter().filter(|c| c.name.ends_with("_id")) {
        builder = builder.set_column_bloom_filter_enabled(ColumnPath::from(column.name), true);
    }
    // Sources are long and all different: a dictionary of them is given up after it was built.
    for name in ["source", "extra"] {
        builder = builder.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    builder.build()
}

/// Properties for writing a file again in the form that it has: its compression, order, filters and notes.
pub(super) fn properties_again(metadata: &ParquetMetaData) -> WriterProperties {
    let file = metadata.file_metadata();
    let first = metadata.row_groups().first();
    let notes = file.key_value_metadata().into_iter().flatten();
    // The writer notes the Arrow schema itself.
    let notes: Vec<KeyValue> = notes.filter(|note| note.key != "ARROW:schema").cloned().collect();
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("a level that zstd knows");
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_sorting_columns(first.and_then(|group| group.sorting_columns()).cloned())
        .set_key_value_metadata(Some(notes));
    if let Some(writer) = file.created_by() {
        builder = builder.set_created_by(writer.to_owned());
    }
    for column in first.into_iter().flat_map(|group| group.columns()) {
        let path = column.column_path().clone();
        if column.bloom_filter_offset().is_some() {
            builder = builder.set_column_bloom_filter_enabled(path.clone(), true);
        }
        if column.dictionary_page_offset().is_none() {
            builder = builder.set_column_dictionary_enabled(path, false);
        }
    }
    builder.build()
}

/// The same batch with nested columns as JSON text.
fn flatten(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let nested = matches!(field.data_type(), DataType::List(_) | DataType::Struct(_));
        fields.push(if nested {
            Arc::new(Field::new(field.name(), DataType::Utf8, true))
        } else {
            field.clone()
        });
        columns.push(if nested { as_json(column)? } else { column.clone() });
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn as_json(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let field = Arc::new(Field::new("v", column.data_type().clone(), true));
    let batch = RecordBatch::from(StructArray::from(vec![(field, column.clone())]));
    let mut text = Vec::new();
    let mut writer =
        arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut text);
    writer.write(&batch)?;
    writer.finish()?;
    drop(writer);
    let text = String::from_utf8(text).map_err(|e| ArrowError::JsonError(e.to_string()))?;
    let mut builder = StringBuilder::new();
    for line in text.lines() {
        match line.strip_prefix("{\"v\":").and_then(|l| l.strip_suffix('}')) {
            Some("null") | None => builder.append_null(),
            Some(value) => builder.append_value(value),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// Length and SHA-256 of what is left to read.
pub(super) fn digest(input: &mut impl io::Read) -> io::Result<(u64, String)> {
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    let mut input = BufReader::with_capacity(1 << 16, input);
    loop {
        let part = match input.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            part => part?,
        };
        if part.is_empty() {
            return Ok((bytes, hex(&hasher.finalize())));
        }
        hasher.update(part);
        let read = part.len();
        bytes += read as u64;
        input.consume(read);
    }
}

/// A file that knows its length and SHA-256 when it is done.
pub(super) struct HashingFile {
    file: BufWriter<File>,
    hasher: Sha256,
    bytes: u64,
}

impl HashingFile {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 18, File::create_new(path)?);
        Ok(Self { file, hasher: Sha256::new(), bytes: 0 })
    }

    pub(super) fn finish(self) -> io::Result<(u64, String)> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok((self.bytes, hex(&self.hasher.finalize())))
    }
}

impl Write for HashingFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.write_all(buffer)?;
        self.hasher.update(buffer);
        self.bytes += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Datum, Type, batch_of};
    use parquet::errors::ParquetError;

    #[test]
    fn the_same_rows_make_the_same_file_in_whatever_batches_they_come() {
        // A table with lists and objects: their values are more than its rows.
        let table = &crate::tables::RUNS;
        fn datum(ty: &Type, row: usize) -> Datum {
            match ty {
                Type::Utf8 | Type::Json => {
                    Datum::Text(format!("{:08}", row.wrapping_mul(2_654_435_761) % 100_003))
                }
                Type::Int64 => Datum::Int(row as i64),
                Type::Float64 => Datum::Float(row as f64),
                Type::Boolean => Datum::Bool(row.is_multiple_of(3)),
                Type::Timestamp => Datum::Time(row as i64),
                Type::Date => Datum::Date(row as i32),
                Type::List(of) => Datum::List((0..row % 4).map(|i| datum(of, row + i)).collect()),
                Type::Struct(fields) => Datum::Struct(fields.iter().map(|f| datum(&f.ty, row)).collect()),
            }
        }
        // More than a page takes.
        const ROWS: usize = 22_000;
        let row = |at| table.all_columns().map(|column| datum(&column.ty, at)).collect();
        let all = batch_of(table, (0..ROWS).map(row).collect()).unwrap();
        let write = |sizes: &[usize]| {
            let folder = tempfile::tempdir().unwrap();
            let formats = [Format::Parquet, Format::Csv];
            let id = "2026-11-01T000000Z".parse().unwrap();
            let mut writer = TableWriter::create(table, &formats, folder.path(), &id).unwrap();
            let mut from = 0;
            for size in sizes.iter().cycle() {
                let rows = (*size).min(ROWS - from);
                writer.write(&all.slice(from, rows)).unwrap();
                from += rows;
                if from == ROWS {
                    break;
                }
            }
            writer.finish().unwrap()
        };
        let whole = write(&[ROWS]);
        assert_eq!(whole.rows, ROWS as u64);
        for sizes in [&[1024][..], &[3], &[7, 5000, 1, 1023], &[9_999]] {
            assert_eq!(write(sizes).files, whole.files, "{sizes:?}");
        }
    }

    #[test]
    fn a_full_disk_is_told_from_rows_that_can_not_be_written() {
        let full = || io::Error::from_raw_os_error(28);
        let table = &crate::tables::USERS;
        let said = [
            failed(table, Path::new("x"), ParquetError::External(Box::new(full()))),
            failed(table, Path::new("x"), ArrowError::IoError("x".into(), full())),
            failed(table, Path::new("x"), ArrowError::ExternalError(Box::new(full()))),
        ];
        for error in said {
            assert!(
                matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull),
                "{error}"
            );
        }
        let other = failed(table, Path::new("x"), ArrowError::SchemaError("x".into()));
        assert!(matches!(other, Error::Table { .. }));
    }
}
