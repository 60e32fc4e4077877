//! From the API's objects to rows, and from rows to Arrow.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, ListArray,
    NullBufferBuilder, RecordBatch, StringBuilder, StructArray, TimestampMicrosecondBuilder, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Field, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde_json::{Map, Value};
use sha2::Digest as _;

use super::columns::{Column, Type, struct_fields};
use super::{COMMON, Table};

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum {
    /// Null.
    Null,
    /// Text or JSON.
    Text(String),
    /// Integer.
    Int(i64),
    /// Floating point.
    Float(f64),
    /// Boolean.
    Bool(bool),
    /// Microseconds since 1970, UTC.
    Time(i64),
    /// Days since 1970.
    Date(i32),
    /// List.
    List(Vec<Datum>),
    /// Struct, fields in order.
    Struct(Vec<Datum>),
}

impl Datum {
    /// A time.
    pub fn time(at: DateTime<Utc>) -> Self {
        Datum::Time(at.timestamp_micros())
    }

    /// A text, or null.
    pub fn text(text: Option<impl Into<String>>) -> Self {
        text.map_or(Datum::Null, |t| Datum::Text(t.into()))
    }
}

/// A row: one value for each column of its table, common ones included.
pub type Row = Vec<Datum>;

/// Values that all rows of a page share.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The project or group asked about.
    pub entity: Option<&'a str>,
    /// When the page was read.
    pub fetched_at: DateTime<Utc>,
    /// The snapshot's time.
    pub snapshot_at: DateTime<Utc>,
}

/// Member of a row's `extra` that holds an item which is not an object.
const ITEM: &str = "@item";
/// Beginning of the identifier of an item that has none of its own.
pub const UNIDENTIFIED: &str = "unidentified-";
/// Names of fields that are counted apart, of each table: a server that invents names must not fill the manifest.
const MOST_DRIFT: usize = 200;

/// Fields that no column maps: their paths, and how many rows had them.
pub type Drift = BTreeMap<String, u64>;

/// Maps items of the API to rows of a table.
#[derive(Debug)]
pub struct RowMapper {
    table: &'static Table,
    paths: Vec<Vec<Vec<&'static str>>>,
    elsewhere: Vec<Vec<&'static str>>,
    /// Fields that went to `extra`.
    pub drift: Drift,
}

impl RowMapper {
    /// A mapper for `table`.
    pub fn new(table: &'static Table) -> Self {
        let path = |text: &'static str| text.split('.').collect::<Vec<_>>();
        let paths = table
            .columns
            .iter()
            .map(|column| match column.from {
                "" | "@entity" => Vec::new(),
                from => from.split('|').map(path).collect(),
            })
            .collect();
        let elsewhere = table.elsewhere.iter().map(|p| path(p)).collect();
        Self { table, paths, elsewhere, drift: Drift::new() }
    }

    /// Adds the rows that `item` makes.
    pub fn map(&mut self, item: Value, context: &Context<'_>, rows: &mut Vec<Row>) {
        let item = self.identified(item);
        for object in (self.table.explode)(item) {
            rows.push(self.row(object, context));
        }
    }

