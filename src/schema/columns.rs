//! Constructors for a table's columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

/// A column's type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Type {
    /// Text.
    Utf8,
    /// 64-bit integer.
    Int64,
    /// 64-bit floating point.
    Float64,
    /// Boolean.
    Boolean,
    /// Microseconds, UTC.
    Timestamp,
    /// A day.
    Date,
    /// Any JSON value, as text.
    Json,
    /// A list.
    List(&'static Type),
    /// An object of known fields.
    Struct(&'static [SubField]),
}

/// A field of a struct column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SubField {
    /// Name in Arrow.
    pub name: &'static str,
    /// Type.
    pub ty: Type,
    /// Name in the API's object.
    pub from: &'static str,
}

impl SubField {
    /// A field.
    pub const fn new(name: &'static str, ty: Type, from: &'static str) -> Self {
        Self { name, ty, from }
    }
}

/// A column: name, type, source, docs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub ty: Type,
    /// Where the value is in the API's object: names joined by dots, `*` for the only key of an object,
    /// alternatives separated by `|`; `@entity` is the project or group that was asked about; empty for a
    /// value that the crawl or the mapping makes.
    pub from: &'static str,
    /// Meaning.
    pub doc: &'static str,
    /// Whether it may be null.
    pub nullable: bool,
    /// Whether it changes without anybody's doing, so that a difference says nothing about what people did.
    pub noise: bool,
    /// The person whose name it is, if it is one's.
    pub name_of: Option<NameOf>,
}

/// The person that a column names: the one of an address in the same row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameOf {
    /// Column of the address.
    pub address: &'static str,
    /// A column, and the value that it has where the name is a person's; always, without one.
    pub only_where: Option<(&'static str, &'static str)>,
}

impl Column {
    /// A column that may be null.
    pub const fn new(name: &'static str, ty: Type, from: &'static str, doc: &'static str) -> Self {
        Self { name, ty, from, doc, nullable: true, noise: false, name_of: None }
    }

    /// The same column, marked as noise.
    pub const fn noise(mut self) -> Self {
        self.noise = true;
        self
    }

    /// The same column, marked as the name of the person whose address another column holds.
    pub const fn name_of(mut self, address: &'static str) -> Self {
        self.name_of = Some(NameOf { address, only_where: None });
        self
    }

    /// The same column, marked as a person's name where another column has a value.
    pub const fn name_of_where(
        mut self,
        address: &'static str,
        column: &'static str,
        value: &'static str,
    ) -> Self {
        self.name_of = Some(NameOf { address, only_where: Some((column, value)) });
        self
    }

    /// The same column, never null.
    pub const fn required(mut self) -> Self {
        self.nullable = false;
        self
    }
}

/// A text column.
pub(crate) const fn text(name: &'static str, from: &'static str, doc: &'static str) -> Column {
    Column::new(name, Type::Utf8, from, doc)
}

/// A timestamp column.
pub(crate) const fn time(name: &'static str, from: &'static str, doc: &'static str) -> Column {
    Column::new(name, Type::Timestamp, from, doc)
}

/// A column of days.
pub(crate) const fn date(name: &'static str, from: &'static str, doc: &'static str) -> Column {
    Column::new(name, Type::Date, from, doc)
}

/// An integer column.
pub(crate) const fn int(name: &'static str, from: &'static str, doc: &'static str) -> Column {
    Column::new(name, Type::Int64, from, doc)
}

/// A floating point column.
pub(crate) const fn float(name: &'static str, from: &'static str, doc: &'static str) -> Column {
    Column::new(name, Type::Float64, from, doc)
}

/// A boolean column.
pub(crate) const fn boolean(name: &'static str, from: &'static str, doc: &'static str) -> Column {
    Column::new(name, Type::Boolean, from, doc)
}

impl Type {
    /// The Arrow type.
    pub fn arrow(&self) -> DataType {
        match self {
            Type::Utf8 | Type::Json => DataType::Utf8,
            Type::Int64 => DataType::Int64,
            Type::Float64 => DataType::Float64,
            Type::Boolean => DataType::Boolean,
            Type::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
            Type::Date => DataType::Date32,
            Type::List(item) => DataType::List(Arc::new(Field::new("item", item.arrow(), true))),
            Type::Struct(fields) => DataType::Struct(struct_fields(fields)),
        }
    }

    /// Whether CSV holds it as JSON.
    pub fn is_nested(&self) -> bool {
        matches!(self, Type::List(_) | Type::Struct(_))
    }
}

pub(super) fn struct_fields(fields: &[SubField]) -> Fields {
    fields.iter().map(|f| Field::new(f.name, f.ty.arrow(), true)).collect()
}
