//! Differences between two snapshots: added, removed and changed rows.
//!
//! Files are sorted by key, so both are read side by side, and memory stays flat.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::Serialize;

use crate::audit::{Committed, Evidence};
use crate::schema::Table;
use crate::snapshot::{Error, Lake, Manifest, TableReader};

/// Columns that name a row for people, the first that a table has.
const LABELS: [&str; 6] = ["title", "name", "email", "project_title", "principal", "label"];

/// Differences that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// Leave out columns that change without anybody's doing (view counters, last logins).
    Left,
    /// Compare all columns except the times of fetching.
    Kept,
}

/// A row, by its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowName {
    /// Columns of the key and their values.
    pub key: BTreeMap<&'static str, String>,
    /// Name for people.
    pub label: Option<String>,
}

/// A field that has another value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// Column.
    pub field: &'static str,
    /// Value before, as text.
    pub before: Option<String>,
    /// Value after, as text.
    pub after: Option<String>,
}

/// A row that has other values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowChange {
    /// The row.
    #[serde(flatten)]
    pub row: RowName,
    /// Its fields that differ.
    pub fields: Vec<FieldChange>,
}

/// Differences of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableDiff {
    /// The table.
    pub table: &'static str,
    /// Rows that are new.
    pub added: Vec<RowName>,
    /// Rows that are gone.
    pub removed: Vec<RowName>,
    /// Rows that have other values.
    pub changed: Vec<RowChange>,
    /// Rows that are not in the later snapshot because it could not read them: nobody says that they are gone.
    pub unreadable: Vec<Unread>,
    /// Rows that are in the later snapshot only because the earlier one could not read them.
    pub readable_again: Vec<Unread>,
}

/// A row that one of the snapshots could not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// The row.
    #[serde(flatten)]
    pub row: RowName,
    /// Reason that it could not be read.
    pub why: String,
}

impl TableDiff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.changed.is_empty()
            && self.unreadable.is_empty()
            && self.readable_again.is_empty()
    }

    fn of(table: &'static Table) -> Self {
        Self {
            table: table.name,
            added: Vec::new(),
            removed: Vec::new(),
            changed: Vec::new(),
            unreadable: Vec::new(),
            readable_again: Vec::new(),
        }
    }

    /// Sorts out the rows that one of the snapshots could not read.
    fn tell_unread(&mut self, table: &'static Table, old: &Evidence, new: &Evidence) {
        let key = table.key[0];
        let split = |rows: &mut Vec<RowName>, evidence: &Evidence| {
            let (mut kept, mut unread) = (Vec::new(), Vec::new());
            for row in rows.drain(..) {
                match evidence.gap_of(table, row.key.get(key).map_or("", String::as_str)) {
                    Some(why) => unread.push(Unread { row, why: why.to_owned() }),
                    None => kept.push(row),
                }
            }
            *rows = kept;
            unread
        };
        self.unreadable = split(&mut self.removed, new);
        self.readable_again = split(&mut self.added, old);
    }
}

/// Completeness of each of two snapshots.
#[derive(Debug)]
pub struct Known {
    before: Evidence,
    after: Evidence,
}

impl Known {
    /// Reads it.
    ///
    /// # Errors
    /// If a snapshot can't be read.
    pub fn load(lake: &Lake, before: &Manifest, after: &Manifest) -> Result<Self, Error> {
        let of = |manifest| Evidence::load(&Committed { lake, manifest });
        Ok(Self { before: of(before)?, after: of(after)? })
    }
}

/// Compares a table of two snapshots; `None` if one of them doesn't have it as Parquet.
///
/// # Errors
/// If a snapshot can't be read.
pub fn diff(
    lake: &Lake,
    before: &Manifest,
    after: &Manifest,
    table: &'static Table,
    noise: Noise,
    known: &Known,
) -> Result<Option<TableDiff>, Error> {
    let (Some(old), Some(new)) =
        (TableReader::open(lake, before, table)?, TableReader::open(lake, after, table)?)
    else {
        return Ok(None);
    };
    let mut found = match table.index_of(POSITION) {
        Some(_) => by_content(table, old, new)?,
        None => by_key(table, old, new, noise)?,
    };
    found.tell_unread(table, &known.before, &known.after);
    Ok(Some(found))
}

/// A column that says where something is in its project. It is no name: those behind move up when one is removed.
const POSITION: &str = "position";
/// A column that may change without making something else of the row.
const SWITCH: &str = "enabled";

