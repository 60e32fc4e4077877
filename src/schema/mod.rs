//! Tables, columns and rows: the types that every table is declared with, and the mapping from the
//! API's objects to rows and from rows to Arrow.
//!
//! A [`Table`] declares its columns once: name, Arrow type, docs, and the path in the API's object that the
//! value comes from. What no column takes goes to the `extra` column, so nothing that the API says is lost.

pub(crate) mod columns;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::Value;

use crate::client::Operation;

pub use columns::{Column, NameOf, SubField, Type};
pub use rows::{
    Context, Datum, Drift, Row, RowMapper, UNIDENTIFIED, array_of, batch_of, order_unique, parse_timestamp,
    sort_unique,
};
pub(crate) use rows::{float, timestamp};

/// Version of all tables' schemas together: raised when a column changes its type or meaning, or a table its key. Since 3
/// `run_daily` has a row for each trigger.
pub const SCHEMA_VERSION: u32 = 3;

/// Column of tables whose rows stay in the next snapshot when the API no longer gives them.
pub const GONE: &str = "no_longer_listed";

/// Origin of a table's rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Origin {
    /// Items of a list operation of the API.
    Api(&'static Operation),
    /// The crawl itself.
    Crawl,
    /// Query histories of warehouses, which people import.
    History(Span),
    /// Other tables, of these names.
    Derived(&'static [&'static str]),
}

/// Share of a query-history table that one snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The rows of one import; all of them are those of all snapshots together.
    OneImport,
    /// All that is known: each snapshot carries it forward.
    Whole,
}

/// A table.
#[derive(Debug)]
pub struct Table {
    /// Name of the table and of its files.
    pub name: &'static str,
    /// Description of a row.
    pub doc: &'static str,
    /// Origin of the rows.
    pub origin: Origin,
    /// Columns that make a row unique, and by which the files are sorted.
    pub key: &'static [&'static str],
    /// Columns, without the common ones (`extra`, `fetched_at`, `snapshot_at`).
    pub columns: &'static [Column],
    /// Paths at which an item repeats the entity that was asked about, which is a column already.
    pub elsewhere: &'static [&'static str],
    /// Turns an item of the API, an object with an identifier, into the objects that become rows. What it leaves
    /// out must be in the rows of another table of the same origin: see [`take_objects`].
    pub explode: fn(Value) -> Vec<Value>,
}

/// One row for each item, as it is.
pub(crate) fn itself(item: Value) -> Vec<Value> {
    vec![item]
}

/// Takes the objects out of an array in an object. Anything else in it stays; an array that is left
/// empty goes, and so do the objects on the way to it that are left empty.
pub(crate) fn take_objects(object: &mut Value, path: &[&str]) -> Vec<Value> {
    let Some((name, rest)) = path.split_first() else { return Vec::new() };
    let Some(map) = object.as_object_mut() else { return Vec::new() };
    let Some(inner) = map.get_mut(*name) else { return Vec::new() };
    let mut taken = Vec::new();
    if !rest.is_empty() {
        taken = take_objects(inner, rest);
    } else if let Value::Array(items) = inner {
        (taken, *items) = std::mem::take(items).into_iter().partition(Value::is_object);
    }
    let is_spent = match inner {
        Value::Null => true,
        Value::Array(items) => items.is_empty() && rest.is_empty(),
        Value::Object(members) => members.is_empty() && !rest.is_empty(),
        _ => false,
    };
    if is_spent {
        map.remove(*name);
    }
    taken
}

/// Takes the members of an object in an object that `is_taken` says; if that leaves it empty, it goes too.
pub(crate) fn take_members(
    object: &mut Value,
    name: &str,
    is_taken: impl Fn(&str, &Value) -> bool,
) -> Vec<(String, Value)> {
    let Some(map) = object.as_object_mut() else { return Vec::new() };
    let Some(Value::Object(members)) = map.get_mut(name) else {
        if map.get(name).is_some_and(Value::is_null) {
            map.remove(name);
        }
        return Vec::new();
    };
    let (taken, left): (Vec<_>, Vec<_>) =
        std::mem::take(members).into_iter().partition(|(name, value)| is_taken(name, value));
    match left.is_empty() {
        true => drop(map.remove(name)),
        false => *members = left.into_iter().collect(),
    }
    taken
}

