//! Answers about lineage from a committed snapshot: who reads and writes a table, what a connection or project
//! touches.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::derive::{COLUMN_LINEAGE, LINEAGE};
use crate::snapshot::{Error, Lake, Manifest, TableReader};
use crate::tables::PROJECTS;

/// Subject of a question.
#[derive(Debug, Clone)]
pub enum Question {
    /// Projects that read and write a table: its whole name or the end of it, in any case.
    Table(String),
    /// Projects that use a connection: its name or identifier.
    Connection(String),
    /// Tables that a project reads and writes: its title or identifier.
    Project(String),
}

/// A project that reads or writes a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Edge {
    /// Connection's name, or its identifier if it isn't listed.
    pub connection: String,
    /// Connection's type.
    pub connection_type: Option<String>,
    /// Table's whole name.
    pub table: String,
    /// Project's title.
    pub project: String,
    /// Project's identifier.
    pub project_id: String,
    /// Project's owner.
    pub owner: Option<String>,
    /// `read` or `write`.
    pub direction: String,
    /// Kinds of evidence: `component`, `executed`, `queried`, `scanned`, `sql`.
    pub evidence: Vec<String>,
    /// Titles of the imported components whose cells read or write it.
    pub via_components: Vec<String>,
    /// SQL cells that read or write it.
    pub cells: Option<i64>,
    /// Queries that read or wrote it, by imported query histories.
    pub executions: Option<i64>,
    /// Start of the last of them.
    pub last_executed_at: Option<DateTime<Utc>>,
    /// Whether the project is archived or in the trash.
    pub archived: bool,
    /// Start of the project's last run.
    pub last_run_at: Option<DateTime<Utc>>,
    /// Columns that the SQL of the project and of those components reads.
    pub columns: Vec<String>,
}

impl Edge {
    /// Whether the project reads the table; it writes it otherwise.
    pub fn is_read(&self) -> bool {
        self.direction != "write"
    }

    /// The kinds of evidence as one text.
    pub fn evidence_text(&self) -> String {
        self.evidence.join("+")
    }
}

/// Finds the edges that answer a question; with `column`, those alone whose project reads such a column.
/// `None` if the snapshot has no lineage as Parquet.
///
/// # Errors
/// If the snapshot can't be read.
pub fn find(
    lake: &Lake,
    manifest: &Manifest,
    question: &Question,
    column: Option<&str>,
) -> Result<Option<Vec<Edge>>, Error> {
    let Some(reader) = TableReader::open(lake, manifest, &LINEAGE)? else { return Ok(None) };
    let mut edges: BTreeMap<Key, Edge> = BTreeMap::new();
    // Edges by the use of a table that they rest on: the project's own, or that of a component which it imports.
    let mut rest_on: HashMap<(String, String, String), Vec<Key>> = HashMap::new();
    for batch in reader {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            if matches(question, &batch, row) {
                let id = text(&batch, "data_connection_id", row).unwrap_or_default();
                let edge = edge(&batch, row);
                let key = (edge.project_id.clone(), id.clone(), edge.table.clone(), edge.is_read());
                for user in edge.via_components.iter().chain([&edge.project_id]).filter(|_| edge.is_read()) {
                    let used = (user.clone(), id.clone(), edge.table.clone());
                    rest_on.entry(used).or_default().push(key.clone());
                }
                edges.insert(key, edge);
            }
        }
    }
    if let Some(reader) = TableReader::open(lake, manifest, &COLUMN_LINEAGE)? {
        for batch in reader {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                let [project, connection, table, column] =
                    ["project_id", "data_connection_id", "table_key", "column_name"]
                        .map(|n| text(&batch, n, row).unwrap_or_default());
                for key in rest_on.get(&(project, connection, table)).into_iter().flatten() {
                    let edge = edges.get_mut(key).expect("inserted with its key");
                    if !edge.columns.contains(&column) {
                        edge.columns.push(column.clone());
                    }
                }
            }
        }
    }
    let mut edges: Vec<Edge> = edges.into_values().collect();
    edges.iter_mut().for_each(|edge| edge.columns.sort());
    name_components(lake, manifest, &mut edges)?;
    if let Some(column) = column {
        // All columns of a table are read with `*`, this one among them.
        edges.retain(|edge| edge.columns.iter().any(|c| c.eq_ignore_ascii_case(column) || c == "*"));
    }
    edges.sort();
    Ok(Some(edges))
}

/// A project, connection, table, and whether it is read.
type Key = (String, String, String, bool);

/// Puts the titles of components in the place of their identifiers.
fn name_components(lake: &Lake, manifest: &Manifest, edges: &mut [Edge]) -> Result<(), Error> {
    let ids: HashSet<&String> = edges.iter().flat_map(|edge| &edge.via_components).collect();
    let mut titles: HashMap<String, String> = HashMap::new();
    if !ids.is_empty()
        && let Some(reader) = TableReader::open_columns(lake, manifest, &PROJECTS, &["project_id", "title"])?
    {
        for batch in reader {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                let id = text(&batch, "project_id", row).filter(|id| ids.contains(id));
                let title = text(&batch, "title", row).filter(|title| !title.trim().is_empty());
                titles.extend(id.zip(title));
            }
        }
    }
    for component in edges.iter_mut().flat_map(|edge| &mut edge.via_components) {
        if let Some(title) = titles.get(component) {
            component.clone_from(title);
        }
    }
    edges.iter_mut().for_each(|edge| edge.via_components.sort());
    Ok(())
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let column = batch.column_by_name(column).expect("a column of the table").as_string::<i32>();
    column.is_valid(row).then(|| column.value(row).to_owned())
}

