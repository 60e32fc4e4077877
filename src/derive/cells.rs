//! Reads the SQL of all cells, project by project: a cell may refer to the dataframes of the project's others.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::RecordBatch;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::connections::{Naming, namings, text};
use super::names::{TableName, Warehouse};
use super::sql::{Reading, Setting, read};
use super::{Error, FROM_SQL, Inputs};
use crate::schema::{Datum, Row, Table, batch_of, sort_unique};
use crate::snapshot::{self, TableEntry, TableWriter};

/// Rows that are gathered before they are written.
const CHUNK_ROWS: usize = 16_384;
/// Bytes of SQL that are read together.
const CHUNK_BYTES: usize = 1 << 20;

/// A SQL cell.
struct Cell {
    static_id: String,
    connection: Option<String>,
    source: String,
    output: Option<String>,
}

/// A project's SQL cells.
struct Project {
    id: String,
    cells: Vec<Cell>,
}

/// Writes the tables that come from the cells' SQL.
///
/// # Errors
/// If the cells can't be read or the tables can't be written.
pub fn read_cells(
    inputs: &Inputs<'_>,
    create: impl Fn(&'static Table) -> Result<TableWriter, snapshot::Error>,
) -> Result<Vec<(&'static Table, TableEntry)>, Error> {
    let namings = namings(inputs)?;
    let mut sinks = Vec::new();
    for table in FROM_SQL {
        sinks.push(Sink { table, writer: create(table)?, rows: Vec::new() });
    }
    let mut waiting: Vec<Project> = Vec::new();
    let mut bytes = 0;
    let table = &crate::tables::CELLS;
    for batch in inputs.read(table)? {
        let batch = batch?;
        for i in 0..batch.num_rows() {
            let Some((project, cell)) = cell(&batch, i) else { continue };
            if waiting.last().is_none_or(|last| last.id != project) {
                if bytes > CHUNK_BYTES {
                    write(inputs, &namings, &waiting, &mut sinks)?;
                    waiting.clear();
                    bytes = 0;
                }
                waiting.push(Project { id: project.to_owned(), cells: Vec::new() });
            }
            bytes += cell.source.len();
            waiting.last_mut().expect("pushed above").cells.push(cell);
        }
    }
    write(inputs, &namings, &waiting, &mut sinks)?;
    let finish = |mut sink: Sink| -> Result<_, Error> {
        sink.flush()?;
        Ok((sink.table, sink.writer.finish()?))
    };
    sinks.into_iter().map(finish).collect()
}

fn cell(batch: &RecordBatch, row: usize) -> Option<(&str, Cell)> {
    if text(batch, "cell_type", row) != Some("SQL") {
        return None;
    }
    let owned = |name: &str| text(batch, name, row).map(str::to_owned);
    let cell = Cell {
        static_id: owned("static_id")?,
        connection: owned("data_connection_id"),
        source: owned("source").unwrap_or_default(),
        output: owned("output_dataframe"),
    };
    Some((text(batch, "project_id", row)?, cell))
}

struct Sink {
    table: &'static Table,
    writer: TableWriter,
    rows: Vec<Row>,
}

impl Sink {
    fn flush(&mut self) -> Result<(), Error> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let schema = self.table.schema();
        let batch = batch_of(self.table, rows).and_then(|batch| sort_unique(self.table, &schema, &[batch]));
        let batch =
            batch.map_err(|e| snapshot::Error::Table { table: self.table.name, why: e.to_string() })?;
        Ok(self.writer.write(&batch)?)
    }
}

fn write(
    inputs: &Inputs<'_>,
    namings: &HashMap<String, Naming>,
    projects: &[Project],
    sinks: &mut [Sink],
) -> Result<(), Error> {
    let rows: Vec<[Vec<Row>; 3]> = projects.par_iter().map(|project| rows(project, namings)).collect();
    let at = Datum::time(inputs.snapshot_at);
    for of_project in rows {
        for (sink, new) in sinks.iter_mut().zip(of_project) {
            sink.rows.extend(new.into_iter().map(|mut row| {
                row.extend([at.clone(), at.clone()]);
                row
            }));
            if sink.rows.len() >= CHUNK_ROWS {
                sink.flush()?;
            }
        }
    }
    Ok(())
}