/// Columns that every table of the API ends with; other tables have all but the first.
pub const COMMON: &[Column; 3] = &[
    Column::new(
        "extra",
        Type::Json,
        "",
        "What the API said beyond the columns of this table, as a JSON object",
    ),
    Column::new(
        "fetched_at",
        Type::Timestamp,
        "",
        "When the row was read from the API; of derived rows the snapshot's time",
    )
    .required()
    .noise(),
    Column::new("snapshot_at", Type::Timestamp, "", "The snapshot's time: when its crawl began")
        .required()
        .noise(),
];

impl Table {
    /// All columns, the common ones included.
    pub fn all_columns(&self) -> impl Iterator<Item = &'static Column> {
        self.columns.iter().chain(self.common())
    }

    /// The columns that this table shares with others. What the API said beyond the columns is not a matter of
    /// tables that don't come from it.
    pub fn common(&self) -> &'static [Column] {
        if matches!(self.origin, Origin::Api(_)) { COMMON } else { &COMMON[1..] }
    }

    /// Place of a column in the table's schema.
    pub fn index_of(&self, column: &str) -> Option<usize> {
        self.all_columns().position(|c| c.name == column)
    }

    /// The table's Arrow schema, with the docs in the metadata.
    pub fn schema(&self) -> SchemaRef {
        let field = |column: &'static Column| {
            let field = Field::new(column.name, column.ty.arrow(), column.nullable);
            field.with_metadata(HashMap::from([("comment".to_owned(), column.doc.to_owned())]))
        };
        let metadata = [
            ("hexport.table".to_owned(), self.name.to_owned()),
            ("hexport.doc".to_owned(), self.doc.to_owned()),
            ("hexport.schema_version".to_owned(), SCHEMA_VERSION.to_string()),
        ];
        Arc::new(
            Schema::new(self.all_columns().map(field).collect::<Vec<_>>())
                .with_metadata(HashMap::from(metadata)),
        )
    }

    /// Places of the key's columns.
    pub fn key_indices(&self) -> Vec<usize> {
        let index =
            |name: &&str| self.index_of(name).unwrap_or_else(|| panic!("{} has no column {name}", self.name));
        self.key.iter().map(index).collect()
    }

    /// Whether rows stay in the next snapshot when the API no longer gives them.
    pub fn accumulates(&self) -> bool {
        self.index_of(GONE).is_some()
    }

    /// Whether a row is an item of the API, and not a part of one.
    pub fn holds_items(&self) -> bool {
        let ids = self.operation().and_then(|operation| operation.listing).map_or(&[][..], |list| list.ids);
        let own = self.columns.iter().find(|column| column.from != "@entity");
        own.is_some_and(|column| ids.is_empty() || ids.contains(&column.from))
    }

    /// Whether each snapshot that has it holds the rows of one import alone, so that readers unite them.
    pub fn is_split(&self) -> bool {
        self.origin == Origin::History(Span::OneImport)
    }

    /// Columns that name people, with where the address of each is.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, NameOf)> + use<> {
        self.columns.iter().filter_map(|column| Some((column.name, column.name_of?)))
    }

    /// The operation that the rows come from.
    pub fn operation(&self) -> Option<&'static Operation> {
        match self.origin {
            Origin::Api(operation) => Some(operation),
            Origin::Crawl | Origin::History(_) | Origin::Derived(_) => None,
        }
    }
}

/// A column's type in words, for people.
pub fn type_name(ty: &DataType) -> String {
    match ty {
        DataType::Timestamp(_, _) => "timestamp[us, UTC]".into(),
        DataType::List(item) => format!("list<{}>", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let inner: Vec<String> =
                fields.iter().map(|f| format!("{}: {}", f.name(), type_name(f.data_type()))).collect();
            format!("struct<{}>", inner.join(", "))
        }
        other => other.to_string().to_lowercase(),
    }
}
