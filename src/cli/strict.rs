//! Unknown keys of the settings file: all of them at once, each with its line and the nearest known key.
//!
//! serde's `deny_unknown_fields` stops at the first one. The deserializer here wraps a parsed file, drops and notes
//! every key that the struct being read doesn't name, and so also learns which keys there are.

use std::cell::RefCell;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use toml::de::{DeTable, DeValue, Error};
use toml::{Table, Value};

use super::near::near;

/// A key that no setting has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Keys and positions in arrays that lead to it, itself included.
    path: Vec<String>,
    known: &'static [&'static str],
    line: usize,
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: unknown key '{}'", self.line, self.path.join("."))?;
        let key = self.path.last().map_or("", String::as_str);
        match near(key, self.known.iter().copied()).first() {
            Some(near) => write!(f, " (did you mean {near}?)"),
            None => Ok(()),
        }
    }
}

impl Unknown {
    /// The keys that may stand in its place, with the section that they belong to.
    pub fn alternatives(&self) -> String {
        let section = &self.path[..self.path.len() - 1];
        let place = if section.is_empty() { "The file".into() } else { format!("[{}]", section.join(".")) };
        format!("{place} may hold {}.", self.known.join(", "))
    }
}

/// Keys of `text` that `T` doesn't know. What is wrong in other ways is left to the real parser. All fields of `T` must
/// have defaults: each is read alone, so that what is wrong with one section hides no unknown key of another.
pub fn unknown_keys<T: DeserializeOwned>(text: &str) -> Vec<Unknown> {
    let Ok(file) = toml::from_str::<Table>(text) else { return Vec::new() };
    let unknown = RefCell::new(Vec::new());
    for entry in file {
        let value = Value::Table(Table::from_iter([entry]));
        let _ = T::deserialize(Watched { value, path: Vec::new(), unknown: &unknown });
    }
    let mut unknown = unknown.into_inner();
    if let Ok(table) = DeTable::parse(text) {
        for key in &mut unknown {
            let at = position(table.get_ref(), &key.path).unwrap_or_default();
            key.line = text[..at].matches('\n').count() + 1;
        }
    }
    unknown.sort_by_key(|key| key.line);
    unknown
}

/// Byte at which a key begins.
fn position(table: &DeTable<'_>, path: &[String]) -> Option<usize> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == first.as_str())?;
    if rest.is_empty() {
        return Some(key.span().start);
    }
    within(value.get_ref(), rest)
}

fn within(value: &DeValue<'_>, path: &[String]) -> Option<usize> {
    match value {
        DeValue::Table(table) => position(table, path),
        DeValue::Array(items) => {
            let (index, rest) = path.split_first()?;
            within(items.get(index.parse::<usize>().ok()?)?.get_ref(), rest)
        }
        _ => None,
    }
}

/// A value of the file that notes unknown keys as it is read.
struct Watched<'a> {
    value: Value,
    path: Vec<String>,
    unknown: &'a RefCell<Vec<Unknown>>,
}

impl Watched<'_> {
    fn child(&self, key: String, value: Value) -> Self {
        let mut path = self.path.clone();
        path.push(key);
        Self { value, path, unknown: self.unknown }
    }
}

impl<'de> Deserializer<'de> for Watched<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        match std::mem::replace(&mut self.value, Value::Boolean(false)) {
            Value::Table(table) => {
                let entries: Vec<_> =
                    table.into_iter().map(|(key, value)| (key.clone(), self.child(key, value))).collect();
                visitor.visit_map(Entries { entries: entries.into_iter(), value: None })
            }
            Value::Array(items) => {
                let items: Vec<_> =
                    items.into_iter().enumerate().map(|(i, item)| self.child(i.to_string(), item)).collect();
                visitor.visit_seq(Items(items.into_iter()))
            }
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if let Value::Table(table) = &mut self.value {
            let keys: Vec<String> =
                table.keys().filter(|key| !fields.contains(&key.as_str())).cloned().collect();
            for key in keys {
                table.remove(&key);
                let mut path = self.path.clone();
                path.push(key);
                self.unknown.borrow_mut().push(Unknown { path, known: fields, line: 0 });
            }
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.value.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map identifier ignored_any
    }
}

struct Entries<'a> {
    entries: std::vec::IntoIter<(String, Watched<'a>)>,
    value: Option<Watched<'a>>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(Value::String(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.value.take().expect("a value follows its key"))
    }
}

struct Items<'a>(std::vec::IntoIter<Watched<'a>>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|item| seed.deserialize(item)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings::File;

    #[test]
    fn every_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let text = "ulr = \"x\"\nrate = 5\n\n[export]\nformats = [\"csv\"]\n\n[audit]\nunused_day = 3\n\
                    [[audit.exceptions]]\nrule = \"draft-stale\"\nreasn = \"x\"\nuntil = \"2030-01-01\"\n\n[zzz]\n";
        let said: Vec<String> = unknown_keys::<File>(text).iter().map(Unknown::to_string).collect();
        assert_eq!(
            said,
            [
                "line 1: unknown key 'ulr' (did you mean url?)",
                "line 5: unknown key 'export.formats' (did you mean format?)",
                "line 8: unknown key 'audit.unused_day' (did you mean unused_days?)",
                "line 11: unknown key 'audit.exceptions.0.reasn' (did you mean reason?)",
                "line 14: unknown key 'zzz'",
            ]
        );
        assert!(unknown_keys::<File>("rate = \"unlimited\"\n[connections.x]\ndatabase = \"a\"\n").is_empty());
        assert!(unknown_keys::<File>("not toml").is_empty());
    }
}
