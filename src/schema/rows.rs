//! From the API's objects to rows, and from rows to Arrow.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, ListArray,
    NullBufferBuilder, RecordBatch, StringBuilder, StructArray, TimestampMicrosecondBuilder, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Field, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde_json::{Map, Value};

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

/// What a page's rows share.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The project or group asked about.
    pub entity: Option<&'a str>,
    /// When the page was read.
    pub fetched_at: DateTime<Utc>,
    /// The snapshot's time.
    pub snapshot_at: DateTime<Utc>,
}

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
        for object in (self.table.explode)(item) {
            rows.push(self.row(object, context));
        }
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
            take_path(&mut object, path);
        }
        for (column, alternatives) in self.table.columns.iter().zip(&self.paths) {
            let datum = match column.from {
                "@entity" => Datum::text(context.entity),
                _ => self.column(column, alternatives, &mut object),
            };
            row.push(if datum == Datum::Null && !column.nullable {
                missing(&mut self.drift, column)
            } else {
                datum
            });
        }
        let extra = match object {
            Value::Object(map) if map.is_empty() => Datum::Null,
            rest => {
                note_drift(&mut self.drift, &rest);
                Datum::Text(rest.to_string())
            }
        };
        row.push(extra);
        row.push(Datum::time(context.fetched_at));
        row.push(Datum::time(context.snapshot_at));
        row
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

/// What stands for a value that every item should have: one that lacks it is told, and the rest of it kept.
fn missing(drift: &mut Drift, column: &Column) -> Datum {
    *drift.entry(format!("{} is missing", column.from)).or_default() += 1;
    match column.ty {
        Type::Int64 => Datum::Int(0),
        Type::Utf8 | Type::Json => Datum::Text(String::new()),
        _ => Datum::Null,
    }
}

fn note_drift(drift: &mut Drift, rest: &Value) {
    let Value::Object(map) = rest else { return };
    for (name, value) in map {
        match value {
            Value::Object(inner) if !inner.is_empty() && inner.len() < 4 => {
                for key in inner.keys() {
                    *drift.entry(format!("{name}.{key}")).or_default() += 1;
                }
            }
            _ => *drift.entry(name.clone()).or_default() += 1,
        }
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

fn put_back(object: &mut Value, path: &[&str], value: Value) {
    let Some((name, rest)) = path.split_first() else {
        return;
    };
    let Some(map) = object.as_object_mut() else { return };
    // `*` named the only key, which is gone if it was emptied: then the rest stands under its own name.
    let key = match *name {
        "*" => map.keys().next().cloned().unwrap_or_else(|| "*".into()),
        name => name.to_owned(),
    };
    if rest.is_empty() {
        map.insert(key, value);
    } else {
        let inner = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
        put_back(inner, rest, value);
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
        Value::Number(n) => {
            n.as_i64().or_else(|| n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| f as i64))
        }
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Reads a number leniently: one that is written as text, too.
pub(crate) fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|f: &f64| f.is_finite()),
        _ => None,
    }
}