fn matches(question: &Question, batch: &RecordBatch, row: usize) -> bool {
    let is = |column: &str, wanted: &str| {
        text(batch, column, row).is_some_and(|t| t.to_lowercase() == wanted.to_lowercase())
    };
    match question {
        Question::Table(wanted) => {
            let key = text(batch, "table_key", row).unwrap_or_default().to_lowercase();
            let wanted = wanted.to_lowercase();
            key == wanted
                || key.strip_suffix(&wanted).is_some_and(|before| before.ends_with('.'))
                || is("reported_name", &wanted)
        }
        Question::Connection(wanted) => is("connection_name", wanted) || is("data_connection_id", wanted),
        Question::Project(wanted) => is("project_title", wanted) || is("project_id", wanted),
    }
}

fn edge(batch: &RecordBatch, row: usize) -> Edge {
    let text = |name: &str| text(batch, name, row);
    let number = |name: &str| {
        let column = batch.column_by_name(name).expect("a column of the table").as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let time = |name: &str| {
        let column = batch.column_by_name(name).expect("a column of the table");
        let times = column.as_primitive::<TimestampMicrosecondType>();
        times.is_valid(row).then(|| DateTime::from_timestamp_micros(times.value(row))).flatten()
    };
    let list = |name: &str| -> Vec<String> {
        let column = batch.column_by_name(name).expect("a column of the table").as_list::<i32>();
        // What is null in a list may still have a value behind it.
        let value = column.is_valid(row).then(|| column.value(row));
        value.map_or(Vec::new(), |value| {
            value.as_string::<i32>().iter().flatten().map(str::to_owned).collect()
        })
    };
    let archived = batch.column_by_name("is_archived").expect("a column of the table").as_boolean();
    Edge {
        connection: text("connection_name").or_else(|| text("data_connection_id")).unwrap_or_default(),
        connection_type: text("connection_type"),
        table: text("table_key").unwrap_or_default(),
        project: text("project_title").unwrap_or_default(),
        project_id: text("project_id").unwrap_or_default(),
        owner: text("owner_email"),
        direction: text("direction").unwrap_or_default(),
        evidence: list("evidence"),
        via_components: list("via_component_ids"),
        cells: number("cells"),
        executions: number("executions"),
        last_executed_at: time("last_executed_at"),
        archived: archived.is_valid(row) && archived.value(row),
        last_run_at: time("last_run_at"),
        columns: Vec::new(),
    }
}

/// The edges as a Mermaid flow chart: from tables to the projects that read them, and from projects to the tables
/// that they write.
pub fn mermaid(edges: &[Edge]) -> String {
    let mut out = String::from("flowchart LR\n");
    let label = |text: &str| {
        let escaped = text.chars().flat_map(|c| match c {
            '"' | '<' | '>' | '&' | '#' | '\\' | '`' => {
                format!("#{};", u32::from(c)).chars().collect::<Vec<_>>()
            }
            c if c.is_control() => vec![' '],
            c => vec![c],
        });
        escaped.collect::<String>()
    };
    let tables: BTreeSet<(&str, &str)> =
        edges.iter().map(|e| (e.connection.as_str(), e.table.as_str())).collect();
    let projects: BTreeSet<(&str, &str)> =
        edges.iter().map(|e| (e.project_id.as_str(), e.project.as_str())).collect();
    let place =
        |of: &BTreeSet<(&str, &str)>, key: (&str, &str)| of.iter().position(|k| *k == key).unwrap_or(0);
    for (i, (connection, table)) in tables.iter().enumerate() {
        out += &format!("  t{i}[(\"{}<br/>{}\")]\n", label(table), label(connection));
    }
    for (i, (_, title)) in projects.iter().enumerate() {
        out += &format!("  p{i}[\"{}\"]\n", label(title));
    }
    for edge in edges {
        let (t, p) = (
            place(&tables, (&edge.connection, &edge.table)),
            place(&projects, (&edge.project_id, &edge.project)),
        );
        let evidence = edge.evidence_text();
        out += &match edge.is_read() {
            true => format!("  t{t} -->|{evidence}| p{p}\n"),
            false => format!("  p{p} -->|{evidence}| t{t}\n"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_can_not_leave_its_label() {
        let edge = Edge {
            connection: "C".into(),
            connection_type: None,
            table: "a.b".into(),
            project: "\"] --> x[\"<script>".into(),
            project_id: "1".into(),
            owner: None,
            direction: "read".into(),
            evidence: vec!["sql".into()],
            via_components: Vec::new(),
            cells: None,
            executions: None,
            last_executed_at: None,
            archived: false,
            last_run_at: None,
            columns: Vec::new(),
        };
        let chart = mermaid(&[edge]);
        assert!(chart.contains("p0[\"#34;] --#62; x[#34;#60;script#62;\"]"), "{chart}");
        assert!(chart.ends_with("  t0 -->|sql| p0\n"));
    }
}