/// A project's rows of the three tables, without their common columns.
fn rows(project: &Project, namings: &HashMap<String, Naming>) -> [Vec<Row>; 3] {
    let outputs = outputs(project);
    let mut frames: HashSet<String> = outputs.keys().cloned().collect();
    let mut sql_cells = Vec::new();
    let mut sql_tables = Vec::new();
    let mut columns: BTreeMap<(&str, TableName, String), i64> = BTreeMap::new();
    for cell in &project.cells {
        let frames_only = Naming { warehouse: Warehouse::DuckDb, ..Naming::unknown() };
        let naming = match &cell.connection {
            None => frames_only,
            Some(id) => namings.get(id).cloned().unwrap_or_else(Naming::unknown),
        };
        // Its own dataframe may be called like the table that it reads.
        let own =
            cell.output.as_ref().map(|name| name.to_lowercase()).filter(|own| outputs.get(own) == Some(&1));
        let own = own.filter(|own| frames.remove(own));
        let setting = Setting {
            warehouse: naming.warehouse,
            defaults: &naming.defaults,
            dataframes: &frames,
            dataframes_only: cell.connection.is_none(),
        };
        let found = read(&cell.source, setting);
        frames.extend(own);
        let (reading, error) = match found {
            Ok(mut reading) => {
                let error = reading.error.take();
                (reading, error)
            }
            Err(error) => (Reading::default(), Some(error)),
        };
        sql_cells.push(cell_row(project, cell, naming.warehouse, &reading, error));
        let Some(connection) = cell.connection.as_deref() else { continue };
        for table in reading.reads.keys() {
            let mut row = vec![Datum::Text(project.id.clone()), Datum::Text(cell.static_id.clone())];
            row.extend([Datum::Text(table.key()), Datum::Text(connection.into())]);
            row.extend(parts(table));
            sql_tables.push(row);
        }
        for (table, column) in reading.columns.into_keys() {
            *columns.entry((connection, table, column)).or_default() += 1;
        }
    }
    let column_row = |((connection, table, column), cells): ((&str, TableName, String), i64)| {
        let mut row =
            vec![Datum::Text(project.id.clone()), Datum::Text(connection.into()), Datum::Text(table.key())];
        row.push(Datum::Text(column));
        row.extend(parts(&table));
        row.push(Datum::Int(cells));
        row
    };
    [sql_cells, sql_tables, columns.into_iter().map(column_row).collect()]
}

/// Names of a project's dataframes, in lower case, with how many cells make each.
fn outputs(project: &Project) -> HashMap<String, usize> {
    let mut outputs = HashMap::new();
    for name in project.cells.iter().filter_map(|cell| cell.output.as_ref()).filter(|name| !name.is_empty()) {
        *outputs.entry(name.to_lowercase()).or_default() += 1;
    }
    outputs
}

fn cell_row(
    project: &Project,
    cell: &Cell,
    warehouse: Warehouse,
    reading: &Reading,
    error: Option<String>,
) -> Row {
    vec![
        Datum::Text(project.id.clone()),
        Datum::Text(cell.static_id.clone()),
        Datum::text(cell.connection.as_deref()),
        Datum::Text(format!("{warehouse:?}").to_lowercase()),
        Datum::Bool(error.is_none()),
        Datum::text(error),
        Datum::Int(reading.reads.len() as i64),
        Datum::Int(reading.unnamed_tables.into()),
        Datum::Int(reading.pending.len() as i64),
        Datum::List(reading.dataframes.iter().map(|name| Datum::Text(name.clone())).collect()),
    ]
}

fn parts(table: &TableName) -> [Datum; 3] {
    [
        Datum::text(table.database.as_deref()),
        Datum::text(table.schema.as_deref()),
        Datum::Text(table.table.clone()),
    ]
}
