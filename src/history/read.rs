//! Reads files of query histories row by row: Parquet, CSV and JSON, told apart by their content.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field as ArrowField, Fields, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use chrono_tz::Tz;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value as Json;

use super::clock;
use super::error::Error;
use super::json::JsonRows;
use super::kind::{Field, Kind, Shape};

/// Rows that are read at a time: a query may have 100 KB.
const BATCH_ROWS: usize = 1024;

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// None.
    #[default]
    Null,
    /// Text.
    Text(String),
    /// A time.
    Time(clock::Read),
    /// A number, in the field's unit.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

/// A row of a history.
#[derive(Debug, Clone, Default)]
pub struct Raw {
    values: [Value; Field::ALL.len()],
    /// Fields whose values could not be read.
    pub unread: Vec<Field>,
}

impl Raw {
    /// A field's text.
    pub fn text(&self, field: Field) -> Option<&str> {
        match &self.values[field as usize] {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A field's time.
    pub fn time(&self, field: Field) -> Option<clock::Read> {
        match self.values[field as usize] {
            Value::Time(at) => Some(at),
            _ => None,
        }
    }

    /// A field's number.
    pub fn number(&self, field: Field) -> Option<f64> {
        match self.values[field as usize] {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// A field's flag.
    pub fn flag(&self, field: Field) -> Option<bool> {
        match self.values[field as usize] {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    /// Fills a field, unless a column before has.
    pub(super) fn set(&mut self, field: Field, value: Option<Value>) {
        match (&self.values[field as usize], value) {
            (Value::Null, Some(value)) => self.values[field as usize] = value,
            (Value::Null, None) => self.unread.push(field),
            _ => {}
        }
    }
}

/// Result of reading a row of a file.
pub type Taken<'a> = dyn FnMut(Result<Raw, &'static str>) -> Result<(), Error> + 'a;

/// Parser settings of a file.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Kind of warehouse.
    pub kind: Kind,
    /// Columns that the user mapped to fields.
    pub map: BTreeMap<Field, String>,
    /// Time zone of times that don't name one.
    pub zone: Tz,
}

/// The column that fills each field, with its unit.
type Places = Vec<(Field, usize, f64)>;

impl Reader {
    /// Gives every row of a file, or why it can't be read, in order.
    ///
    /// # Errors
    /// If the file can't be read or isn't a history of this kind; and what `take` gives.
    pub fn each(&self, path: &Path, take: &mut Taken<'_>) -> Result<(), Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let mut start = [0u8; 4];
        let read = file.read(&mut start).map_err(failed)?;
        let mark = if start.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        file.seek(SeekFrom::Start(mark)).map_err(failed)?;
        let other = |why: &'static str| {
            let (path, form) = (path.to_owned(), "Parquet, CSV or JSON");
            Err(Error::Damaged { path, form, source: why.into() })
        };
        match &start[..read] {
            b"PAR1" => self.parquet(path, file, take),
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd] | b"PK\x03\x04" => {
                other("it is compressed: decompress it first")
            }
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => other("it is UTF-16: convert it to UTF-8 first"),
            _ => {
                let mut input = BufReader::with_capacity(1 << 18, file);
                match first_sign(&mut input).map_err(failed)? {
                    Some(b'[') => JsonRows::new(self, path, take).stream(input),
                    Some(b'{') => JsonRows::new(self, path, take).lines(input),
                    None => other("it is empty"),
                    Some(_) => self.csv(path, input, take),
                }
            }
        }
    }

    /// Columns that fill a field, with their units, the preferred first.
    pub(super) fn candidates(&self, field: Field) -> Vec<(&str, f64)> {
        if let Some(column) = self.map.get(&field) {
            return vec![(column, 1.0)];
        }
        let natives = self.kind.natives().iter().filter(|native| native.field == field);
        std::iter::once((field.name(), 1.0))
            .chain(natives.map(|native| (native.column, native.unit)))
            .collect()
    }

    /// Which of a file's columns fills which field.
    fn places(&self, path: &Path, found: &[String]) -> Result<Places, Error> {
        let named = |wanted: &str| found.iter().position(|name| name.trim().eq_ignore_ascii_case(wanted));
        let mut places = Places::new();
        for field in Field::ALL {
            let candidates = self.candidates(field).into_iter();
            let found_of = candidates.filter_map(|(column, unit)| Some((field, named(column)?, unit)));
            let known = places.len();
            places.extend(found_of.take(field.columns()));
            if let (true, Some(column)) = (places.len() == known, self.map.get(&field)) {
                let (path, column) = (path.to_owned(), column.clone());
                return Err(Error::Mapped { path, column, field: field.name(), found: shown(found) });
            }
        }
        self.check_kind(path, found)?;
        match Field::REQUIRED.into_iter().find(|field| places.iter().all(|(known, ..)| known != field)) {
            Some(missing) => Err(self.lacks(path, missing, found)),
            None => Ok(places),
        }
    }

    /// Refuses a file that has the columns of another kind: its units would be misread. One that says its kind itself
    /// is checked by that, and who maps columns knows what they are.
    pub(super) fn check_kind(&self, path: &Path, found: &[String]) -> Result<(), Error> {
        let says_kind = found.iter().any(|name| name.eq_ignore_ascii_case(Field::Warehouse.name()));
        match self.nearest(found).filter(|_| !says_kind && self.map.is_empty()) {
            Some(kind) => {
                let theirs = format!("{kind} (by its columns)");
                Err(Error::OtherKind { path: path.to_owned(), theirs, ours: self.kind })
            }
            None => Ok(()),
        }
    }

    /// The kind whose columns a file has, if these are clearly not of the kind that was named.
    fn nearest(&self, found: &[String]) -> Option<Kind> {
        let has = |column: &str| found.iter().any(|name| name.eq_ignore_ascii_case(column));
        let likeness = |kind: Kind| kind.natives().iter().filter(|native| has(native.column)).count();
        let nearest = Kind::ALL.into_iter().max_by_key(|kind| likeness(*kind))?;
        (likeness(nearest) > likeness(self.kind) + 1).then_some(nearest)
    }

    pub(super) fn lacks(&self, path: &Path, missing: Field, found: &[String]) -> Error {
        Error::Columns {
            path: path.to_owned(),
            missing: missing.name(),
            looked_for: self.candidates(missing).into_iter().map(|(column, _)| column.to_owned()).collect(),
            found: shown(found),
        }
    }

    /// Whether the first row of a CSV file is one of values: it names no column of this kind, and has a time.
    fn is_without_header(&self, names: &[String]) -> bool {
        let known = |name: &String| {
            let mut columns = Field::ALL.into_iter().flat_map(|field| self.candidates(field));
            columns.any(|(column, _)| column.eq_ignore_ascii_case(name))
        };
        !names.iter().any(known) && names.iter().any(|name| clock::parse(name, self.zone).is_some())
    }

    /// A value that a file has as text; `None` if it can't be read.
    pub(super) fn value(&self, field: Field, text: &str, unit: f64) -> Option<Value> {
        let trimmed = text.trim();
        if matches!(trimmed, "" | "\\N") {
            return Some(Value::Null);
        }
        match field.shape() {
            Shape::Text => Some(Value::Text(text.to_owned())),
            Shape::Tables => Some(Value::Text(trimmed.to_owned())),
            Shape::Time => clock::parse(trimmed, self.zone).map(Value::Time),
            Shape::Number => trimmed.parse().ok().and_then(|number: f64| amount(number * unit)),
            Shape::Flag => flag(trimmed).map(Value::Flag),
        }
    }

    fn csv(&self, path: &Path, mut input: BufReader<File>, take: &mut Taken<'_>) -> Result<(), Error> {
        let damaged =
            |e: csv::Error| Error::Damaged { path: path.to_owned(), form: "CSV", source: Box::new(e) };
        let head = input.fill_buf().map_err(|source| Error::File { path: path.to_owned(), source })?;
        let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
        let count = |sign: u8| line.iter().filter(|b| **b == sign).count();
        let delimiter = [b',', b'\t', b';'].into_iter().rev().max_by_key(|sign| count(*sign)).unwrap_or(b',');
        let mut reader = csv::ReaderBuilder::new().flexible(true).delimiter(delimiter).from_reader(input);
        let header = reader.byte_headers().map_err(damaged)?;
        let names: Vec<String> = header
            .iter()
            .map(|name| String::from_utf8_lossy(name).trim_start_matches('\u{feff}').trim().to_owned())
            .collect();
        if self.is_without_header(&names) {
            let source = "its first row holds values instead of column names: unload it with a header".into();
            return Err(Error::Damaged { path: path.to_owned(), form: "CSV", source });
        }
        let places = self.places(path, &names)?;
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(damaged)? {
            if record.len() != names.len() {
                take(Err("its number of values differs from the header's number of columns"))?;
                continue;
            }
            let mut raw = Raw::default();
            for (field, at, unit) in &places {
                let text = String::from_utf8_lossy(record.get(*at).unwrap_or_default());
                raw.set(*field, self.value(*field, &text, *unit));
            }
            take(Ok(raw))?;
        }
        Ok(())
    }

    fn parquet(&self, path: &Path, file: File, take: &mut Taken<'_>) -> Result<(), Error> {
        let damaged = |source: Box<dyn std::error::Error + Send + Sync>| Error::Damaged {
            path: path.to_owned(),
            form: "Parquet",
            source,
        };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(e.into()))?;
        let leaves = leaves(builder.schema().fields());
        let names: Vec<String> = leaves.iter().map(|leaf| leaf.join(".")).collect();
        let places = self.places(path, &names)?;
        let roots = places.iter().filter_map(|(_, at, _)| builder.schema().index_of(&leaves[*at][0]).ok());
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots.collect::<Vec<_>>());
        let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build();
        for batch in reader.map_err(|e| damaged(e.into()))? {
            let batch = batch.map_err(|e| damaged(e.into()))?;
            let mut columns = Vec::new();
            for (field, at, unit) in &places {
                let array = at_path(&batch, &leaves[*at]);
                let column = Column::of(&array, field.shape()).map_err(|e| damaged(e.into()))?;
                columns.push((*field, column, *unit));
            }
            for row in 0..batch.num_rows() {
                let mut raw = Raw::default();
                for (field, column, unit) in &columns {
                    raw.set(*field, self.of_column(*field, column, row, *unit));
                }
                take(Ok(raw))?;
            }
        }
        Ok(())
    }

