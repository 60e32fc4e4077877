//! Reads the SQL of all cells, project by project: a cell may refer to the dataframes of the project's others.
//!
//! Cells are read twice over: first their SQL, each alone, then what came of it, with all that the first pass learned
//! of the warehouses' tables. Between the two, readings wait in a file.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, Write};

use arrow::array::RecordBatch;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use super::cell_lineage;
use super::connections::{Naming, namings, text};
use super::names::{TableName, Warehouse};
use super::sql::knowledge::Knowledge;
use super::sql::{ALL_COLUMNS, Evidence, Reading, Resolution, Setting, fingerprint, read};
use super::{Error, FROM_SQL, Inputs};
use crate::schema::{Datum, Row, Table, batch_of, sort_unique};
use crate::snapshot::{self, TableEntry, TableWriter};
use crate::tables::CELLS;

/// Rows that are gathered before they are written.
const CHUNK_ROWS: usize = 16_384;
/// Bytes of SQL that are read together.
const CHUNK_BYTES: usize = 1 << 20;

/// A cell that holds SQL or code.
pub struct Cell {
    /// Its durable identifier.
    pub static_id: String,
    /// Whether it is an SQL cell; code otherwise.
    pub is_sql: bool,
    /// Its data connection; an SQL cell without one queries dataframes.
    pub connection: Option<String>,
    /// Text.
    pub source: String,
    /// Dataframe that holds its result.
    pub output: Option<String>,
}

/// A project's cells.
pub struct Project {
    /// The project.
    pub id: String,
    /// Its SQL and code cells.
    pub cells: Vec<Cell>,
}

/// Readings of a project, held until all others are read too.
#[derive(Serialize, Deserialize)]
struct Waiting {
    project: String,
    cells: Vec<WaitingCell>,
    /// Rows of `cell_lineage`: from, to, dataframe, evidence.
    edges: BTreeSet<cell_lineage::Edge>,
}

#[derive(Serialize, Deserialize)]
struct WaitingCell {
    static_id: String,
    connection: Option<String>,
    connection_type: String,
    reading: Reading,
    /// Whether it reads all columns of a table: schemas that are given name them later.
    reads_all: bool,
    fingerprint: String,
    /// Reason that nothing could be read.
    error: Option<String>,
}

