//! Tables that carry forward what moved between snapshots: the one that a snapshot builds on, and both of them project by
//! project.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;

use super::connections::text as text_at;
use crate::schema::{Row, Table, batch_of, sort_unique};
use crate::snapshot::{self, TableEntry, TableReader, TableWriter};

/// Rows that are gathered before they are written.
const CHUNK_ROWS: usize = 16_384;

/// Tables of an earlier snapshot to compare with.
#[derive(Default)]
pub struct Earlier {
    /// The rows that today's are compared with.
    pub rows: Option<TableReader>,
    /// The moves up to it, which are carried forward.
    pub moves: Option<TableReader>,
}

/// What two snapshots say of a project.
pub struct Compared {
    /// The project.
    pub id: String,
    /// Its moves up to the earlier snapshot.
    pub moves: Vec<RecordBatch>,
    /// Its rows there.
    pub before: Vec<RecordBatch>,
    /// Its rows today.
    pub after: Vec<RecordBatch>,
}

impl Earlier {
    /// Writes a table of moves: of each project that either snapshot knows, the rows that are made of what they say.
    ///
    /// # Errors
    /// If a table can't be read or written.
    pub fn compare(
        self,
        today: TableReader,
        table: &'static Table,
        create: impl Fn(&'static Table) -> Result<TableWriter, snapshot::Error>,
        rows: impl Fn(Compared) -> Vec<Row>,
    ) -> Result<TableEntry, snapshot::Error> {
        let mut sink = Sink { table, writer: create(table)?, rows: Vec::new() };
        let (mut moves, mut old) = (Projects::new(self.moves), Projects::new(self.rows));
        let mut new = Projects::new(Some(today));
        while let Some(id) = [moves.project()?, old.project()?, new.project()?].into_iter().flatten().min() {
            let (moves, before, after) = (moves.take(&id)?, old.take(&id)?, new.take(&id)?);
            sink.add(rows(Compared { id, moves, before, after }))?;
        }
        sink.finish()
    }
}

/// A table that is written a chunk at a time.
struct Sink {
    table: &'static Table,
    writer: TableWriter,
    rows: Vec<Row>,
}

impl Sink {
    /// Adds the rows of a project; projects come in the order of their identifiers.
    fn add(&mut self, rows: Vec<Row>) -> Result<(), snapshot::Error> {
        self.rows.extend(rows);
        if self.rows.len() >= CHUNK_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), snapshot::Error> {
        let rows = std::mem::take(&mut self.rows);
        let failed = snapshot::Error::of_table(self.table);
        // Those that are carried forward come before the new ones, and not in the order of the key.
        let rows = batch_of(self.table, rows).map_err(failed)?;
        self.writer.write(&sort_unique(self.table, &self.table.schema(), &[rows]).map_err(failed)?)
    }

    fn finish(mut self) -> Result<TableEntry, snapshot::Error> {
        self.flush()?;
        self.writer.finish()
    }
}

/// A time of a batch, in microseconds since 1970.
pub fn time_at(batch: &RecordBatch, name: &str, row: usize) -> Option<i64> {
    let column = batch.column_by_name(name)?.as_primitive::<TimestampMicrosecondType>();
    column.is_valid(row).then(|| column.value(row))
}

/// A table that is sorted by project, cut into the rows of each.
struct Projects {
    reader: Option<TableReader>,
    batch: Option<RecordBatch>,
}

impl Projects {
    /// From the beginning of a table; without one, of none.
    fn new(reader: Option<TableReader>) -> Self {
        Self { reader, batch: None }
    }

    /// The project whose rows come next.
    fn project(&mut self) -> Result<Option<String>, snapshot::Error> {
        while self.batch.as_ref().is_none_or(|batch| batch.num_rows() == 0) {
            let Some(next) = self.reader.as_mut().and_then(Iterator::next) else { return Ok(None) };
            self.batch = Some(next?);
        }
        Ok(self.batch.as_ref().and_then(|batch| text_at(batch, "project_id", 0)).map(str::to_owned))
    }

    /// The rows of a project, if they come next.
    fn take(&mut self, project: &str) -> Result<Vec<RecordBatch>, snapshot::Error> {
        let mut parts = Vec::new();
        while self.project()?.as_deref() == Some(project) {
            let Some(batch) = self.batch.take() else { break };
            let count = (0..batch.num_rows())
                .take_while(|i| text_at(&batch, "project_id", *i) == Some(project))
                .count();
            parts.push(batch.slice(0, count));
            self.batch = Some(batch.slice(count, batch.num_rows() - count));
        }
        Ok(parts)
    }
}