    fn of_column(&self, field: Field, column: &Column, row: usize, unit: f64) -> Option<Value> {
        match column {
            Column::Text(texts) if texts.is_valid(row) => self.value(field, texts.value(row), unit),
            Column::Number(numbers) if numbers.is_valid(row) => amount(numbers.value(row) * unit),
            Column::Flag(flags) if flags.is_valid(row) => Some(Value::Flag(flags.value(row))),
            Column::Time(times) if times.is_valid(row) => {
                Some(Value::Time(clock::Read { micros: times.value(row), has_zone: true }))
            }
            Column::Clock(times) if times.is_valid(row) => {
                let micros = clock::in_zone(times.value(row), self.zone)?;
                Some(Value::Time(clock::Read { micros, has_zone: false }))
            }
            Column::Json(texts) => Some(texts[row].clone().map_or(Value::Null, Value::Text)),
            _ => Some(Value::Null),
        }
    }
}

/// Amounts beyond this are counters that ran below zero: no query reads so many bytes, or takes so long.
const MOST: f64 = (1u64 << 53) as f64;

/// A number that can be one of bytes, rows, seconds or credits.
fn amount(number: f64) -> Option<Value> {
    (0.0..=MOST).contains(&number).then_some(Value::Number(number))
}

/// Names of columns for a message: a file without any may have its queries in their place.
fn shown(names: &[String]) -> Vec<String> {
    let is_name = |name: &str| name.chars().all(|c| c.is_alphanumeric() || " _.-$()/".contains(c));
    let shown =
        |name: &String| if is_name(name) { name.chars().take(40).collect() } else { "…".to_owned() };
    names.iter().take(60).map(shown).collect()
}