    /// The item as an object with an identifier. One that has none gets one that is made from its content, so that
    /// no two of them take each other's place, and that is the same in every table and on every night.
    fn identified(&mut self, item: Value) -> Value {
        let Some(listing) = self.table.operation().and_then(|operation| operation.listing) else {
            return item;
        };
        let (mut members, is_object) = match item {
            Value::Object(members) => (members, true),
            other => (Map::from_iter([(ITEM.to_owned(), other)]), false),
        };
        let Some(first) = listing.ids.first() else { return Value::Object(members) };
        let found = listing.ids.iter().find_map(|name| match members.get(*name)? {
            Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        let id = found.unwrap_or_else(|| {
            if self.table.holds_items() {
                let what = if is_object { format!("{first} is missing") } else { "not an object".into() };
                self.count(what);
            }
            let digest = sha2::Sha256::digest(Value::Object(members.clone()).to_string());
            digest.iter().take(8).fold(UNIDENTIFIED.to_owned(), |id, byte| format!("{id}{byte:02x}"))
        });
        if let Some(unfit) = members.insert((*first).to_owned(), Value::String(id))
            && !matches!(unfit, Value::Null | Value::String(_) | Value::Number(_))
        {
            members.insert(format!("@{first}"), unfit);
        }
        Value::Object(members)
    }

    fn count(&mut self, what: String) {
        let name = if self.drift.len() < MOST_DRIFT || self.drift.contains_key(&what) {
            what
        } else {
            "others".to_owned()
        };
        *self.drift.entry(name).or_default() += 1;
    }

    /// Counts what was repaired in an answer before it could be read, in the table that has its items as rows.
    pub fn repaired(&mut self, repairs: &BTreeMap<String, u64>) {
        for (kind, n) in repairs.iter().filter(|_| self.table.holds_items()) {
            *self.drift.entry(format!("repaired: {kind}")).or_default() += n;
        }
    }

    /// Counts an answer that can't be read, and was journalled all the same.
    pub fn unreadable(&mut self, why: &str) {
        *self.drift.entry(format!("unreadable answer: {why}")).or_default() += 1;
    }

    fn row(&mut self, mut object: Value, context: &Context<'_>) -> Row {
        let mut row: Row = Vec::with_capacity(self.table.columns.len() + COMMON.len());
        for path in &self.elsewhere {
            // One that names another entity is said.
            if let Some(value) = take_path(&mut object, path)
                && !value.is_null()
                && value.as_str() != context.entity
            {
                put_back(&mut object, path, value);
            }
        }
        for (at, column) in self.table.columns.iter().enumerate() {
            let datum = match column.from {
                "@entity" => Datum::text(context.entity),
                _ => self.column(column, &self.paths[at], &mut object),
            };
            row.push(if datum == Datum::Null && !column.nullable { self.missing(column) } else { datum });
        }
        let extra = match object {
            Value::Object(map) if map.is_empty() => Datum::Null,
            rest => {
                self.note_drift(&rest);
                Datum::Text(rest.to_string())
            }
        };
        row.push(extra);
        row.push(Datum::time(context.fetched_at));
        row.push(Datum::time(context.snapshot_at));
        row
    }

    /// Placeholder for a required value: a row that lacks it is counted, and the rest of it kept.
    fn missing(&mut self, column: &Column) -> Datum {
        self.count(format!("{} is missing", column.from));
        match column.ty {
            Type::Int64 => Datum::Int(0),
            Type::Utf8 | Type::Json => Datum::Text(String::new()),
            _ => Datum::Null,
        }
    }

    fn note_drift(&mut self, rest: &Value) {
        let Value::Object(map) = rest else { return };
        for (name, value) in map {
            match value {
                Value::Object(inner) if !inner.is_empty() && inner.len() < 4 => {
                    inner.keys().for_each(|key| self.count(short(&format!("{name}.{key}"))));
                }
                _ => self.count(short(name)),
            }
        }
    }

    fn column(&self, column: &Column, alternatives: &[Vec<&'static str>], object: &mut Value) -> Datum {
        let mut found = Datum::Null;
        for path in alternatives {
            let Some(value) = take_path(object, path) else {
                continue;
            };
            if found != Datum::Null && !value.is_null() {
                // Two alternatives are set: the second stays where a reader can find it.
                put_back(object, path, value);
                continue;
            }
            let (datum, rest) = convert(&column.ty, value);
            if let Some(rest) = rest {
                put_back(object, path, rest);
            }
            if datum != Datum::Null {
                found = datum;
            }
        }
        found
    }
}

/// A name of a field that a manifest can hold.
fn short(name: &str) -> String {
    match name.char_indices().nth(100) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

/// Takes a value out of an object. Objects on the way that it leaves empty are taken too; so is a null where
/// the path expects an object.
fn take_path(object: &mut Value, path: &[&str]) -> Option<Value> {
    let map = object.as_object_mut()?;
    let (name, rest) = path.split_first()?;
    let key = match *name {
        "*" => map.iter().find(|(_, v)| v.is_object()).map(|(k, _)| k.clone())?,
        name => name.to_owned(),
    };
    if rest.is_empty() {
        return map.remove(&key);
    }
    let inner = map.get_mut(&key)?;
    if inner.is_null() {
        map.remove(&key);
        return None;
    }
    let taken = take_path(inner, rest);
    if inner.as_object().is_some_and(Map::is_empty) {
        map.remove(&key);
    }
    taken
}

/// Puts a value back where it was taken from. Where something else stands by now, it goes beside that, under the
/// path's own name: nothing that the API said is lost.
fn put_back(object: &mut Value, path: &[&str], value: Value) {
    let (Some((name, rest)), Some(map)) = (path.split_first(), object.as_object_mut()) else { return };
    // `*` named the only object, which is gone if it was emptied: then the rest stands under its own name.
    let key = match *name {
        "*" => map.iter().find(|(_, v)| v.is_object()).map_or("*".into(), |(k, _)| k.clone()),
        name => name.to_owned(),
    };
    if rest.is_empty() {
        map.insert(key, value);
        return;
    }
    let inner = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    match inner.is_object() {
        true => put_back(inner, rest, value),
        false => drop(map.insert(path.join("."), value)),
    }
}

/// Turns a JSON value into a datum of the type; what doesn't fit is given back.
fn convert(ty: &Type, value: Value) -> (Datum, Option<Value>) {
    if value.is_null() {
        return (Datum::Null, None);
    }
    match (ty, value) {
        (Type::Utf8, Value::String(text)) => (Datum::Text(text), None),
        (Type::Utf8, value @ (Value::Number(_) | Value::Bool(_))) => (Datum::Text(value.to_string()), None),
        (Type::Json, value) => (Datum::Text(value.to_string()), None),
        (Type::Boolean, Value::Bool(b)) => (Datum::Bool(b), None),
        (Type::Boolean, Value::String(text)) if text == "true" || text == "false" => {
            (Datum::Bool(text == "true"), None)
        }
        (Type::Int64, value) => match integer(&value) {
            Some(n) => (Datum::Int(n), None),
            None => (Datum::Null, Some(value)),
        },
        (Type::Float64, value) => match float(&value) {
            Some(n) => (Datum::Float(n), None),
            None => (Datum::Null, Some(value)),
        },
        (Type::Timestamp, value) => match timestamp(&value) {
            Some(at) => (Datum::Time(at), None),
            None => (Datum::Null, Some(value)),
        },
        (Type::List(item), Value::Array(values)) => {
            let (data, rests): (Vec<_>, Vec<_>) = values.into_iter().map(|v| convert(item, v)).unzip();
            let unfit = rests.iter().any(Option::is_some);
            let rest =
                unfit.then(|| Value::Array(rests.into_iter().map(Option::unwrap_or_default).collect()));
            (Datum::List(data), rest)
        }
        (Type::Struct(fields), Value::Object(mut map)) => {
            let mut rest = Map::new();
            let mut data = Vec::with_capacity(fields.len());
            for field in *fields {
                let (datum, unfit) = convert(&field.ty, map.remove(field.from).unwrap_or_default());
                if let Some(unfit) = unfit {
                    rest.insert(field.from.to_owned(), unfit);
                }
                data.push(datum);
            }
            rest.extend(map);
            (Datum::Struct(data), (!rest.is_empty()).then_some(Value::Object(rest)))
        }
        (_, value) => (Datum::Null, Some(value)),
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => n
            .as_i64()
            .or_else(|| n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < EXACT).map(|f| f as i64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Integers from here on aren't exact in floating point.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Reads a number leniently: one that is written as text, too. None that would lose digits or isn't finite.
pub(crate) fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => {
            n.as_f64().filter(|f| f.is_finite() && (f.abs() < EXACT || !(n.is_i64() || n.is_u64())))
        }
        Value::String(text) => {
            let is_integer = text.trim().trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit());
            let float = text.trim().parse::<f64>().ok()?;
            (float.is_finite() && (float.abs() < EXACT || !is_integer)).then_some(float)
        }
        _ => None,
    }
}

/// Times that are taken for times, in seconds since 1970: the years 1900 to 2199. Go writes year 1 for none, others
/// 9999 for never, and what reads tables of nanoseconds knows neither.
const PLAUSIBLE: std::ops::Range<i64> = -2_208_988_800..7_258_118_400;

/// Reads a time leniently: text or a number. None that isn't plausible.
pub(crate) fn timestamp(value: &Value) -> Option<i64> {
    let at = match value {
        Value::String(text) => parse_timestamp(text),
        Value::Number(n) => epoch(n),
        _ => None,
    };
    at.filter(|micros| PLAUSIBLE.contains(&micros.div_euclid(1_000_000)))
}

/// Microseconds of a number of seconds, milliseconds, microseconds or nanoseconds since 1970: which of them is told
/// by its size, for years up to 5000.
fn epoch(number: &serde_json::Number) -> Option<i64> {
    let (micros_each, nanos_each) = match number.as_f64()?.abs() {
        n if n < 1e11 => (1e6, 1_000_000_000),
        n if n < 1e14 => (1e3, 1_000_000),
        n if n < 1e17 => (1.0, 1_000),
        _ => (1e-3, 1),
    };
    match number.as_i64() {
        Some(n) => i64::try_from(i128::from(n) * nanos_each / 1_000).ok(),
        None => number.as_f64().map(|n| (n * micros_each).round() as i64),
    }
}

/// Reads a time leniently: RFC 3339, without a zone (then UTC), with a space for the `T`, or a date alone.
/// Gives microseconds since 1970.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.timestamp_micros());
    }
    let naive =
        |format| NaiveDateTime::parse_from_str(text, format).ok().map(|at| at.and_utc().timestamp_micros());
    let zoned = |format| DateTime::parse_from_str(text, format).ok().map(|at| at.timestamp_micros());
    zoned("%Y-%m-%d %H:%M:%S%.f%#z")
        .or_else(|| zoned("%Y-%m-%dT%H:%M:%S%.f%#z"))
        .or_else(|| naive("%Y-%m-%dT%H:%M:%S%.f"))
        .or_else(|| naive("%Y-%m-%d %H:%M:%S%.f"))
        .or_else(|| {
            let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            Some(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros())
        })
}

/// Makes an Arrow array of a column's values.
pub fn array_of(ty: &Type, values: Vec<Datum>) -> ArrayRef {
    macro_rules! build {
        ($builder:expr, $variant:ident) => {{
            let mut builder = $builder;
            for value in values {
                match value {
                    Datum::$variant(v) => builder.append_value(v),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    match ty {
        Type::Utf8 | Type::Json => build!(StringBuilder::new(), Text),
        Type::Int64 => build!(Int64Builder::new(), Int),
        Type::Float64 => build!(Float64Builder::new(), Float),
        Type::Boolean => build!(BooleanBuilder::new(), Bool),
        Type::Timestamp => build!(TimestampMicrosecondBuilder::new().with_timezone("UTC"), Time),
        Type::Date => build!(Date32Builder::new(), Date),
        Type::List(item) => {
            let mut nulls = NullBufferBuilder::new(values.len());
            let mut lengths = Vec::with_capacity(values.len());
            let mut all = Vec::new();
            for value in values {
                match value {
                    Datum::List(items) => {
                        nulls.append_non_null();
                        lengths.push(items.len());
                        all.extend(items);
                    }
                    _ => {
                        nulls.append_null();
                        lengths.push(0);
                    }
                }
            }
            let field = Arc::new(Field::new("item", item.arrow(), true));
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(ListArray::new(field, offsets, array_of(item, all), nulls.finish()))
        }
        Type::Struct(fields) => {
            let mut nulls = NullBufferBuilder::new(values.len());
            let mut columns: Vec<Vec<Datum>> =
                fields.iter().map(|_| Vec::with_capacity(values.len())).collect();
            let length = values.len();
            for value in values {
                match value {
                    Datum::Struct(data) => {
                        nulls.append_non_null();
                        columns.iter_mut().zip(data).for_each(|(column, datum)| column.push(datum));
                    }
                    _ => {
                        nulls.append_null();
                        columns.iter_mut().for_each(|column| column.push(Datum::Null));
                    }
                }
            }
            let arrays = fields.iter().zip(columns).map(|(f, column)| array_of(&f.ty, column)).collect();
            let array =
                StructArray::try_new_with_length(struct_fields(fields), arrays, nulls.finish(), length);
            Arc::new(array.expect("arrays are built from the fields' own types"))
        }
    }
}

/// Makes a record batch of rows of `table`.
///
/// # Errors
/// If a row has a null in a column that must have a value.
pub fn batch_of(table: &Table, rows: Vec<Row>) -> Result<RecordBatch, ArrowError> {
    let types: Vec<Type> = table.all_columns().map(|c| c.ty).collect();
    let mut columns: Vec<Vec<Datum>> = types.iter().map(|_| Vec::with_capacity(rows.len())).collect();
    for row in rows {
        columns.iter_mut().zip(row).for_each(|(column, datum)| column.push(datum));
    }
    let arrays = types.iter().zip(columns).map(|(ty, column)| array_of(ty, column)).collect();
    RecordBatch::try_new(table.schema(), arrays)
}

/// One batch of all rows, sorted by the table's key; of rows with the same key the last one given. Not the one with the
/// latest time: a clock that was set back must not let an old row beat a fresh one.
///
/// # Errors
/// If the batches are not of the schema.
pub fn sort_unique(
    table: &Table,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<RecordBatch, ArrowError> {
    let all = concat_batches(schema, batches)?;
    take_record_batch(&all, &order_unique(table, &all)?)
}

/// Places of a batch's rows in the order of the table's key; of rows with the same key, that of the last one.
///
/// # Errors
/// If the batch is not of the table.
pub fn order_unique(table: &Table, all: &RecordBatch) -> Result<UInt32Array, ArrowError> {
    let key: Vec<ArrayRef> = table.key_indices().iter().map(|i| all.column(*i).clone()).collect();
    let fields = key.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    let converter = RowConverter::new(fields)?;
    let rows = converter.convert_columns(&key)?;
    // Where a part of the key is null, rows are the same only if what no column fits is the same, and whom the API
    // identifies: two grants to users whose email isn't known are two grants.
    let texts = ["extra", "principal_id"]
        .map(|name| table.index_of(name).map(|at| all.column(at).as_string::<i32>()));
    let beyond = |i: usize| {
        let is_open = key.iter().any(|column| column.is_null(i));
        texts.map(|texts| texts.filter(|texts| is_open && texts.is_valid(i)).map(|texts| texts.value(i)))
    };
    let mut order: Vec<u32> = (0..all.num_rows() as u32).collect();
    // Of equal keys the one given last comes first.
    order.sort_unstable_by(|a, b| {
        let (x, y) = (*a as usize, *b as usize);
        rows.row(x).cmp(&rows.row(y)).then_with(|| beyond(x).cmp(&beyond(y))).then_with(|| y.cmp(&x))
    });
    order.dedup_by(|b, a| {
        let (x, y) = (*a as usize, *b as usize);
        rows.row(x) == rows.row(y) && beyond(x) == beyond(y)
    });
    Ok(UInt32Array::from(order))
}

#[cfg(test)]
mod tests;