fn timestamp(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => parse_timestamp(text),
        // Seconds or milliseconds since 1970.
        Value::Number(n) => n.as_f64().map(|n| (if n > 1e11 { n * 1e3 } else { n * 1e6 }) as i64),
        _ => None,
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

/// One batch of all rows, sorted by the table's key; of rows with the same key, the one fetched last.
///
/// # Errors
/// If the batches are not of the schema.
pub fn sort_unique(
    table: &Table,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<RecordBatch, ArrowError> {
    let all = concat_batches(schema, batches)?;
    if all.num_rows() == 0 {
        return Ok(all);
    }
    let key: Vec<ArrayRef> = table.key_indices().iter().map(|i| all.column(*i).clone()).collect();
    let fields = key.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    let converter = RowConverter::new(fields)?;
    let rows = converter.convert_columns(&key)?;
    let fetched = all.column(table.index_of("fetched_at").expect("a common column"));
    let fetched =
        fetched.as_any().downcast_ref::<arrow::array::TimestampMicrosecondArray>().expect("a timestamp");
    let mut order: Vec<u32> = (0..all.num_rows() as u32).collect();
    // Of equal keys the latest comes first: by time, then by place in the crawl.
    order.sort_unstable_by(|a, b| {
        let (x, y) = (*a as usize, *b as usize);
        rows.row(x).cmp(&rows.row(y)).then_with(|| (fetched.value(y), y).cmp(&(fetched.value(x), x)))
    });
    order.dedup_by(|b, a| rows.row(*a as usize) == rows.row(*b as usize));
    take_record_batch(&all, &UInt32Array::from(order))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::by_name;
    use arrow::array::AsArray;
    use serde_json::json;

    fn context() -> Context<'static> {
        let at = "2026-11-24T02:00:00Z".parse().unwrap();
        Context { entity: Some("p1"), fetched_at: at, snapshot_at: at }
    }

    fn rows(table: &str, item: Value) -> (RecordBatch, Drift) {
        let table = by_name(table).unwrap();
        let mut mapper = RowMapper::new(table);
        let mut rows = Vec::new();
        mapper.map(item, &context(), &mut rows);
        (batch_of(table, rows).unwrap(), mapper.drift)
    }

    fn text(batch: &RecordBatch, column: &str) -> Option<String> {
        let array = batch.column_by_name(column).unwrap().as_string::<i32>().clone();
        (!array.is_null(0)).then(|| array.value(0).to_owned())
    }

    #[test]
    fn what_no_column_maps_is_kept_and_named_as_drift() {
        let item = json!({
            "id": "p1", "title": "T", "creator": {"email": "a@b", "slackId": "U1"}, "newField": [1, 2],
            "analytics": {"appViews": {"allTime": "many"}}, "status": null, "sharing": null, "schedules": [],
        });
        let (batch, drift) = rows("projects", item);
        let extra: Value = serde_json::from_str(&text(&batch, "extra").unwrap()).unwrap();
        assert_eq!(
            extra,
            json!({"creator": {"slackId": "U1"}, "newField": [1, 2], "analytics": {"appViews": {"allTime": "many"}}})
        );
        assert_eq!(text(&batch, "creator_email").as_deref(), Some("a@b"));
        assert!(drift.contains_key("creator.slackId") && drift.contains_key("newField"), "{drift:?}");
    }

    #[test]
    fn an_item_with_nothing_beyond_the_description_has_no_extra() {
        let (batch, drift) = rows(
            "users",
            json!({"id": "u", "name": null, "email": "e", "role": "NEW_ROLE", "lastLoginDate": null}),
        );
        assert_eq!(text(&batch, "extra"), None);
        assert_eq!(text(&batch, "role").as_deref(), Some("NEW_ROLE"));
        assert!(drift.is_empty());
    }

    #[test]
    fn unknown_fields_inside_lists_of_structs_are_kept() {
        let item = json!({"runId": "r", "projectId": "p1", "stateEvents": [{"type": "STATUS", "value": "x", "timestamp": "2026-01-01T00:00:00Z", "by": "me"}]});
        let (batch, _) = rows("runs", item);
        assert_eq!(text(&batch, "extra").as_deref(), Some(r#"{"stateEvents":[{"by":"me"}]}"#));
    }

    #[test]
    fn an_item_without_an_identifier_is_told_and_kept() {
        let (batch, drift) = rows("users", json!({"email": "a@b"}));
        assert_eq!(text(&batch, "user_id").as_deref(), Some(""));
        assert_eq!(text(&batch, "email").as_deref(), Some("a@b"));
        assert_eq!(drift.get("id is missing"), Some(&1));
    }

    #[test]
    fn times_are_read_leniently() {
        let expected = Some(1_767_323_045_500_000);
        for given in [
            "2026-01-02T03:04:05.5Z",
            "2026-01-02T03:04:05.500000",
            "2026-01-02 03:04:05.5",
            "2026-01-02 04:04:05.5+01:00",
            "2026-01-02T04:04:05.5+0100",
        ] {
            assert_eq!(parse_timestamp(given), expected, "{given}");
        }
        assert_eq!(parse_timestamp("yesterday"), None);
    }

    #[test]
    fn sorting_keeps_the_row_fetched_last() {
        let table = by_name("topics").unwrap();
        let mut mapper = RowMapper::new(table);
        let mut all = Vec::new();
        for (second, name) in [(1, "old"), (3, "newest"), (2, "newer")] {
            let fetched_at = DateTime::from_timestamp(second, 0).unwrap();
            mapper.map(json!({"id": "t", "name": name}), &Context { fetched_at, ..context() }, &mut all);
        }
        mapper.map(json!({"id": "a", "name": "first"}), &context(), &mut all);
        let sorted = sort_unique(table, &table.schema(), &[batch_of(table, all).unwrap()]).unwrap();
        let names: Vec<_> = sorted.column(1).as_string::<i32>().iter().flatten().collect();
        assert_eq!(names, ["first", "newest"]);
    }
}
