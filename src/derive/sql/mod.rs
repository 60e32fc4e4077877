//! Reading SQL cells: tables, columns and dataframes that they read and write.
//!
//! A cell goes through four stages, each in a file of its own: [`template`] renders its Jinja, [`parser`] turns the
//! text into statements, [`walk`] reads those, with [`scope`] resolving their columns. [`scanner`] finds the tables
//! of statements that don't parse.

pub mod filter;
pub mod fingerprint;
pub mod knowledge;
pub mod names;
pub mod scanner;
pub mod template;

mod kind;
mod lexer;
mod parser;
mod query;
mod relation;
mod scope;
mod tags;
mod walk;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use names::{Defaults, TableName, Warehouse};
use parser::{Piece, pieces};
use walk::Walk;

/// Stack that reading a query takes at the most, without its operators.
const STACK: usize = 64 << 20;
/// Stack that each operator may take: a chain of them is a tree as deep as the chain is long.
const STACK_PER_OPERATOR: usize = 2 << 10;
/// A query with more operators is not parsed.
const OPERATORS: usize = 200_000;

/// Name in [`Reading::columns`] for all columns of a table.
pub const ALL_COLUMNS: &str = "*";

/// Evidence for a table in a cell's SQL; the better evidence comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Evidence {
    /// The statement was parsed.
    Sql,
    /// The statement could not be parsed: the name follows a keyword that introduces tables.
    Scanned,
}

impl Evidence {
    /// The name that tables use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::Scanned => "scanned",
        }
    }
}

/// Evidence that a column belongs to its table; the surest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Resolution {
    /// The query names the table or its alias.
    Qualified,
    /// It can be of no other table.
    OnlyTable,
    /// Through a subquery or CTE that selects `*`.
    Star,
    /// A schema that a person gave says so.
    Schema,
    /// Other queries of the workspace read it from this table, and from no other that it could be of.
    Learned,
}

impl Resolution {
    /// The name that tables use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qualified => "qualified",
            Self::OnlyTable => "only_table",
            Self::Star => "star",
            Self::Schema => "schema",
            Self::Learned => "learned",
        }
    }
}

/// A column that could be of more than one table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pending {
    /// The column.
    pub column: String,
    /// Tables that it could be of: those of the innermost query first, then those of the queries around it.
    pub levels: Vec<Vec<TableName>>,
    /// Whether it can be of nothing else, such as a dataframe.
    pub is_closed: bool,
}

/// Tables, columns and dataframes that a query reads and writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Warehouse tables that are read.
    #[serde(with = "pairs")]
    pub reads: BTreeMap<TableName, Evidence>,
    /// Warehouse tables that are written.
    #[serde(with = "pairs")]
    pub writes: BTreeMap<TableName, Evidence>,
    /// Columns of the tables that are read; `*` where all are read and the schema isn't known.
    #[serde(with = "pairs")]
    pub columns: BTreeMap<(TableName, String), Resolution>,
    /// Columns that could be of more than one table.
    pub pending: BTreeSet<Pending>,
    /// Dataframes of other cells.
    pub dataframes: BTreeSet<String>,
    /// Temporary tables that are created: other cells of the session may read them.
    pub temporary: BTreeSet<TableName>,
    /// Tables whose name a template fills in, or that isn't one by the warehouse's rules.
    pub unnamed_tables: u32,
    /// Files and stages that are read or written.
    pub files: u32,
    /// Renderings of its template; 1 for SQL without one.
    pub renderings: u32,
    /// Reason that its template could not be rendered unchanged.
    pub template_error: Option<String>,
    /// Kinds of its statements, such as SELECT; of those that parse.
    pub kinds: BTreeSet<String>,
    /// Reason that a statement could not be parsed, if one could not.
    pub error: Option<String>,
}

/// Maps with keys that aren't texts, as lists of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::deserialize(from)?.into_iter().collect())
    }
}

impl Reading {
    /// Adds what another rendering or statement of the same cell reads.
    fn add(&mut self, other: Self) {
        let tables = [(&mut self.reads, other.reads), (&mut self.writes, other.writes)];
        for (own, new) in tables {
            for (table, evidence) in new {
                let known = own.entry(table).or_insert(evidence);
                *known = evidence.min(*known);
            }
        }
        for (column, how) in other.columns {
            let known = self.columns.entry(column).or_insert(how);
            *known = how.min(*known);
        }
        self.pending.extend(other.pending);
        self.dataframes.extend(other.dataframes);
        self.temporary.extend(other.temporary);
        self.kinds.extend(other.kinds);
        self.error = self.error.take().or(other.error);
    }

    /// Whether it says anything of a table.
    fn finds_something(&self) -> bool {
        let found = self.reads.len() + self.writes.len() + self.dataframes.len() + self.temporary.len();
        found > 0 || self.unnamed_tables + self.files > 0
    }