/// The first byte that isn't white space; nothing is consumed.
fn first_sign(input: &mut BufReader<File>) -> std::io::Result<Option<u8>> {
    let head = input.fill_buf()?;
    Ok(head.iter().copied().find(|b| !b.is_ascii_whitespace()))
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" | "read" | "hit" => Some(true),
        "false" | "f" | "no" | "n" | "0" | "none" | "write" | "unknown" | "miss" => Some(false),
        _ => None,
    }
}

/// Paths of columns: of structs, those of their fields, and their own.
fn leaves(fields: &Fields) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for field in fields {
        all.push(vec![field.name().clone()]);
        if let DataType::Struct(inner) = field.data_type() {
            for leaf in leaves(inner) {
                all.push(std::iter::once(field.name().clone()).chain(leaf).collect());
            }
        }
    }
    all
}

fn at_path(batch: &RecordBatch, path: &[String]) -> ArrayRef {
    let mut array = batch.column_by_name(&path[0]).expect("a column of the mask").clone();
    for name in &path[1..] {
        let inner: &StructArray = array.as_struct();
        // Fields of a null struct are null.
        let (fields, mut columns, nulls) = inner.clone().into_parts();
        let at = fields.iter().position(|field| field.name() == name).expect("a field of the struct");
        let column = columns.swap_remove(at);
        array = match nulls {
            Some(nulls) => {
                let mask = BooleanArray::new(!nulls.inner(), None);
                arrow::compute::nullif(&column, &mask).unwrap_or(column)
            }
            None => column,
        };
    }
    array
}

