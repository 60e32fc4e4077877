//! Whom grants on projects name: the API names users by address, groups and collections by name, seldom any of them by
//! identifier.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::error::ArrowError;

use crate::crawl::{Endpoint, Report, Standing};
use crate::schema::Table;
use crate::snapshot::{self, TableReader};
use crate::tables::{COLLECTIONS, GROUPS, PROJECT_SHARING, USERS};

/// Kinds of principals, with their table, and its columns of the identifier and of the name that grants give.
const KINDS: [(&str, &Table, &str, &str); 3] = [
    ("USER", &USERS, "user_id", "email"),
    ("GROUP", &GROUPS, "group_id", "name"),
    ("COLLECTION", &COLLECTIONS, "collection_id", "name"),
];

/// Identifiers by name; none where several have the name.
type Names = HashMap<String, Option<String>>;

/// The users, groups and collections of a snapshot, by kind; none where nobody knows all of them.
pub(super) struct Directory([Option<Names>; 3]);

impl Directory {
    /// Reads the Parquet files of a folder.
    ///
    /// # Errors
    /// If one can't be read.
    pub(super) fn read(folder: &Path, report: &Report) -> Result<Self, snapshot::Error> {
        let mut names = [None, None, None];
        for (slot, (kind, table, id, name)) in names.iter_mut().zip(KINDS) {
            let path = folder.join(format!("{}.parquet", table.name));
            if path.exists() && is_known(report, table) {
                let reader = TableReader::open_file_columns(&path, table, &[id, name])?;
                *slot = Some(names_of(reader, kind, (id, name))?);
            }
        }
        Ok(Self(names))
    }

    /// Grants with the identifiers of those that they name, and how they are known.
    ///
    /// # Errors
    /// If the columns don't fit the schema, which would be a bug.
    pub(super) fn resolve(&self, grants: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let place = |name| PROJECT_SHARING.index_of(name).expect("a column of the table");
        let (at_id, at_from) = (place("principal_id"), place("principal_id_from"));
        let column = |at: usize| grants.column(at).as_string::<i32>();
        fn text(column: &StringArray, row: usize) -> Option<&str> {
            column.is_valid(row).then(|| column.value(row))
        }
        let (kinds, names) = (column(place("principal_type")), column(place("principal")));
        let (ids, froms) = (column(at_id), column(at_from));
        let (mut new_ids, mut new_froms) = (Vec::new(), Vec::new());
        for row in 0..grants.num_rows() {
            // What was resolved in an earlier snapshot is resolved again.
            let of_api = text(ids, row).filter(|_| text(froms, row).is_none_or(|from| from == "api"));
            let (id, from) = match (of_api, text(names, row)) {
                (Some(id), _) => (Some(id), Some("api")),
                (None, Some(name)) => self.named(text(kinds, row).unwrap_or(""), name),
                (None, None) => (None, None),
            };
            new_ids.push(id);
            new_froms.push(from);
        }
        let mut columns = grants.columns().to_vec();
        columns[at_id] = Arc::new(StringArray::from(new_ids));
        columns[at_from] = Arc::new(StringArray::from(new_froms));
        RecordBatch::try_new(grants.schema(), columns)
    }

    fn named(&self, kind: &str, name: &str) -> (Option<&str>, Option<&'static str>) {
        let names =
            KINDS.iter().zip(&self.0).find(|((of, ..), _)| *of == kind).and_then(|(_, names)| names.as_ref());
        match names.and_then(|names| names.get(&*key(kind, name))) {
            Some(Some(id)) => (Some(id), Some("name")),
            Some(None) => (None, Some("ambiguous")),
            None => (None, Some("unknown")),
        }
    }
}

/// Whether all entities of a table are known: with a part of them, a name that several have could seem to be one's.
fn is_known(report: &Report, table: &Table) -> bool {
    let Some(list) = Endpoint::of_table(table) else { return false };
    let of_list = report.coverage.iter().find(|c| c.endpoint == list && c.entity.is_none());
    let is_whole = |standing| !matches!(standing, Standing::Partial | Standing::Unreadable);
    of_list.is_some_and(|coverage| is_whole(coverage.standing()))
}

/// A name as it is compared: addresses without case.
fn key(kind: &str, name: &str) -> String {
    if kind == "USER" { name.to_lowercase() } else { name.to_owned() }
}

fn names_of(reader: TableReader, kind: &str, (id, name): (&str, &str)) -> Result<Names, snapshot::Error> {
    let mut names = Names::new();
    for batch in reader {
        let batch = batch?;
        let texts = |name| batch.column_by_name(name).expect("a column that was opened").as_string::<i32>();
        for (id, name) in texts(id).iter().zip(texts(name)) {
            let (Some(id), Some(name)) = (id, name) else { continue };
            match names.entry(key(kind, name)) {
                Entry::Vacant(free) => drop(free.insert(Some(id.to_owned()))),
                Entry::Occupied(mut taken) if taken.get().as_deref() != Some(id) => *taken.get_mut() = None,
                Entry::Occupied(_) => {}
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Datum, batch_of};

    #[test]
    fn names_stand_for_those_who_alone_have_them() {
        let names = |pairs: &[(&str, Option<&str>)]| {
            pairs.iter().map(|(name, id)| ((*name).to_owned(), id.map(str::to_owned))).collect::<Names>()
        };
        let directory = Directory([
            Some(names(&[("ann@example.com", Some("u1"))])),
            Some(names(&[("Sales", Some("g1")), ("Twice", None)])),
            None,
        ]);
        let text = |text: &str| Datum::text(Some(text).filter(|text| !text.is_empty()));
        // Kind, name, identifier and its origin as they are; identifier and origin as they become.
        let cases = [
            ("USER", "Ann@Example.com", "", "", "u1", "name"),
            ("USER", "bob@example.com", "", "", "", "unknown"),
            ("USER", "bob@example.com", "u7", "", "u7", "api"),
            ("USER", "bob@example.com", "u7", "api", "u7", "api"),
            ("USER", "bob@example.com", "u7", "name", "", "unknown"),
            ("GROUP", "Sales", "", "", "g1", "name"),
            ("GROUP", "sales", "", "", "", "unknown"),
            ("GROUP", "Twice", "", "", "", "ambiguous"),
            ("COLLECTION", "Sales", "c1", "name", "", "unknown"),
            ("WORKSPACE", "", "", "", "", ""),
            ("NEW_KIND", "Sales", "", "", "", "unknown"),
        ];
        let rows = cases.map(|(kind, name, id, from, ..)| {
            let mut row =
                vec![text("p"), text(kind), text(name), text(id), text(from), Datum::Null, Datum::Null];
            row.extend([Datum::Time(0), Datum::Time(0)]);
            row
        });
        let resolved = directory.resolve(&batch_of(&PROJECT_SHARING, rows.to_vec()).unwrap()).unwrap();
        for (row, (.., id, from)) in cases.iter().enumerate() {
            let told = |name| {
                let column = resolved.column_by_name(name).unwrap().as_string::<i32>();
                if column.is_valid(row) { column.value(row) } else { "" }
            };
            assert_eq!((told("principal_id"), told("principal_id_from")), (*id, *from), "{:?}", cases[row]);
        }
    }
}
