//! Rows of tables as objects, for those who read a snapshot.

use arrow::array::RecordBatch;
use arrow::json::ArrayWriter;
use serde::de::DeserializeOwned;

use super::{Error, TableReader};
use crate::schema::Table;

/// Opens a table; `None` if it isn't there.
pub type Open<'a> = dyn Fn(&'static Table) -> Result<Option<TableReader>, Error> + 'a;

/// All rows of a table; none if it isn't there.
///
/// # Errors
/// If it can't be read, or its rows aren't such objects.
pub fn all<T: DeserializeOwned>(open: &Open<'_>, table: &'static Table) -> Result<Vec<T>, Error> {
    some(open, table, |_| true)
}

/// The rows of a table that are wanted; none if it isn't there.
///
/// # Errors
/// If it can't be read, or its rows aren't such objects.
pub fn some<T: DeserializeOwned>(
    open: &Open<'_>,
    table: &'static Table,
    is_wanted: impl Fn(&T) -> bool,
) -> Result<Vec<T>, Error> {
    let mut rows = Vec::new();
    for batch in open(table)?.into_iter().flatten() {
        rows.extend(of_batch(table, &batch?)?.into_iter().filter(&is_wanted));
    }
    Ok(rows)
}

/// Gives the rows of a table to `take`, one after the other; none if it isn't there.
///
/// # Errors
/// If it can't be read, or its rows aren't such objects.
pub fn each<T: DeserializeOwned>(
    open: &Open<'_>,
    table: &'static Table,
    mut take: impl FnMut(T),
) -> Result<(), Error> {
    for batch in open(table)?.into_iter().flatten() {
        of_batch(table, &batch?)?.into_iter().for_each(&mut take);
    }
    Ok(())
}

/// The rows of a batch of a table. Nulls are left out: the object's fields have defaults.
///
/// # Errors
/// If the rows aren't such objects.
pub fn of_batch<T: DeserializeOwned>(table: &'static Table, batch: &RecordBatch) -> Result<Vec<T>, Error> {
    let mut writer = ArrayWriter::new(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).map_err(Error::of_table(table))?;
    let text = writer.into_inner();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&text).map_err(Error::of_table(table))
}
