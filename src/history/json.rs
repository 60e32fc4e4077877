//! Reads query histories in JSON: an object a line, objects over several lines, an array of them, or a document that
//! holds such an array, as APIs and clients print it. Each row is read before the next.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value as Json};

use super::error::Error;
use super::kind::{Field, Shape};
use super::read::{Raw, Reader, Taken, Value};

/// Members of a document that hold its rows: `data` in ClickHouse's `FORMAT JSON`, `QueryExecutions` from
/// `aws athena batch-get-query-execution`, `res` from Databricks' query history API, `rows` from others.
const HOLDERS: [&str; 4] = ["QueryExecutions", "data", "res", "rows"];

/// Names of the columns, in ClickHouse's formats: rows may be arrays.
const COLUMNS: &str = "meta";

/// A longer line is no row, but a document on one line.
const LONGEST_LINE: u64 = 64 << 20;

/// Reason for stopping before the end of a file.
const BROKEN: &str = "the file ends, or is damaged, in the middle of it";

/// Rows that are JSON objects.
pub(super) struct JsonRows<'a, 'b> {
    reader: &'a Reader,
    path: &'a Path,
    take: &'a mut Taken<'b>,
    /// Whether a row was read.
    seen: bool,
    /// The error that ended the reading, if it isn't one of JSON.
    stopped: Option<Error>,
}

impl<'a, 'b> JsonRows<'a, 'b> {
    pub fn new(reader: &'a Reader, path: &'a Path, take: &'a mut Taken<'b>) -> Self {
        Self { reader, path, take, seen: false, stopped: None }
    }

    /// Reads an object a line; or whatever else begins with an object.
    ///
    /// # Errors
    /// If the file can't be read, or holds no rows of this kind.
    pub fn lines(mut self, mut input: BufReader<File>) -> Result<(), Error> {
        let path = self.path;
        let failed = |source| Error::File { path: path.to_owned(), source };
        let mut line = Vec::new();
        let mut is_first = true;
        loop {
            line.clear();
            if input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(failed)? == 0 {
                return Ok(());
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match serde_json::from_slice::<Json>(&line) {
                Ok(value) => self.document(value)?,
                // Over several lines, or too long for one.
                Err(_) if is_first => return self.stream(Cursor::new(line).chain(input)),
                Err(_) => (self.take)(Err("it isn't JSON"))?,
            }
            is_first = false;
        }
    }

    /// Reads objects, or documents that hold them, one after the other, however they are laid out.
    ///
    /// # Errors
    /// If the file can't be read, or holds no rows of this kind.
    pub fn stream(mut self, input: impl Read) -> Result<(), Error> {
        let mut deserializer = serde_json::Deserializer::from_reader(input);
        loop {
            if deserializer.end().is_ok() {
                return Ok(());
            }
            let read = deserializer.deserialize_any(Document(&mut self));
            match (self.stopped.take(), read) {
                (Some(error), _) => return Err(error),
                (None, Ok(())) => {}
                (None, Err(error)) if error.is_io() => {
                    let source = std::io::Error::from(error);
                    return Err(Error::File { path: self.path.to_owned(), source });
                }
                // Half written: what came before is good.
                (None, Err(_)) if self.seen => return (self.take)(Err(BROKEN)),
                (None, Err(error)) => {
                    let (path, source) = (self.path.to_owned(), Box::new(error));
                    return Err(Error::Damaged { path, form: "JSON", source });
                }
            }
        }
    }

    /// Takes a whole document: a row, or one that holds rows.
    fn document(&mut self, mut value: Json) -> Result<(), Error> {
        let holder = HOLDERS.into_iter().find(|name| value.get(name).is_some_and(Json::is_array));
        let Some(Json::Array(items)) = holder.and_then(|name| value.get_mut(name)).map(Json::take) else {
            return self.row(value);
        };
        let columns = names(value.get(COLUMNS));
        items.into_iter().try_for_each(|item| self.row(named(item, &columns)))
    }

    fn row(&mut self, value: Json) -> Result<(), Error> {
        if !value.is_object() {
            return (self.take)(Err("it isn't an object"));
        }
        if !self.seen {
            self.check(&value)?;
            self.seen = true;
        }
        let mut raw = Raw::default();
        for field in Field::ALL {
            let candidates = self.reader.candidates(field).into_iter();
            let found = candidates.filter_map(|(column, unit)| Some((member(&value, column)?, unit)));
            for (value, unit) in found.take(field.columns()) {
                let value = match value {
                    Json::Null => Some(Value::Null),
                    Json::String(text) => self.reader.value(field, text, unit),
                    Json::Bool(flag) if field.shape() == Shape::Flag => Some(Value::Flag(*flag)),
                    other => self.reader.value(field, &other.to_string(), unit),
                };
                raw.set(field, value);
            }
        }
        (self.take)(Ok(raw))
    }

    /// The first object says whether the file is of this kind. Later ones may leave out what is null.
    fn check(&self, first: &Json) -> Result<(), Error> {
        let found = paths(first);
        self.reader.check_kind(self.path, &found)?;
        for field in Field::REQUIRED {
            if !self.reader.candidates(field).into_iter().any(|(column, _)| member(first, column).is_some()) {
                return Err(self.reader.lacks(self.path, field, &found));
            }
        }
        Ok(())
    }

    /// Takes a row while a document is being read, which an error of another kind ends.
    fn in_stream<E: serde::de::Error>(&mut self, value: Json) -> Result<(), E> {
        self.row(value).map_err(|error| {
            self.stopped = Some(error);
            E::custom("stopped")
        })
    }
}

/// A row, an array of rows, or an object that holds one.
struct Document<'r, 'a, 'b>(&'r mut JsonRows<'a, 'b>);

