//! `project_edits`: edits and publications of projects, as successive snapshots show them.
//!
//! Hex names the last edit and the last publication of a project, and nothing of those before. Each snapshot adds those
//! that it sees for the first time, and carries the ones of the snapshot that it builds on forward. What happened between
//! two readings is seen as one: the last.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use chrono::TimeDelta;

use super::connections::text as text_at;
use super::earlier::{Earlier, time_at};
use super::{Error, Inputs};
use crate::schema::columns::{text, time};
use crate::schema::{Datum, Origin, Row, Table, itself};
use crate::snapshot::{self, TableEntry, TableReader, TableWriter};
use crate::tables::PROJECTS;

/// Time that edits are carried forward: a year, and some more, to compare with the same time last year.
const KEPT: TimeDelta = TimeDelta::days(400);
/// Changes, with the column of `projects` that names the last one.
const STAMPS: [(&str, &str); 2] = [("edited", "last_edited_at"), ("published", "last_published_at")];
/// Columns of `projects` that are compared, and when they were read.
pub const COMPARED_PROJECTS: [&str; 4] = ["project_id", "last_edited_at", "last_published_at", "fetched_at"];

/// One row a project, change and time.
pub static PROJECT_EDITS: Table = Table {
    name: "project_edits",
    doc: "Edits and publications of projects that successive snapshots have seen, in the last 400 days, and the last of each project",
    origin: Origin::Derived(&["projects"]),
    key: &["project_id", "change", "changed_at"],
    columns: &[
        text("project_id", "", "Project").required(),
        text("change", "", "edited or published; Hex doesn't say by whom").required(),
        time("changed_at", "", "When, as Hex says").required(),
        time(
            "previous_at",
            "",
            "The last one that was known before. Of several between two readings only the last is known; null for the first",
        ),
        text("observed_in", "", "Snapshot that saw it first").required(),
        time("observed_at", "", "When the project was first read with it").required(),
        time(
            "unseen_until",
            "",
            "When the project was last read without it: from then until changed_at there may have been others",
        ),
    ],
    elsewhere: &[],
    explode: itself,
};

/// A project as one snapshot has it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Reading {
    /// The last of each change, in the order of [`STAMPS`]; microseconds since 1970, as all times here.
    last: [Option<i64>; 2],
    read_at: Option<i64>,
}

/// An edit or a publication.
#[derive(Debug, Clone, PartialEq)]
struct Edit {
    /// Place of the change in [`STAMPS`].
    change: usize,
    at: i64,
    previous: Option<i64>,
    observed_in: String,
    observed_at: i64,
    unseen_until: Option<i64>,
}