/// A column of a batch, as its field needs it.
enum Column {
    Text(StringArray),
    /// Times with a zone.
    Time(TimestampMicrosecondArray),
    /// Times without one.
    Clock(TimestampMicrosecondArray),
    Number(Float64Array),
    Flag(BooleanArray),
    Json(Vec<Option<String>>),
}

impl Column {
    fn of(array: &ArrayRef, shape: Shape) -> Result<Self, ArrowError> {
        let text =
            || cast(array, &DataType::Utf8).map(|texts| Column::Text(texts.as_string::<i32>().clone()));
        match (shape, array.data_type()) {
            (_, DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) | DataType::Map(..)) => {
                Ok(Column::Json(as_json(array)?))
            }
            (Shape::Time, DataType::Timestamp(_, zone)) => {
                let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
                let times = micros.as_primitive::<TimestampMicrosecondType>().clone();
                Ok(if zone.is_some() { Column::Time(times) } else { Column::Clock(times) })
            }
            (Shape::Time, DataType::Date32 | DataType::Date64) => {
                let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
                Ok(Column::Clock(micros.as_primitive::<TimestampMicrosecondType>().clone()))
            }
            (Shape::Number, kind) if kind.is_numeric() => {
                let numbers = cast(array, &DataType::Float64)?;
                Ok(Column::Number(numbers.as_primitive::<arrow::datatypes::Float64Type>().clone()))
            }
            (Shape::Flag, DataType::Boolean) => Ok(Column::Flag(array.as_boolean().clone())),
            _ => text(),
        }
    }
}

/// Nested values as JSON.
fn as_json(array: &ArrayRef) -> Result<Vec<Option<String>>, ArrowError> {
    let field = std::sync::Arc::new(ArrowField::new("v", array.data_type().clone(), true));
    let batch = RecordBatch::from(StructArray::from(vec![(field, array.clone())]));
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    let text = writer.into_inner();
    let rows = serde_json::Deserializer::from_slice(&text).into_iter::<Json>();
    rows.map(|row| {
        let row = row.map_err(|e| ArrowError::JsonError(e.to_string()))?;
        Ok(row.get("v").filter(|value| !value.is_null()).map(Json::to_string))
    })
    .collect()
}
