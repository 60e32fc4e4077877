//! Texts of Arrow columns, and of Parquet and CSV files: reading all of them, and writing them again with others.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StringArray, StructArray};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Type;
use parquet::errors::ParquetError;

use super::pseudonyms::may_hold_address;
use crate::snapshot::writer::{HashingFile, properties_again};
use crate::snapshot::{Error, Flaw};

/// Given a text, gives another, or nothing to leave it.
pub type Rewrite<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A file that was written again.
pub struct Written {
    /// Size.
    pub bytes: u64,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
}

/// A column with other texts, also within lists and objects; `None` if nothing in it changes.
pub fn column(array: &ArrayRef, rewrite: &Rewrite<'_>) -> Result<Option<ArrayRef>, ArrowError> {
    match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            if !may_hold_address(texts.value_data()) {
                return Ok(None);
            }
            let mut is_changed = false;
            let new: StringArray = texts
                .iter()
                .map(|text| {
                    let new = text.and_then(rewrite);
                    is_changed |= new.is_some();
                    new.or_else(|| text.map(str::to_owned))
                })
                .collect();
            Ok(is_changed.then(|| Arc::new(new) as ArrayRef))
        }
        // Other writers' texts.
        ty @ (DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..)) => {
            let plain = cast(array, &DataType::Utf8)?;
            column(&plain, rewrite)?.map(|new| cast(&new, ty)).transpose()
        }
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let Some(values) = column(list.values(), rewrite)? else { return Ok(None) };
            let new =
                ListArray::try_new(field.clone(), list.offsets().clone(), values, list.nulls().cloned());
            Ok(Some(Arc::new(new?) as ArrayRef))
        }
        DataType::Struct(fields) => {
            let object = array.as_struct();
            let new: Vec<Option<ArrayRef>> =
                object.columns().iter().map(|inner| column(inner, rewrite)).collect::<Result<_, _>>()?;
            if new.iter().all(Option::is_none) {
                return Ok(None);
            }
            let columns = new.into_iter().zip(object.columns()).map(|(new, old)| new.unwrap_or(old.clone()));
            let new = StructArray::try_new(fields.clone(), columns.collect(), object.nulls().cloned());
            Ok(Some(Arc::new(new?) as ArrayRef))
        }
        _ => Ok(None),
    }
}

/// A batch with other texts, and the columns that changed; `None` if none did.
pub fn batch(
    batch: &RecordBatch,
    rewrite: &Rewrite<'_>,
) -> Result<Option<(RecordBatch, BTreeSet<usize>)>, ArrowError> {
    let mut columns = batch.columns().to_vec();
    let mut changed = BTreeSet::new();
    for (i, slot) in columns.iter_mut().enumerate() {
        if let Some(new) = column(slot, rewrite)? {
            *slot = new;
            changed.insert(i);
        }
    }
    match changed.is_empty() {
        true => Ok(None),
        false => Ok(Some((RecordBatch::try_new(batch.schema(), columns)?, changed))),
    }
}

/// Errors of reading a file.
fn unreadable<E: Into<Flaw>>(path: &Path) -> impl Fn(E) -> Error + Copy {
    move |error| error.into().of(path)
}

/// Errors of writing a file again.
fn unwritable<E>(path: &Path) -> impl Fn(E) -> Error + Copy
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |error| Flaw::Rewrite(Box::new(error)).of(path)
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, Error> {
    let file = File::open(path).map_err(Error::io("can't read", path))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(unreadable(path))
}