/// Compares tables whose rows have no name of their own: what they say is their name.
fn by_content(table: &'static Table, old: TableReader, new: TableReader) -> Result<TableDiff, Error> {
    type Rows = BTreeMap<(BTreeMap<&'static str, String>, usize), Option<String>>;
    let failed = Error::of_table::<ArrowError>(table);
    let read = |reader: TableReader| -> Result<Rows, Error> {
        let mut rows = Rows::new();
        for batch in reader {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                let cell = |i: usize| shown(&batch.column(i).slice(row, 1)).map_err(failed);
                let (mut key, mut switch) = (BTreeMap::new(), None);
                for (i, column) in table.columns.iter().enumerate() {
                    match (column.name, cell(i)?) {
                        (SWITCH, value) => switch = value,
                        (POSITION, _) | (_, None) => {}
                        (name, Some(value)) => drop(key.insert(name, value)),
                    }
                }
                // Two that say the same are two.
                let mut nth = 0;
                while rows.contains_key(&(key.clone(), nth)) {
                    nth += 1;
                }
                rows.insert((key, nth), switch);
            }
        }
        Ok(rows)
    };
    let (old, new) = (read(old)?, read(new)?);
    let name = |key: &BTreeMap<&'static str, String>| RowName { key: key.clone(), label: None };
    let mut found = TableDiff::of(table);
    found.removed = old.keys().filter(|key| !new.contains_key(key)).map(|(key, _)| name(key)).collect();
    for (key, after) in &new {
        match old.get(key) {
            None => found.added.push(name(&key.0)),
            Some(before) if before != after => found.changed.push(RowChange {
                row: name(&key.0),
                fields: vec![FieldChange { field: SWITCH, before: before.clone(), after: after.clone() }],
            }),
            Some(_) => {}
        }
    }
    Ok(found)
}

/// Compares tables row by row, side by side in the order of their keys.
fn by_key(
    table: &'static Table,
    old: TableReader,
    new: TableReader,
    noise: Noise,
) -> Result<TableDiff, Error> {
    let failed = Error::of_table::<ArrowError>(table);
    let key = table.key_indices();
    let schema = table.schema();
    let fields = key.iter().map(|i| SortField::new(schema.field(*i).data_type().clone())).collect();
    // One converter for both, since only its own rows can be compared.
    let converter = RowConverter::new(fields).map_err(failed)?;
    let is_compared = |name: &str, is_noise: bool| match noise {
        Noise::Left => !is_noise,
        Noise::Kept => !matches!(name, "fetched_at" | "snapshot_at"),
    };
    let columns: Vec<(usize, &'static str)> = table
        .all_columns()
        .enumerate()
        .filter(|(i, column)| !key.contains(i) && is_compared(column.name, column.noise))
        .map(|(i, column)| (i, column.name))
        .collect();
    let (mut old, mut new) = (Side::new(table, old), Side::new(table, new));
    let mut found = TableDiff::of(table);
    loop {
        let turn = match (old.fill(&converter)?, new.fill(&converter)?) {
            (false, false) => break,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (true, true) => old.compare(&new),
        };
        match turn {
            Ordering::Less => found.removed.push(old.name().map_err(failed)?),
            Ordering::Greater => found.added.push(new.name().map_err(failed)?),
            Ordering::Equal => {
                let mut fields = Vec::new();
                for (i, name) in &columns {
                    let (before, after) = (old.cell(*i), new.cell(*i));
                    if before.as_ref() != after.as_ref() {
                        fields.push(FieldChange {
                            field: name,
                            before: shown(&before).map_err(failed)?,
                            after: shown(&after).map_err(failed)?,
                        });
                    }
                }
                if !fields.is_empty() {
                    found.changed.push(RowChange { row: new.name().map_err(failed)?, fields });
                }
            }
        }
        old.row += usize::from(turn.is_le());
        new.row += usize::from(turn.is_ge());
    }
    Ok(found)
}

/// A table of one snapshot, at a row.
struct Side {
    table: &'static Table,
    reader: TableReader,
    batch: Option<(RecordBatch, Rows)>,
    row: usize,
}

impl Side {
    fn new(table: &'static Table, reader: TableReader) -> Self {
        Self { table, reader, batch: None, row: 0 }
    }

    /// Makes sure that there is a row; false at the end.
    fn fill(&mut self, converter: &RowConverter) -> Result<bool, Error> {
        while self.batch.as_ref().is_none_or(|(batch, _)| self.row >= batch.num_rows()) {
            let Some(batch) = self.reader.next() else { return Ok(false) };
            let batch = batch?;
            let keys: Vec<ArrayRef> =
                self.table.key_indices().iter().map(|i| batch.column(*i).clone()).collect();
            let rows = converter.convert_columns(&keys);
            let rows = rows.map_err(Error::of_table(self.table))?;
            self.batch = Some((batch, rows));
            self.row = 0;
        }
        Ok(true)
    }

    fn current(&self) -> &(RecordBatch, Rows) {
        self.batch.as_ref().expect("filled before")
    }

    fn compare(&self, other: &Side) -> Ordering {
        self.current().1.row(self.row).cmp(&other.current().1.row(other.row))
    }

    /// One value, as an array of one.
    fn cell(&self, column: usize) -> ArrayRef {
        self.current().0.column(column).slice(self.row, 1)
    }

    fn name(&self) -> Result<RowName, ArrowError> {
        let text = |name: &str| -> Result<Option<String>, ArrowError> {
            self.table.index_of(name).map_or(Ok(None), |i| shown(&self.cell(i)))
        };
        let mut key = BTreeMap::new();
        for name in self.table.key {
            key.insert(*name, text(name)?.unwrap_or_default());
        }
        for label in LABELS {
            if let Some(label) = text(label)? {
                return Ok(RowName { key, label: Some(label) });
            }
        }
        Ok(RowName { key, label: None })
    }
}

/// The one value of an array as text.
fn shown(cell: &ArrayRef) -> Result<Option<String>, ArrowError> {
    if cell.is_null(0) {
        return Ok(None);
    }
    let formatter = ArrayFormatter::try_new(cell, &FormatOptions::default())?;
    Ok(Some(formatter.value(0).try_to_string()?))
}
