//! `cell_changes`: cells that were added, removed or edited between two readings of a project's draft.
//!
//! Each snapshot compares its cells with those of the snapshot that it builds on, and carries earlier changes forward.
//! A project that was not read again has the rows of its last reading, so it has no changes; one that is read for the
//! first time has none either: nothing is known of it before.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use super::connections::text as text_at;
use super::earlier::{Earlier, time_at};
use super::{Error, Inputs};
use crate::schema::columns::{text, time};
use crate::schema::{Datum, Origin, Row, Table, itself};
use crate::snapshot::{self, TableEntry, TableReader, TableWriter};
use crate::tables::CELLS;

/// Time that changes are carried forward: as long as `run_health` looks back, and some more.
const KEPT: TimeDelta = TimeDelta::days(90);
/// Columns of `cells` that are compared, and when they were read.
pub const COMPARED_CELLS: [&str; 8] = [
    "project_id",
    "static_id",
    "cell_type",
    "label",
    "data_connection_id",
    "source",
    "output_dataframe",
    "fetched_at",
];

/// One row a cell and change.
pub static CELL_CHANGES: Table = Table {
    name: "cell_changes",
    doc: "Cells of drafts that were added, removed or edited between two readings, in the last 90 days",
    origin: Origin::Derived(&["cells"]),
    key: &["project_id", "static_id", "changed_before"],
    columns: &[
        text("project_id", "", "Project").required(),
        text("static_id", "", "Cell").required(),
        time("changed_before", "", "When the change was first read: the cell changed before").required(),
        time("changed_after", "", "When the cells were last read without it: the cell changed after")
            .required(),
        text("change", "", "added, removed or edited").required(),
        text("cell_type", "", "Type of the cell; of a removed one, the last known"),
        text("label", "", "Label of the cell; of a removed one, the last known"),
        text(
            "old_hash",
            "",
            "Hash of the cell before: its type, source, connection and output; null if it was added",
        ),
        text("new_hash", "", "The same hash after the change; null if the cell was removed"),
    ],
    elsewhere: &[],
    explode: itself,
};

/// A cell as it is compared.
#[derive(Debug, Clone, PartialEq)]
struct Cell {
    kind: Option<String>,
    label: Option<String>,
    hash: String,
    /// Microseconds since 1970.
    read_at: i64,
}

/// The cells of a project, by identifier.
type Cells = BTreeMap<String, Cell>;