/// Writes the tables that come from the cells' SQL.
///
/// # Errors
/// If the cells can't be read or the tables can't be written.
pub fn read_cells(
    inputs: &Inputs<'_>,
    create: impl Fn(&'static Table) -> Result<TableWriter, snapshot::Error>,
) -> Result<Vec<(&'static Table, TableEntry)>, Error> {
    let path = inputs.path("cells");
    let failed = |source: std::io::Error| snapshot::Error::Io {
        what: "can't keep what was read of",
        path: path.clone(),
        source,
    };
    let mut file = BufWriter::new(tempfile::tempfile_in(inputs.folder).map_err(failed)?);
    let known = read_all(inputs, &mut file)?;
    file.flush().map_err(failed)?;
    let mut file = file.into_inner().map_err(|e| failed(e.into_error()))?;
    file.rewind().map_err(failed)?;
    let mut sinks = Vec::new();
    for table in FROM_SQL {
        sinks.push(Sink { table, writer: create(table)?, rows: Vec::new() });
    }
    let at = Datum::time(inputs.snapshot_at);
    for line in BufReader::new(file).lines() {
        let line = line.map_err(failed)?;
        let waiting: Waiting = serde_json::from_str(&line).map_err(|e| failed(e.into()))?;
        for (sink, new) in sinks.iter_mut().zip(rows(waiting, &known)) {
            sink.rows.extend(new.into_iter().map(|mut row| {
                row.extend([at.clone(), at.clone()]);
                row
            }));
            if sink.rows.len() >= CHUNK_ROWS {
                sink.flush()?;
            }
        }
    }
    let finish = |mut sink: Sink| -> Result<_, Error> {
        sink.flush()?;
        Ok((sink.table, sink.writer.finish()?))
    };
    sinks.into_iter().map(finish).collect()
}

/// The first pass: reads all cells, and gives what it learned of each connection's tables.
fn read_all(inputs: &Inputs<'_>, to: &mut BufWriter<File>) -> Result<HashMap<String, Knowledge>, Error> {
    let namings = namings(inputs)?;
    let mut known: HashMap<String, Knowledge> = HashMap::new();
    let mut waiting: Vec<Project> = Vec::new();
    let mut bytes = 0;
    let table = &CELLS;
    for batch in inputs.read(table)? {
        let batch = batch?;
        for i in 0..batch.num_rows() {
            let Some((project, cell)) = cell(&batch, i) else { continue };
            if waiting.last().is_none_or(|last| last.id != project) {
                if bytes > CHUNK_BYTES {
                    read_some(inputs, &namings, &waiting, &mut known, to)?;
                    waiting.clear();
                    bytes = 0;
                }
                waiting.push(Project { id: project.to_owned(), cells: Vec::new() });
            }
            bytes += cell.source.len();
            waiting.last_mut().expect("pushed above").cells.push(cell);
        }
    }
    read_some(inputs, &namings, &waiting, &mut known, to)?;
    Ok(known)
}

fn cell(batch: &RecordBatch, row: usize) -> Option<(&str, Cell)> {
    let is_sql = match text(batch, "cell_type", row) {
        Some("SQL") => true,
        Some("CODE") => false,
        _ => return None,
    };
    let owned = |name: &str| text(batch, name, row).map(str::to_owned);
    let cell = Cell {
        static_id: owned("static_id")?,
        is_sql,
        connection: owned("data_connection_id"),
        source: owned("source").unwrap_or_default(),
        output: owned("output_dataframe").filter(|name| !name.is_empty()),
    };
    Some((text(batch, "project_id", row)?, cell))
}

fn read_some(
    inputs: &Inputs<'_>,
    namings: &HashMap<String, Naming>,
    projects: &[Project],
    known: &mut HashMap<String, Knowledge>,
    to: &mut BufWriter<File>,
) -> Result<(), Error> {
    let read: Vec<Waiting> = projects.par_iter().map(|project| read_project(project, namings)).collect();
    let failed = |source: std::io::Error| snapshot::Error::Io {
        what: "can't write to",
        path: inputs.folder.into(),
        source,
    };
    for waiting in read {
        for cell in &waiting.cells {
            if let Some(connection) = &cell.connection {
                match known.get_mut(connection) {
                    Some(known) => known.learn(&cell.reading),
                    None => {
                        let new = Knowledge::new(inputs.given.schemas.clone());
                        known.entry(connection.clone()).or_insert(new).learn(&cell.reading);
                    }
                }
            }
        }
        serde_json::to_writer(&mut *to, &waiting).map_err(|e| failed(e.into()))?;
        to.write_all(b"\n").map_err(failed)?;
    }
    Ok(())
}

/// Names of a project's dataframes, in lower case, with how many cells make each.
fn outputs(project: &Project) -> HashMap<String, usize> {
    let mut outputs = HashMap::new();
    for name in project.cells.iter().filter_map(|cell| cell.output.as_ref()) {
        *outputs.entry(name.to_lowercase()).or_default() += 1;
    }
    outputs
}

fn read_project(project: &Project, namings: &HashMap<String, Naming>) -> Waiting {
    let outputs = outputs(project);
    let mut frames: HashSet<String> = outputs.keys().cloned().collect();
    let mut cells: Vec<WaitingCell> = Vec::new();
    for cell in project.cells.iter().filter(|cell| cell.is_sql) {
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
            Ok(reading) => (reading, None),
            Err(error) => (Reading::default(), Some(error)),
        };
        cells.push(WaitingCell {
            static_id: cell.static_id.clone(),
            connection: cell.connection.clone(),
            connection_type: format!("{:?}", naming.warehouse).to_lowercase(),
            reads_all: reading.columns.keys().any(|(_, column)| column == ALL_COLUMNS),
            fingerprint: fingerprint::of(&cell.source, naming.warehouse),
            reading,
            error,
        });
    }
    forget_temporary(&mut cells);
    let readings = cells.iter().map(|cell| (cell.static_id.as_str(), &cell.reading)).collect();
    let edges = cell_lineage::edges(project, &readings);
    Waiting { project: project.id.clone(), cells, edges }
}

/// A temporary table that one cell creates is no table of the warehouse for the others, which share its session. The
/// API doesn't tell the cells' order.
fn forget_temporary(cells: &mut [WaitingCell]) {
    let mut temporary: HashMap<Option<String>, BTreeSet<TableName>> = HashMap::new();
    for cell in cells.iter().filter(|cell| !cell.reading.temporary.is_empty()) {
        temporary.entry(cell.connection.clone()).or_default().extend(cell.reading.temporary.iter().cloned());
    }
    for cell in cells {
        let Some(names) = temporary.get(&cell.connection) else { continue };
        let reading = &mut cell.reading;
        reading.reads.retain(|table, _| !names.contains(table));
        reading.writes.retain(|table, _| !names.contains(table));
        reading.columns.retain(|(table, _), _| !names.contains(table));
    }
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
        let batch = batch.map_err(snapshot::Error::of_table(self.table))?;
        Ok(self.writer.write(&batch)?)
    }
}

