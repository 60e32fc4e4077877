//! `cell_lineage`: which cell's result which other cell of its project reads.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::cells::Project;
use super::sql::Reading;
use crate::schema::columns::text;
use crate::schema::{Datum, Origin, Row, Table, itself};

/// One row a cell, a cell that reads its result, and the dataframe between them.
pub static CELL_LINEAGE: Table = Table {
    name: "cell_lineage",
    doc: "Which cell reads which other cell's result within a project: chained SQL, and dataframes in code",
    origin: Origin::Derived(&["cells", "data_connections"]),
    key: &["project_id", "from_static_id", "to_static_id", "dataframe"],
    columns: &[
        text("project_id", "", "Project").required(),
        text("from_static_id", "", "Cell that produces the dataframe").required(),
        text("to_static_id", "", "Cell that reads it").required(),
        text("dataframe", "", "Dataframe").required(),
        text(
            "evidence",
            "",
            "sql (the reading cell's SQL was parsed), or scanned (the name occurs in code, or in SQL that was not)",
        )
        .required(),
    ],
    elsewhere: &[],
    explode: itself,
};

/// A dataframe between two cells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    from: String,
    to: String,
    dataframe: String,
    evidence: String,
}

impl Edge {
    /// Its row, without the common columns.
    pub fn row(self, project: &str) -> Row {
        [project.to_owned(), self.from, self.to, self.dataframe, self.evidence].map(Datum::Text).into()
    }
}

/// The edges between a project's cells. `readings` are those of its SQL cells, by cell.
pub fn edges(project: &Project, readings: &HashMap<&str, &Reading>) -> BTreeSet<Edge> {
    // Cells that make a dataframe, by its name in lower case.
    let mut makers: HashMap<String, Vec<(&str, &str)>> = HashMap::new();
    let codes: Vec<(&str, Code<'_>)> = project
        .cells
        .iter()
        .filter(|cell| !cell.is_sql)
        .map(|cell| (cell.static_id.as_str(), Code::of(&cell.source)))
        .collect();
    for cell in &project.cells {
        if let Some(name) = &cell.output {
            makers.entry(name.to_lowercase()).or_default().push((&cell.static_id, name));
        }
    }
    let by_sql: HashSet<String> = makers.keys().cloned().collect();
    for (cell, code) in &codes {
        for name in &code.assigned {
            makers.entry(name.to_lowercase()).or_default().push((cell, name));
        }
    }
    let mut edges = BTreeSet::new();
    let mut add = |from: &str, to: &str, dataframe: &str, evidence: &str| {
        if from != to {
            let [from, to, dataframe, evidence] = [from, to, dataframe, evidence].map(str::to_owned);
            edges.insert(Edge { from, to, dataframe, evidence });
        }
    };
    for (cell, reading) in readings {
        let evidence = if reading.error.is_none() { "sql" } else { "scanned" };
        for name in &reading.dataframes {
            for (maker, own) in makers.get(&name.to_lowercase()).into_iter().flatten() {
                add(maker, cell, own, evidence);
            }
        }
    }
    for (cell, code) in &codes {
        // Names that no SQL cell makes are Python's own business.
        for name in code.read.iter().filter(|name| by_sql.contains(&name.to_lowercase())) {
            for (maker, own) in &makers[&name.to_lowercase()] {
                // Python minds the case of names.
                if own == name {
                    add(maker, cell, own, "scanned");
                }
            }
        }
    }
    edges
}

/// The names in a cell's code.
#[derive(Debug, Default)]
struct Code<'a> {
    /// Names that it uses, outside texts and comments.
    read: HashSet<&'a str>,
    /// Names that it assigns to at the beginning of a line.
    assigned: HashSet<&'a str>,
}

impl<'a> Code<'a> {
    /// Scans Python. Linear in the size of the code.
    fn of(source: &'a str) -> Self {
        let mut code = Self::default();
        let bytes = source.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b'#' => at = source[at..].find('\n').map_or(bytes.len(), |n| at + n),
                quote @ (b'"' | b'\'') => at = end_of_text(source, at, quote),
                b if b.is_ascii_alphabetic() || b == b'_' || b >= 0x80 => {
                    let is_name = |c: char| c.is_alphanumeric() || c == '_';
                    let end = source[at..].find(|c| !is_name(c)).map_or(bytes.len(), |n| at + n);
                    if end == at {
                        at += source[at..].chars().next().map_or(1, char::len_utf8);
                        continue;
                    }
                    let name = &source[at..end];
                    let starts_line = at == 0 || bytes[at - 1] == b'\n';
                    let rest = source[end..].trim_start_matches([' ', '\t']);
                    let is_assigned = rest.starts_with('=') && !rest.starts_with("==");
                    if at == 0 || bytes[at - 1] != b'.' {
                        match starts_line && is_assigned {
                            true => drop(code.assigned.insert(name)),
                            // `f(name=1)` names a parameter.
                            false if is_assigned => {}
                            false => drop(code.read.insert(name)),
                        }
                    }
                    at = end;
                }
                _ => at += 1,
            }
        }
        code
    }
}

/// Where a Python text that begins here ends.
fn end_of_text(source: &str, at: usize, quote: u8) -> usize {
    let bytes = source.as_bytes();
    let triple = [quote; 3];
    let is_long = bytes[at..].starts_with(&triple);
    let mut at = at + if is_long { 3 } else { 1 };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b if b == quote && !is_long => return at + 1,
            _ if is_long && bytes[at..].starts_with(&triple) => return at + 3,
            b'\n' if !is_long => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_code_are_told_from_texts_comments_and_parameters() {
        let code = Code::of(
            "import pandas as pd\n# sales\nx = sales.merge(costs, on='orders')\nf(prices=1)\n\"\"\"\nrefunds\n\"\"\"\ny == z\n",
        );
        let has = |name: &str| code.read.contains(name);
        assert!(has("sales") && has("costs") && has("y") && has("z"));
        assert!(!has("orders") && !has("refunds") && !has("prices") && !has("x") && !has("merge"));
        assert_eq!(code.assigned, HashSet::from(["x"]));
        for odd in ["'", "\"\"\"", "é = 'é", "\\", "a.b.", "'\\"] {
            Code::of(odd);
        }
    }
}