/// Writes the table.
///
/// # Errors
/// If the projects can't be read, or the table can't be written.
pub fn write_edits(
    inputs: &Inputs<'_>,
    earlier: Earlier,
    snapshot_id: &str,
    create: impl Fn(&'static Table) -> Result<TableWriter, snapshot::Error>,
) -> Result<TableEntry, Error> {
    let now = inputs.snapshot_at.timestamp_micros();
    let first = (inputs.snapshot_at - KEPT).timestamp_micros();
    let today = TableReader::open_file_columns(&inputs.path(PROJECTS.name), &PROJECTS, &COMPARED_PROJECTS)?;
    let written = earlier.compare(today, &PROJECT_EDITS, create, |project| {
        let known: Vec<Edit> = project.moves.iter().flat_map(edits).collect();
        let edits = kept(known, reading(&project.before), reading(&project.after), snapshot_id, first);
        edits.into_iter().map(|edit| row(&project.id, edit, now)).collect()
    });
    Ok(written?)
}

/// Edits of a project that the snapshot has: the earlier ones, and what it sees for the first time. The last of each
/// change stays however old it is, while the project is there: it is what runs are compared with.
fn kept(
    known: Vec<Edit>,
    before: Option<Reading>,
    after: Option<Reading>,
    snapshot_id: &str,
    first: i64,
) -> Vec<Edit> {
    let mut edits = known;
    let seen: BTreeSet<(usize, i64)> = edits.iter().map(|edit| (edit.change, edit.at)).collect();
    let before = before.unwrap_or_default();
    let now = after.unwrap_or_default();
    for change in 0..STAMPS.len() {
        let (Some(at), Some(observed_at)) = (now.last[change], now.read_at) else { continue };
        // A stamp that goes back is no edit.
        let is_older = before.last[change].is_some_and(|last| last > at);
        if is_older || seen.contains(&(change, at)) {
            continue;
        }
        let previous = before.last[change].filter(|last| *last < at);
        // Where the earlier snapshot has the same stamp but no history, nobody knows when it was not there yet.
        let unseen_until = before.read_at.filter(|_| before.last[change] != Some(at));
        let observed_in = snapshot_id.to_owned();
        edits.push(Edit { change, at, previous, observed_in, observed_at, unseen_until });
    }
    let newest = |change| edits.iter().filter(|edit| edit.change == change).map(|edit| edit.at).max();
    let newest = [newest(0), newest(1)];
    edits.retain(|edit| edit.at >= first || (after.is_some() && newest[edit.change] == Some(edit.at)));
    edits
}

fn row(project: &str, edit: Edit, now: i64) -> Row {
    let or_null = |at: Option<i64>| at.map_or(Datum::Null, Datum::Time);
    vec![
        Datum::Text(project.to_owned()),
        Datum::Text(STAMPS[edit.change].0.to_owned()),
        Datum::Time(edit.at),
        or_null(edit.previous),
        Datum::Text(edit.observed_in),
        Datum::Time(edit.observed_at),
        or_null(edit.unseen_until),
        Datum::Time(now),
        Datum::Time(now),
    ]
}

/// The rows of an earlier snapshot.
fn edits(batch: &RecordBatch) -> Vec<Edit> {
    let edit = |i: usize| {
        let named = text_at(batch, "change", i)?;
        Some(Edit {
            change: STAMPS.iter().position(|(change, _)| *change == named)?,
            at: time_at(batch, "changed_at", i)?,
            previous: time_at(batch, "previous_at", i),
            observed_in: text_at(batch, "observed_in", i)?.to_owned(),
            observed_at: time_at(batch, "observed_at", i)?,
            unseen_until: time_at(batch, "unseen_until", i),
        })
    };
    (0..batch.num_rows()).filter_map(edit).collect()
}

fn reading(batches: &[RecordBatch]) -> Option<Reading> {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0)?;
    let last = STAMPS.map(|(_, column)| time_at(batch, column, 0));
    Some(Reading { last, read_at: time_at(batch, "fetched_at", 0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(edited: i64, published: Option<i64>, read_at: i64) -> Option<Reading> {
        Some(Reading { last: [Some(edited), published], read_at: Some(read_at) })
    }

    /// Change, when, previous, observed at and unseen until.
    type Told = (usize, i64, Option<i64>, i64, Option<i64>);

    fn told(edits: &[Edit]) -> Vec<Told> {
        edits.iter().map(|e| (e.change, e.at, e.previous, e.observed_at, e.unseen_until)).collect()
    }

    #[test]
    fn each_reading_adds_what_moved_and_keeps_what_is_known() {
        let first = kept(Vec::new(), None, at(5, None, 10), "a", 0);
        assert_eq!(told(&first), [(0, 5, None, 10, None)]);
        // Twice edited, then published.
        let second = kept(first.clone(), at(5, None, 10), at(18, Some(19), 20), "b", 0);
        let expected = [(0, 5, None, 10, None), (0, 18, Some(5), 20, Some(10)), (1, 19, None, 20, Some(10))];
        assert_eq!(told(&second), expected);
        assert_eq!(second[1].observed_in, "b");
        // The same again, gone back, and not there.
        for after in [at(18, Some(19), 30), at(5, Some(19), 30), at(4, None, 30), None] {
            assert_eq!(kept(second.clone(), at(18, Some(19), 20), after, "c", 0), second);
        }
    }

    #[test]
    fn old_edits_go_but_for_the_last_of_a_project_that_is_there() {
        let known = kept(Vec::new(), None, at(5, Some(3), 10), "a", 0);
        let known = kept(known, at(5, Some(3), 10), at(18, Some(3), 20), "b", 0);
        assert_eq!(told(&known).len(), 3);
        let later = kept(known.clone(), at(18, Some(3), 20), at(18, Some(3), 90), "c", 50);
        assert_eq!(later.iter().map(|e| e.at).collect::<Vec<_>>(), [3, 18]);
        // It isn't observed again when its row has gone with its project, and comes back.
        assert!(kept(known, at(18, Some(3), 20), None, "c", 50).is_empty());
    }

    #[test]
    fn a_lake_without_the_table_begins_it_with_what_its_projects_say() {
        let begun = kept(Vec::new(), at(5, Some(3), 10), at(5, Some(8), 20), "b", 0);
        assert_eq!(told(&begun), [(0, 5, None, 20, None), (1, 8, Some(3), 20, Some(10))]);
    }
}