/// A project's rows of the tables of [`FROM_SQL`], without their common columns.
fn rows(waiting: Waiting, known: &HashMap<String, Knowledge>) -> [Vec<Row>; 5] {
    let project = waiting.project;
    let (mut sql_cells, mut sql_tables, mut sql_columns) = (Vec::new(), Vec::new(), Vec::new());
    let mut columns: BTreeMap<(String, TableName, String), (i64, Resolution)> = BTreeMap::new();
    for mut cell in waiting.cells {
        let knowledge = cell.connection.as_ref().and_then(|connection| known.get(connection));
        let open =
            knowledge.map_or(cell.reading.pending.len() as u32, |known| known.complete(&mut cell.reading));
        sql_cells.push(cell_row(&project, &cell, open));
        let Some(connection) = cell.connection else { continue };
        let reading = cell.reading;
        let start = |connection: &str| -> Row {
            vec![
                Datum::Text(project.clone()),
                Datum::Text(cell.static_id.clone()),
                Datum::Text(connection.to_owned()),
            ]
        };
        let reads = reading.reads.iter().map(|(table, evidence)| (table, evidence, READ));
        let writes = reading.writes.iter().map(|(table, evidence)| (table, evidence, WRITE));
        for (table, evidence, direction) in reads.chain(writes) {
            let mut row = start(&connection);
            row.extend([Datum::Text(table.key()), Datum::Text(direction.into())]);
            row.push(Datum::Text(evidence.name().into()));
            row.extend(parts(table));
            sql_tables.push(row);
        }
        for ((table, column), how) in reading.columns {
            let mut row = start(&connection);
            row.extend([
                Datum::Text(table.key()),
                Datum::Text(column.clone()),
                Datum::Text(how.name().into()),
            ]);
            sql_columns.push(row);
            let all = columns.entry((connection.clone(), table, column)).or_insert((0, how));
            *all = (all.0 + 1, all.1.min(how));
        }
    }
    let column_row = |((connection, table, column), (cells, how)): (_, (i64, Resolution))| {
        let table: TableName = table;
        let mut row = vec![Datum::Text(project.clone()), Datum::Text(connection), Datum::Text(table.key())];
        row.push(Datum::Text(column));
        row.extend(parts(&table));
        row.extend([Datum::Text(how.name().into()), Datum::Int(cells)]);
        row
    };
    let column_lineage = columns.into_iter().map(column_row).collect();
    let edges = waiting.edges.into_iter().map(|edge| edge.row(&project)).collect();
    [sql_cells, sql_tables, sql_columns, column_lineage, edges]
}

/// Direction of a table that is read.
pub(super) const READ: &str = "read";
/// Direction of a table that is written.
pub(super) const WRITE: &str = "write";

fn cell_row(project: &str, cell: &WaitingCell, unresolved: u32) -> Row {
    let reading = &cell.reading;
    let scanned = |tables: &BTreeMap<TableName, Evidence>| tables.values().any(|e| *e == Evidence::Scanned);
    let error = cell.error.as_deref().or(reading.error.as_deref());
    vec![
        Datum::Text(project.to_owned()),
        Datum::Text(cell.static_id.clone()),
        Datum::text(cell.connection.as_deref()),
        Datum::Text(cell.connection_type.clone()),
        Datum::Bool(error.is_none()),
        Datum::Bool(cell.error.is_none() && (reading.error.is_some() || scanned(&reading.reads))),
        Datum::text(error),
        Datum::Int(reading.reads.len() as i64),
        Datum::Int(reading.writes.len() as i64),
        Datum::Int(reading.unnamed_tables.into()),
        Datum::Int(reading.files.into()),
        Datum::Int(unresolved.into()),
        Datum::List(reading.dataframes.iter().map(|name| Datum::Text(name.clone())).collect()),
        Datum::Int(reading.renderings.into()),
        Datum::text(reading.template_error.as_deref()),
        Datum::List(reading.kinds.iter().map(|kind| Datum::Text(kind.clone())).collect()),
        Datum::Bool(cell.reads_all),
        Datum::Text(cell.fingerprint.clone()),
    ]
}

fn parts(table: &TableName) -> [Datum; 3] {
    [
        Datum::text(table.database.as_deref()),
        Datum::text(table.schema.as_deref()),
        Datum::Text(table.table.clone()),
    ]
}