/// Columns of a Parquet file of which a text satisfies `is_wanted`. Only texts are read.
pub fn parquet_columns(path: &Path, is_wanted: &dyn Fn(&str) -> bool) -> Result<Vec<String>, Error> {
    let failed = unreadable::<ArrowError>(path);
    let builder = open(path)?;
    let schema = builder.parquet_schema();
    let is_text = |i: &usize| schema.column(*i).physical_type() == Type::BYTE_ARRAY;
    let texts: Vec<usize> = (0..schema.num_columns()).filter(is_text).collect();
    let mask = ProjectionMask::leaves(schema, texts);
    let reader = builder.with_projection(mask).build().map_err(unreadable(path))?;
    let mut found = BTreeSet::new();
    let look = |text: &str| is_wanted(text).then(String::new);
    for part in reader {
        let part = part.map_err(failed)?;
        for (field, array) in part.schema().fields().iter().zip(part.columns()) {
            if !found.contains(field.name()) && column(array, &look).map_err(failed)?.is_some() {
                found.insert(field.name().clone());
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// Writes a Parquet file with other texts, in the form that it has. `None`, and nothing written, if none changes.
pub fn parquet(from: &Path, to: &Path, rewrite: &Rewrite<'_>) -> Result<Option<Written>, Error> {
    if parquet_columns(from, &|text| rewrite(text).is_some())?.is_empty() {
        return Ok(None);
    }
    let failed = unwritable::<ParquetError>(from);
    let arrow = unwritable::<ArrowError>(from);
    let builder = open(from)?;
    let groups = builder.metadata().row_groups();
    let sorting: Vec<usize> = groups
        .first()
        .and_then(|group| group.sorting_columns())
        .map_or_else(Vec::new, |key| key.iter().map(|column| column.column_idx as usize).collect());
    let properties = properties_again(builder.metadata());
    let schema = builder.schema().clone();
    let file = HashingFile::create(to).map_err(Error::io("can't create", to))?;
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(failed)?;
    let changes_key = {
        let look = |text: &str| rewrite(text).is_some();
        let changed = parquet_columns(from, &look)?;
        sorting.iter().any(|i| schema.fields().get(*i).is_some_and(|field| changed.contains(field.name())))
    };
    let mut all = Vec::new();
    for part in builder.build().map_err(failed)? {
        let part = part.map_err(arrow)?;
        let part = batch(&part, rewrite).map_err(arrow)?.map_or(part, |(new, _)| new);
        match changes_key {
            true => all.push(part),
            false => writer.write(&part).map_err(failed)?,
        }
    }
    if changes_key {
        // Tables whose key holds addresses have a row a person: they fit into memory.
        let whole = concat_batches(&schema, &all).map_err(arrow)?;
        writer.write(&sorted(&whole, &sorting).map_err(arrow)?).map_err(failed)?;
    }
    let file = writer.into_inner().map_err(failed)?;
    let (bytes, sha256) = file.finish().map_err(Error::io("can't write", to))?;
    Ok(Some(Written { bytes, sha256 }))
}

/// A batch in the order of these columns.
fn sorted(batch: &RecordBatch, by: &[usize]) -> Result<RecordBatch, ArrowError> {
    let fields = by.iter().map(|i| SortField::new(batch.column(*i).data_type().clone()));
    let keys: Vec<ArrayRef> = by.iter().map(|i| batch.column(*i).clone()).collect();
    let rows = RowConverter::new(fields.collect())?.convert_columns(&keys)?;
    let mut order: Vec<u64> = (0..batch.num_rows() as u64).collect();
    order.sort_by_key(|i| rows.row(*i as usize));
    take_record_batch(batch, &arrow::array::UInt64Array::from(order))
}

/// Columns of a CSV file of which a field satisfies `is_wanted`.
pub fn csv_columns(path: &Path, is_wanted: &dyn Fn(&str) -> bool) -> Result<Vec<String>, Error> {
    let failed = unreadable::<csv::Error>(path);
    let file = File::open(path).map_err(Error::io("can't read", path))?;
    let mut reader = csv::Reader::from_reader(BufReader::new(file));
    let names = reader.headers().map_err(failed)?.clone();
    let mut found = BTreeSet::new();
    for record in reader.records() {
        for (i, field) in record.map_err(failed)?.iter().enumerate() {
            if is_wanted(field) {
                found.insert(names.get(i).unwrap_or_default().to_owned());
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// Writes a CSV file with other texts. `None`, and nothing written, if none changes.
pub fn csv(from: &Path, to: &Path, rewrite: &Rewrite<'_>) -> Result<Option<Written>, Error> {
    if csv_columns(from, &|field| rewrite(field).is_some())?.is_empty() {
        return Ok(None);
    }
    let failed = unwritable::<csv::Error>(from);
    let file = File::open(from).map_err(Error::io("can't read", from))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(BufReader::new(file));
    let out = HashingFile::create(to).map_err(Error::io("can't create", to))?;
    let mut writer = csv::WriterBuilder::new().from_writer(out);
    for record in reader.records() {
        let record = record.map_err(failed)?;
        let fields = record.iter().map(|field| rewrite(field).unwrap_or_else(|| field.to_owned()));
        writer.write_record(fields).map_err(failed)?;
    }
    let file = writer.into_inner().map_err(|e| Error::io("can't write", to)(e.into_error()))?;
    let (bytes, sha256) = file.finish().map_err(Error::io("can't write", to))?;
    Ok(Some(Written { bytes, sha256 }))
}