impl<'de> Visitor<'de> for Document<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object or an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        Held { rows: self.0, columns: &[] }.visit_seq(items).map(drop)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let (mut others, mut held_rows) = (Map::new(), false);
        while let Some(name) = members.next_key::<String>()? {
            if !HOLDERS.contains(&name.as_str()) {
                others.insert(name, members.next_value()?);
                continue;
            }
            let columns = names(others.get(COLUMNS));
            match members.next_value_seed(Held { rows: &mut *self.0, columns: &columns })? {
                Some(value) => drop(others.insert(name, value)),
                None => held_rows = true,
            }
        }
        if held_rows { Ok(()) } else { self.0.in_stream(Json::Object(others)) }
    }
}

/// The member that may hold the rows: gives them on if it is an array, and its value otherwise.
struct Held<'r, 'a, 'b, 'c> {
    rows: &'r mut JsonRows<'a, 'b>,
    columns: &'c [String],
}

impl<'de> DeserializeSeed<'de> for Held<'_, '_, '_, '_> {
    type Value = Option<Json>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Held<'_, '_, '_, '_> {
    type Value = Option<Json>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while let Some(item) = items.next_element::<Json>()? {
            self.rows.in_stream(named(item, self.columns))?;
        }
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        Json::deserialize(MapAccessDeserializer::new(members)).map(Some)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(text.into()))
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Some(flag.into()))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(number.into()))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(Some(Json::Null))
    }
}

/// Names of the columns that a document announces.
fn names(columns: Option<&Json>) -> Vec<String> {
    let columns = columns.and_then(Json::as_array).into_iter().flatten();
    columns.filter_map(|column| Some(column.get("name")?.as_str()?.to_owned())).collect()
}

/// The row as an object, if it is an array of the columns' values.
fn named(row: Json, columns: &[String]) -> Json {
    match row {
        Json::Array(values) if values.len() == columns.len() => {
            Json::Object(columns.iter().cloned().zip(values).collect())
        }
        other => other,
    }
}