    /// Whether all statements were parsed.
    pub fn is_parsed(&self) -> bool {
        self.error.is_none()
    }
}

/// Parser settings.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Engine that runs the query.
    pub warehouse: Warehouse,
    /// Settings that complete its names.
    pub defaults: &'a Defaults,
    /// Names of the notebook's other dataframes, in lower case.
    pub dataframes: &'a HashSet<String>,
    /// Whether it can read nothing but dataframes.
    pub dataframes_only: bool,
}

/// Reads a query.
///
/// # Errors
/// Why it can't be read, in words: it neither parses, nor does a scan find a table in it.
pub fn read(source: &str, setting: Setting<'_>) -> Result<Reading, String> {
    let rendered = template::render(source);
    let mut whole = Reading::default();
    let mut failed: Option<String> = None;
    for text in &rendered.texts {
        match read_text(text, setting) {
            Ok(reading) => {
                // The same table may be unnamed in each rendering: the most that one has counts.
                whole.unnamed_tables = whole.unnamed_tables.max(reading.unnamed_tables);
                whole.files = whole.files.max(reading.files);
                whole.add(reading);
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    whole.renderings = rendered.texts.len() as u32;
    whole.template_error = rendered.error;
    if !rendered.is_whole {
        // Not all branches were rendered: their tables are looked for in all of the text.
        let text = filter::without_jinja(source, filter::Branches::All);
        let scanned = scanner::scan_text(&text, setting);
        whole.unnamed_tables = whole.unnamed_tables.max(scanned.unnamed_tables);
        whole.add(scanned);
    }
    match failed {
        // Branches that were chosen together needn't be SQL together; what the others read is known.
        Some(error) if !whole.finds_something() => Err(error),
        Some(error) => {
            whole.error = whole.error.or(Some(error));
            Ok(whole)
        }
        None => Ok(whole),
    }
}

/// Reads SQL without a template.
fn read_text(text: &str, setting: Setting<'_>) -> Result<Reading, String> {
    let operators = operators(text);
    if operators > OPERATORS {
        let error = format!("it has {operators} operators, and no more than {OPERATORS} are read");
        return scanned(scanner::scan_text(text, setting), error);
    }
    let stack = STACK + operators * STACK_PER_OPERATOR;
    stacker::maybe_grow(stack / 2, stack, || {
        let mut walk = Walk::new(setting);
        let (mut scans, mut error) = (Reading::default(), None);
        for piece in pieces(text, setting.warehouse) {
            match piece {
                Piece::Parsed(statements) => statements.iter().for_each(|s| walk.statement(s)),
                Piece::Failed(tokens, why) => {
                    let here = Setting { defaults: walk.defaults(), ..setting };
                    let scan = scanner::scan(&tokens, here);
                    if scan.finds_something() {
                        scans.unnamed_tables += scan.unnamed_tables;
                        scans.files += scan.files;
                        walk.remember_temporary(&scan.temporary);
                        scans.add(scan);
                    }
                    error = error.or(Some(why));
                }
            }
        }
        let mut reading = walk.into_reading();
        match error {
            None => Ok(reading),
            Some(why) => {
                let temporary = &reading.temporary;
                scans.reads.retain(|table, _| !temporary.contains(table));
                scans.writes.retain(|table, _| !temporary.contains(table));
                reading.unnamed_tables += scans.unnamed_tables;
                reading.files += scans.files;
                reading.add(scans);
                scanned(reading, why)
            }
        }
    })
}

/// A reading that a scan took part in: an error if it found nothing.
fn scanned(reading: Reading, why: String) -> Result<Reading, String> {
    if reading.finds_something() { Ok(Reading { error: Some(why), ..reading }) } else { Err(why) }
}

/// Operators of a query, or more: what may make its tree deep.
fn operators(source: &str) -> usize {
    let is_word = |word: &str| {
        ["and", "or", "union", "except", "intersect"].iter().any(|w| word.eq_ignore_ascii_case(w))
    };
    let words = source.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_word(word)).count();
    words + source.bytes().filter(|b| b"+-*/|&%<>=:^~.".contains(b)).count()
}

/// Words for what kept a query from being read, for counting: the message without what is particular to it.
pub fn cause(error: &str) -> &str {
    let error = error.strip_prefix("sql parser error: ").unwrap_or(error);
    error.split(", found").next().unwrap_or(error).split(" at Line").next().unwrap_or(error)
}

/// Number of occurrences of each cause.
pub fn causes<'a>(errors: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    let mut counts = HashMap::new();
    errors.for_each(|error| *counts.entry(cause(error)).or_default() += 1);
    counts
}

#[cfg(test)]
mod tests;
