//! Texts of Arrow columns, and of Parquet and CSV files: reading all of them, and writing them again with others.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait, RecordBatch,
    StringArray, StructArray,
};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::Type;
use parquet::errors::ParquetError;

use super::pseudonyms::may_hold_address;
use crate::schema::NameOf;
use crate::snapshot::writer::{HashingFile, properties_again};
use crate::snapshot::{Error, Flaw};

/// Given a text, gives another, or nothing to leave it.
pub type Rewrite<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A rewritten file.
pub struct Written {
    /// Size.
    pub bytes: u64,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Rewrites for the texts of a table.
pub struct Change<'a> {
    /// Rewrite of any text.
    pub text: &'a Rewrite<'a>,
    /// Given an address, what stands for the name of the person.
    pub name: &'a Rewrite<'a>,
    /// Columns that name people.
    pub names: Vec<(&'static str, NameOf)>,
}

impl Change<'_> {
    /// The replacement for a name in a row, whose values `of` gives by column.
    fn renamed<'v>(
        &self,
        of: &dyn Fn(&str) -> Option<&'v str>,
        name: &str,
        person: NameOf,
    ) -> Option<String> {
        let is_one = person.only_where.is_none_or(|(column, value)| of(column) == Some(value));
        let new = (self.name)(of(person.address).filter(|_| is_one)?)?;
        of(name).is_some_and(|name| !name.is_empty() && name != new).then_some(new)
    }
}

/// A column with other texts, also within lists, maps and objects; `None` if nothing in it changes. Other columns can't
/// be changed: one whose bytes hold such a text, or that can't be searched, is an error.
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
        ty @ (DataType::LargeUtf8 | DataType::Utf8View) => {
            let plain = cast(array, &DataType::Utf8)?;
            column(&plain, rewrite)?.map(|new| cast(&new, ty)).transpose()
        }
        ty @ DataType::Dictionary(_, values) => {
            let plain = cast(array, values)?;
            column(&plain, rewrite)?.map(|new| cast(&new, ty)).transpose()
        }
        DataType::List(field) => of_list(array.as_list::<i32>(), field, rewrite),
        DataType::LargeList(field) => of_list(array.as_list::<i64>(), field, rewrite),
        DataType::FixedSizeList(field, size) => {
            let list = array.as_fixed_size_list();
            let Some(values) = column(list.values(), rewrite)? else { return Ok(None) };
            let new = FixedSizeListArray::try_new(field.clone(), *size, values, list.nulls().cloned());
            Ok(Some(Arc::new(new?) as ArrayRef))
        }
        DataType::Map(field, is_sorted) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let Some(entries) = column(&entries, rewrite)? else { return Ok(None) };
            let (entries, nulls) = (entries.as_struct().clone(), map.nulls().cloned());
            let new = MapArray::try_new(field.clone(), map.offsets().clone(), entries, nulls, *is_sorted);
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
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            let bytes = cast(array, &DataType::LargeBinary)?;
            let holds = |bytes: &[u8]| rewrite(&String::from_utf8_lossy(bytes)).is_some();
            match bytes.as_binary::<i64>().iter().flatten().any(holds) {
                true => Err(ArrowError::InvalidArgumentError(format!(
                    "it holds the address in bytes ({}), which can't be rewritten: remove it, or convert it to text",
                    array.data_type()
                ))),
                false => Ok(None),
            }
        }
        ty if ty.is_primitive() || matches!(ty, DataType::Boolean | DataType::Null) => Ok(None),
        ty => Err(ArrowError::NotYetImplemented(format!("a column of type {ty} can't be searched"))),
    }
}

fn of_list<O: OffsetSizeTrait>(
    list: &GenericListArray<O>,
    field: &FieldRef,
    rewrite: &Rewrite<'_>,
) -> Result<Option<ArrayRef>, ArrowError> {
    let Some(values) = column(list.values(), rewrite)? else { return Ok(None) };
    let new = GenericListArray::try_new(field.clone(), list.offsets().clone(), values, list.nulls().cloned());
    Ok(Some(Arc::new(new?) as ArrayRef))
}

