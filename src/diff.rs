//! What was added, removed and changed between two snapshots.
//!
//! Files are sorted by key, so both are read side by side, and memory stays flat.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::Serialize;

use crate::schema::Table;
use crate::snapshot::{Error, Lake, Manifest, TableReader};

/// Columns that name a row for people, the first that a table has.
const LABELS: [&str; 6] = ["title", "name", "email", "project_title", "principal", "label"];

/// Which differences count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// Columns that move by themselves (view counters, last logins) are left out.
    Left,
    /// All columns but the times of fetching.
    Kept,
}

/// A row, by its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowName {
    /// Columns of the key and their values.
    pub key: BTreeMap<&'static str, String>,
    /// What people call it.
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
}

impl TableDiff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
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
) -> Result<Option<TableDiff>, Error> {
    let (Some(old), Some(new)) =
        (TableReader::open(lake, before, table)?, TableReader::open(lake, after, table)?)
    else {
        return Ok(None);
    };
    let failed = |e: ArrowError| Error::Table { table: table.name, why: e.to_string() };
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
    let mut found =
        TableDiff { table: table.name, added: Vec::new(), removed: Vec::new(), changed: Vec::new() };
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
    Ok(Some(found))
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
            let rows = rows.map_err(|e| Error::Table { table: self.table.name, why: e.to_string() })?;
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