/// Writes the table.
///
/// # Errors
/// If the cells can't be read, or the table can't be written.
pub fn write_changes(
    inputs: &Inputs<'_>,
    earlier: Earlier,
    create: impl Fn(&'static Table) -> Result<TableWriter, snapshot::Error>,
) -> Result<TableEntry, Error> {
    let now = inputs.snapshot_at.timestamp_micros();
    let first = (inputs.snapshot_at - KEPT).timestamp_micros();
    let today = TableReader::open_file_columns(&inputs.path(CELLS.name), &CELLS, &COMPARED_CELLS)?;
    let written = earlier.compare(today, &CELL_CHANGES, create, |project| {
        let mut rows: Vec<Row> = project.moves.iter().flat_map(|batch| kept(batch, first, now)).collect();
        rows.extend(changes(&project.id, &cells(&project.before), &cells(&project.after), now));
        rows
    });
    Ok(written?)
}

/// Earlier changes that are carried forward.
fn kept(batch: &RecordBatch, first: i64, now: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    for i in 0..batch.num_rows() {
        let (Some(before), Some(after)) =
            (time_at(batch, "changed_before", i), time_at(batch, "changed_after", i))
        else {
            continue;
        };
        if before <= first {
            continue;
        }
        let of = |name: &str| Datum::text(text_at(batch, name, i));
        let mut row = vec![of("project_id"), of("static_id"), Datum::Time(before), Datum::Time(after)];
        row.extend(["change", "cell_type", "label", "old_hash", "new_hash"].map(of));
        row.extend([Datum::Time(now), Datum::Time(now)]);
        rows.push(row);
    }
    rows
}

/// Differences between two readings of a project. Of a project without any cell in one of them nothing is known
/// there: it is new, gone, or was not read.
fn changes(project: &str, before: &Cells, after: &Cells, now: i64) -> Vec<Row> {
    let read_at = |cells: &Cells| cells.values().map(|cell| cell.read_at).max();
    let (Some(then), Some(lately)) = (read_at(before), read_at(after)) else { return Vec::new() };
    let mut rows = Vec::new();
    let mut push = |id: &str, change: &str, old: Option<&Cell>, new: Option<&Cell>| {
        let cell = new.or(old);
        rows.push(vec![
            Datum::Text(project.to_owned()),
            Datum::Text(id.to_owned()),
            Datum::Time(lately),
            Datum::Time(then),
            Datum::Text(change.to_owned()),
            Datum::text(cell.and_then(|cell| cell.kind.as_deref())),
            Datum::text(cell.and_then(|cell| cell.label.as_deref())),
            Datum::text(old.map(|cell| cell.hash.as_str())),
            Datum::text(new.map(|cell| cell.hash.as_str())),
            Datum::Time(now),
            Datum::Time(now),
        ]);
    };
    for (id, cell) in before {
        match after.get(id) {
            None => push(id, "removed", Some(cell), None),
            Some(new) if new.hash != cell.hash => push(id, "edited", Some(cell), Some(new)),
            Some(_) => {}
        }
    }
    for (id, cell) in after.iter().filter(|(id, _)| !before.contains_key(*id)) {
        push(id, "added", None, Some(cell));
    }
    rows
}

fn cells(batches: &[RecordBatch]) -> Cells {
    let mut cells = Cells::new();
    for batch in batches {
        for i in 0..batch.num_rows() {
            let (Some(id), Some(read_at)) = (text_at(batch, "static_id", i), time_at(batch, "fetched_at", i))
            else {
                continue;
            };
            let of = |name: &str| text_at(batch, name, i);
            let (kind, label) = (of("cell_type").map(str::to_owned), of("label").map(str::to_owned));
            let hash = hash(["cell_type", "data_connection_id", "source", "output_dataframe"].map(of));
            cells.insert(id.to_owned(), Cell { kind, label, hash, read_at });
        }
    }
    cells
}

/// The first 16 hexadecimal digits of the SHA-256 of the parts, each with its length, so that none runs into the next.
fn hash(parts: [Option<&str>; 4]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.map_or(-1i64, |part| part.len() as i64).to_le_bytes());
        digest.update(part.unwrap_or_default());
    }
    digest.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(source: &str, read_at: i64) -> Cell {
        let hash = hash([Some("SQL"), None, Some(source), None]);
        Cell { kind: Some("SQL".into()), label: None, hash, read_at }
    }

    fn of(cells: &[(&str, &str)], read_at: i64) -> Cells {
        cells.iter().map(|(id, source)| ((*id).to_owned(), cell(source, read_at))).collect()
    }

    fn found(before: &Cells, after: &Cells) -> Vec<(String, String, i64, i64)> {
        let of = |row: Row| match &row[1..5] {
            [Datum::Text(id), Datum::Time(before), Datum::Time(after), Datum::Text(change)] => {
                (id.clone(), change.clone(), *after, *before)
            }
            other => panic!("{other:?}"),
        };
        changes("p", before, after, 9).into_iter().map(of).collect()
    }

    #[test]
    fn what_differs_between_two_readings_is_a_change() {
        let before = of(&[("a", "select 1"), ("b", "select 2"), ("c", "select 3")], 1);
        let after = of(&[("a", "select 1"), ("b", "select 22"), ("d", "select 4")], 5);
        let row = |id: &str, change: &str| (id.to_owned(), change.to_owned(), 1, 5);
        assert_eq!(found(&before, &after), [row("b", "edited"), row("c", "removed"), row("d", "added")]);
    }

    #[test]
    fn what_was_not_read_did_not_change() {
        let cells = of(&[("a", "select 1")], 1);
        // Carried over as it is; new to us; gone or no longer readable.
        assert!(found(&cells, &cells).is_empty());
        assert!(found(&Cells::new(), &cells).is_empty());
        assert!(found(&cells, &Cells::new()).is_empty());
        // Read again, and the same.
        assert!(found(&cells, &of(&[("a", "select 1")], 5)).is_empty());
    }

    #[test]
    fn parts_of_a_hash_do_not_run_into_each_other() {
        assert_ne!(hash([Some("ab"), Some("c"), None, None]), hash([Some("a"), Some("bc"), None, None]));
        assert_ne!(hash([Some(""), None, None, None]), hash([None, None, None, None]));
    }
}