/// A batch with other texts, and the columns that changed; `None` if none did.
pub fn batch(
    batch: &RecordBatch,
    change: &Change<'_>,
) -> Result<Option<(RecordBatch, BTreeSet<usize>)>, ArrowError> {
    let mut columns = batch.columns().to_vec();
    let mut changed = BTreeSet::new();
    for (i, slot) in columns.iter_mut().enumerate() {
        let schema = batch.schema();
        let field = schema.field(i);
        let named = |e: ArrowError| ArrowError::ExternalError(format!("column {}: {e}", field.name()).into());
        let name = change.names.iter().find(|(name, _)| name == field.name());
        // By the addresses as they were: the others may have changed already.
        let renamed = name.map(|(name, person)| renamed(batch, change, name, *person)).transpose();
        let renamed = renamed.map_err(named)?.flatten();
        let rest = column(renamed.as_ref().unwrap_or(slot), change.text).map_err(named)?;
        if let Some(new) = rest.or(renamed) {
            *slot = new;
            changed.insert(i);
        }
    }
    match changed.is_empty() {
        true => Ok(None),
        false => Ok(Some((RecordBatch::try_new(batch.schema(), columns)?, changed))),
    }
}

/// A column of names with other ones where they are a forgotten person's; `None` if none is.
fn renamed(
    batch: &RecordBatch,
    change: &Change<'_>,
    name: &str,
    person: NameOf,
) -> Result<Option<ArrayRef>, ArrowError> {
    let wanted = [Some(name), Some(person.address), person.only_where.map(|(column, _)| column)];
    let mut texts: Vec<(&str, StringArray)> = Vec::new();
    for name in wanted.into_iter().flatten() {
        // Earlier snapshots may lack one.
        let Some(column) = batch.column_by_name(name) else { return Ok(None) };
        texts.push((name, cast(column, &DataType::Utf8)?.as_string::<i32>().clone()));
    }
    let mut is_changed = false;
    let new: StringArray = (0..batch.num_rows())
        .map(|row| {
            let of = |name: &str| {
                let (_, texts) = texts.iter().find(|(column, _)| *column == name)?;
                texts.is_valid(row).then(|| texts.value(row))
            };
            let new = change.renamed(&of, name, person);
            is_changed |= new.is_some();
            new.or_else(|| of(name).map(str::to_owned))
        })
        .collect();
    let ty = batch.schema().field_with_name(name)?.data_type().clone();
    is_changed.then(|| cast(&new, &ty)).transpose()
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

/// Columns of a Parquet file that a change would change. Only those that may hold texts are read.
pub fn parquet_columns(path: &Path, change: &Change<'_>) -> Result<Vec<String>, Error> {
    let failed = unreadable::<ArrowError>(path);
    let builder = open(path)?;
    let schema = builder.parquet_schema();
    let is_text = |i: &usize| {
        matches!(schema.column(*i).physical_type(), Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY)
    };
    // Whole columns: a map of which a part is left out is none.
    let roots: BTreeSet<usize> =
        (0..schema.num_columns()).filter(is_text).map(|i| schema.get_column_root_idx(i)).collect();
    let mask = ProjectionMask::roots(schema, roots);
    let reader = builder.with_projection(mask).build().map_err(unreadable(path))?;
    let mut found = BTreeSet::new();
    for part in reader {
        let part = part.map_err(failed)?;
        if let Some((_, changed)) = batch(&part, change).map_err(failed)? {
            found.extend(changed.into_iter().map(|i| part.schema().field(i).name().clone()));
        }
    }
    Ok(found.into_iter().collect())
}

/// Writes a Parquet file with other texts, in the form that it has. `None`, and nothing written, if none changes.
pub fn parquet(from: &Path, to: &Path, change: &Change<'_>) -> Result<Option<Written>, Error> {
    let changed = parquet_columns(from, change)?;
    if changed.is_empty() {
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
    let changes_key =
        sorting.iter().any(|i| schema.fields().get(*i).is_some_and(|field| changed.contains(field.name())));
    let mut all = Vec::new();
    for part in builder.build().map_err(failed)? {
        let part = part.map_err(arrow)?;
        let part = batch(&part, change).map_err(arrow)?.map_or(part, |(new, _)| new);
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

/// A record with other fields; `None` if none changes.
fn record(
    header: &csv::StringRecord,
    record: &csv::StringRecord,
    change: &Change<'_>,
) -> Option<Vec<String>> {
    let of = |name: &str| {
        let at = header.iter().position(|column| column == name)?;
        record.get(at).filter(|field| !field.is_empty())
    };
    let mut is_changed = false;
    let fields = record.iter().enumerate().map(|(i, field)| {
        let name = change.names.iter().find(|(name, _)| header.get(i) == Some(*name));
        let renamed = name.and_then(|(name, person)| change.renamed(&of, name, *person));
        let new = (change.text)(renamed.as_deref().unwrap_or(field)).or(renamed);
        is_changed |= new.is_some();
        new.unwrap_or_else(|| field.to_owned())
    });
    let fields: Vec<String> = fields.collect();
    is_changed.then_some(fields)
}

/// Columns of a CSV file that a change would change.
pub fn csv_columns(path: &Path, change: &Change<'_>) -> Result<Vec<String>, Error> {
    let failed = unreadable::<csv::Error>(path);
    let file = File::open(path).map_err(Error::io("can't read", path))?;
    let mut reader = csv::Reader::from_reader(BufReader::new(file));
    let names = reader.headers().map_err(failed)?.clone();
    let mut found = BTreeSet::new();
    for old in reader.records() {
        let old = old.map_err(failed)?;
        let Some(new) = record(&names, &old, change) else { continue };
        let changed = new.iter().zip(&old).enumerate().filter(|(_, (new, old))| new != old);
        found.extend(changed.map(|(i, _)| names.get(i).unwrap_or_default().to_owned()));
    }
    Ok(found.into_iter().collect())
}

/// Writes a CSV file with other texts. `None`, and nothing written, if none changes.
pub fn csv(from: &Path, to: &Path, change: &Change<'_>) -> Result<Option<Written>, Error> {
    if csv_columns(from, change)?.is_empty() {
        return Ok(None);
    }
    let failed = unwritable::<csv::Error>(from);
    let file = File::open(from).map_err(Error::io("can't read", from))?;
    let mut reader = csv::Reader::from_reader(BufReader::new(file));
    let names = reader.headers().map_err(failed)?.clone();
    let out = HashingFile::create(to).map_err(Error::io("can't create", to))?;
    let mut writer = csv::WriterBuilder::new().from_writer(out);
    writer.write_record(&names).map_err(failed)?;
    for old in reader.records() {
        let old = old.map_err(failed)?;
        match record(&names, &old, change) {
            Some(new) => writer.write_record(new).map_err(failed)?,
            None => writer.write_record(&old).map_err(failed)?,
        }
    }
    let file = writer.into_inner().map_err(|e| Error::io("can't write", to)(e.into_error()))?;
    let (bytes, sha256) = file.finish().map_err(Error::io("can't write", to))?;
    Ok(Some(Written { bytes, sha256 }))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, DictionaryArray, FixedSizeListBuilder, Int64Array, LargeListBuilder, LargeStringArray,
        ListViewArray, MapBuilder, StringBuilder, StringViewArray,
    };
    use arrow::datatypes::{Field, Int32Type, Schema};

    use super::*;

    impl<'a> Change<'a> {
        fn of_texts(text: &'a Rewrite<'a>) -> Self {
            Self { text, name: &|_| None, names: Vec::new() }
        }
    }

    const ADDRESS: &str = "ann@example.com";

    fn replaced(text: &str) -> Option<String> {
        text.contains(ADDRESS).then(|| text.replace(ADDRESS, "X"))
    }

    fn file(folder: &Path, columns: &[(&str, ArrayRef)]) -> std::path::PathBuf {
        let path = folder.join("t.parquet");
        let fields: Vec<Field> =
            columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let arrays = columns.iter().map(|(_, array)| array.clone()).collect();
        let batch = RecordBatch::try_new(schema.clone(), arrays).unwrap();
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), schema, None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        path
    }

    /// The rows of a file, one a line.
    fn shown(path: &Path) -> String {
        use arrow::util::display::{ArrayFormatter, FormatOptions};
        let mut lines = String::new();
        for batch in open(path).unwrap().build().unwrap().map(Result::unwrap) {
            for row in 0..batch.num_rows() {
                let cell = |column: &ArrayRef| {
                    ArrayFormatter::try_new(column, &FormatOptions::default()).unwrap().value(row).to_string()
                };
                lines += &(batch.columns().iter().map(cell).collect::<Vec<_>>().join("|") + "\n");
            }
        }
        lines
    }

    #[test]
    fn addresses_are_found_in_whatever_other_writers_keep_texts_in() {
        let dir = tempfile::tempdir().unwrap();
        let said = format!("to {ADDRESS}");
        let mut large = LargeListBuilder::new(StringBuilder::new());
        large.append_value([Some("a"), Some(said.as_str())]);
        let mut fixed = FixedSizeListBuilder::new(StringBuilder::new(), 2);
        fixed.values().append_value(&said);
        fixed.values().append_null();
        fixed.append(true);
        let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        map.keys().append_value(&said);
        map.values().append_value(&said);
        map.append(true).unwrap();
        let columns: [(&str, ArrayRef); 8] = [
            ("text", Arc::new(StringArray::from(vec![said.as_str()]))),
            ("large", Arc::new(LargeStringArray::from(vec![said.as_str()]))),
            ("view", Arc::new(StringViewArray::from(vec![said.as_str()]))),
            ("dictionary", Arc::new([said.as_str()].into_iter().collect::<DictionaryArray<Int32Type>>())),
            ("large_list", Arc::new(large.finish())),
            ("fixed_list", Arc::new(fixed.finish())),
            ("map", Arc::new(map.finish())),
            ("number", Arc::new(Int64Array::from(vec![7]))),
        ];
        let (from, to) = (file(dir.path(), &columns), dir.path().join("new.parquet"));
        let change = Change::of_texts(&replaced);
        let mut found = parquet_columns(&from, &change).unwrap();
        found.sort();
        assert_eq!(found, ["dictionary", "fixed_list", "large", "large_list", "map", "text", "view"]);
        let before = shown(&from);
        assert_eq!(before.matches(ADDRESS).count(), 8, "{before}");
        parquet(&from, &to, &change).unwrap().unwrap();
        let after = shown(&to);
        assert_eq!((after.matches(ADDRESS).count(), after.matches("to X").count()), (0, 8), "{after}");
        assert!(parquet(&to, &from, &change).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_rewritten_or_searched_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("new.parquet");
        let change = Change::of_texts(&replaced);
        let bytes = |text: &str| Arc::new(BinaryArray::from(vec![text.as_bytes()])) as ArrayRef;
        let from = file(dir.path(), &[("blob", bytes(ADDRESS))]);
        let error = parquet(&from, &to, &change).err().unwrap().to_string();
        assert!(error.contains("column blob") && error.contains("can't be rewritten"), "{error}");
        assert!(!to.exists());
        let from = file(dir.path(), &[("blob", bytes("nothing of anybody"))]);
        assert!(parquet(&from, &to, &change).unwrap().is_none());
        let list = ListViewArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]);
        let error = column(&(Arc::new(list) as ArrayRef), &replaced).unwrap_err().to_string();
        assert!(error.contains("can't be searched"), "{error}");
    }

    #[test]
    fn a_name_goes_with_the_address_that_it_is_declared_to_belong_to() {
        let texts = |texts: &[&str]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
        let dir = tempfile::tempdir().unwrap();
        let columns = [
            ("kind", texts(&["user", "user", "group", "user"])),
            ("owner", texts(&[ADDRESS, "bob@example.com", ADDRESS, "gone@forgotten.invalid"])),
            ("entity", texts(&["Ann A.", "Ann A.", "Ann A.", "Zoe"])),
        ];
        let beside = |address: &str| (address != "bob@example.com").then(|| "P".to_owned());
        let person = NameOf { address: "owner", only_where: Some(("kind", "user")) };
        let change = Change { text: &replaced, name: &beside, names: vec![("entity", person)] };
        let (from, to) = (file(dir.path(), &columns), dir.path().join("new.parquet"));
        parquet(&from, &to, &change).unwrap().unwrap();
        let after = shown(&to);
        let rows: Vec<&str> = after.lines().collect();
        let expected =
            ["user|X|P", "user|bob@example.com|Ann A.", "group|X|Ann A.", "user|gone@forgotten.invalid|P"];
        assert_eq!(rows, expected);
        // CSV the same.
        let (from, to) = (dir.path().join("t.csv"), dir.path().join("new.csv"));
        std::fs::write(&from, format!("kind,owner,entity\nuser,{ADDRESS},Ann A.\ngroup,{ADDRESS},Ann A.\n"))
            .unwrap();
        csv(&from, &to, &change).unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "kind,owner,entity\nuser,X,P\ngroup,X,Ann A.\n");
    }
}