/// Paths of an object's members, and of theirs.
fn paths(value: &Json) -> Vec<String> {
    let mut all = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        all.push(name.clone());
        all.extend(paths(value).into_iter().map(|inner| format!("{name}.{inner}")));
    }
    all
}

/// A member of an object by a path of names in any case, joined by dots.
fn member<'a>(value: &'a Json, path: &str) -> Option<&'a Json> {
    let object = value.as_object()?;
    let any_case = |name: &str| {
        object
            .get(name)
            .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    };
    any_case(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        member(any_case(first)?, rest)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;

    use chrono_tz::Tz;

    use super::super::kind::Kind;
    use super::*;

    /// The identifiers of a file's rows, and why others weren't read.
    fn read(content: &str) -> (Vec<String>, Vec<&'static str>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let reader = Reader { kind: Kind::ClickHouse, map: BTreeMap::new(), zone: Tz::UTC };
        let (mut ids, mut unread) = (Vec::new(), Vec::new());
        reader
            .each(file.path(), &mut |row| {
                match row {
                    Ok(raw) => ids.push(raw.text(Field::QueryId).unwrap_or("none").to_owned()),
                    Err(why) => unread.push(why),
                }
                Ok(())
            })
            .unwrap();
        (ids, unread)
    }

    fn row(id: &str) -> String {
        format!(
            r#"{{"query_id": "{id}", "query": "SELECT 1", "type": "QueryFinish", "query_start_time_microseconds": "2026-11-01 02:00:00.000000"}}"#
        )
    }

    #[test]
    fn rows_are_found_in_every_layout() {
        let (a, b) = (row("a"), row("b"));
        let pretty =
            |text: &str| serde_json::to_string_pretty(&serde_json::from_str::<Json>(text).unwrap()).unwrap();
        let document =
            format!(r#"{{"meta": [], "data": [{a}, {b}], "rows": 2, "statistics": {{"elapsed": 0.1}}}}"#);
        let of = |row: &str| serde_json::from_str::<Map<String, Json>>(row).unwrap();
        let meta: Vec<Json> = of(&a).keys().map(|name| serde_json::json!({"name": name})).collect();
        let data: Vec<Vec<Json>> =
            [&a, &b].map(|row| of(row).into_iter().map(|(_, value)| value).collect()).into();
        let compact = format!(
            r#"{{"meta": {}, "data": {}, "rows": 2}}"#,
            serde_json::to_string(&meta).unwrap(),
            serde_json::to_string(&data).unwrap()
        );
        for (what, content) in [
            ("a line each", format!("{a}\n\n{b}\n")),
            ("over several lines", format!("{}\n{}", pretty(&a), pretty(&b))),
            ("an array", format!("[{a},\n{b}]")),
            ("several arrays", format!("[{a}]\n[{b}]")),
            ("a document", document.clone()),
            ("a document over several lines", pretty(&document)),
            (
                "documents one after the other",
                format!(r#"{{"res": [{a}]}}{}"#, pretty(&format!(r#"{{"rows": [{b}]}}"#))),
            ),
            ("a document of arrays", compact.clone()),
            ("a document of arrays, over several lines", compact.replacen("{", "{\n", 1)),
        ] {
            assert_eq!(read(&content), (vec!["a".to_owned(), "b".to_owned()], vec![]), "{what}");
        }
    }

    #[test]
    fn what_is_broken_keeps_what_came_before() {
        let a = row("a");
        for (content, why) in [
            (format!("{{\n\"data\": [\n{a},\n{{\"query_id\": \"b"), BROKEN),
            (format!("[{a}, {{"), BROKEN),
            (format!("{a}\n{{\"query_id\""), "it isn't JSON"),
            (format!("[{a}, 5]"), "it isn't an object"),
        ] {
            assert_eq!(read(&content), (vec!["a".to_owned()], vec![why]), "{content}");
        }
    }
}
