//! How much of others' SQL is read for lineage, how rightly, and how fast, dialect by dialect. The corpus is that of
//! sqlglot's own tests, with the tables that sqlglot reads in them; benches/sql_corpus.py makes it, and its head says
//! how. `HEXPORT_SQL_CORPUS` names its file; with `HEXPORT_SQL_FAULTS=1` differences are printed too.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use hexport::derive::names::{Defaults, TableName, Warehouse};
use hexport::derive::sql::{Evidence, Setting, causes, read};

#[derive(serde::Deserialize)]
struct Statement {
    connection_type: String,
    sql: String,
    reads: BTreeSet<String>,
}

/// How well tables were found.
#[derive(Debug, Default, Clone, Copy)]
struct Score {
    found: usize,
    right: usize,
    all: usize,
}

impl Score {
    fn add(&mut self, found: &BTreeSet<String>, expected: &BTreeSet<String>) {
        self.found += found.len();
        self.right += found.intersection(expected).count();
        self.all += expected.len();
    }

    fn text(self) -> String {
        let share = |of: usize| self.right as f64 / of.max(1) as f64;
        format!("precision {:.3}, recall {:.3} of {} tables", share(self.found), share(self.all), self.all)
    }
}

#[derive(Debug, Default)]
struct Tally {
    statements: usize,
    parsed: usize,
    scanned: usize,
    errors: Vec<String>,
    time: Duration,
    by_parser: Score,
    by_scan: Score,
}

impl Tally {
    fn add(&mut self, statement: &Statement, shows_faults: bool) {
        let (defaults, dataframes) = (Defaults::default(), HashSet::new());
        let warehouse = Warehouse::of_type(&statement.connection_type);
        let setting =
            Setting { warehouse, defaults: &defaults, dataframes: &dataframes, dataframes_only: false };
        let started = Instant::now();
        let result = read(&statement.sql, setting);
        self.time += started.elapsed();
        self.statements += 1;
        let found = match &result {
            Ok(reading) => reading.reads.keys().map(plain).collect(),
            Err(_) => BTreeSet::new(),
        };
        let kind = match &result {
            Ok(reading) if reading.is_parsed() => {
                self.parsed += 1;
                self.by_parser.add(&found, &statement.reads);
                "parsed"
            }
            Ok(_) => {
                self.scanned += 1;
                self.by_scan.add(&found, &statement.reads);
                "scanned"
            }
            Err(error) => {
                self.errors.push(error.clone());
                "failed"
            }
        };
        if shows_faults && (found != statement.reads || kind == "failed") {
            println!(
                "{kind} {}: {}\n    {found:?}, not {:?}",
                statement.connection_type, statement.sql, statement.reads
            );
        }
    }

    fn merge(&mut self, other: &Self) {
        self.statements += other.statements;
        self.parsed += other.parsed;
        self.scanned += other.scanned;
        self.errors.extend(other.errors.iter().cloned());
        self.time += other.time;
        for (own, new) in [(&mut self.by_parser, other.by_parser), (&mut self.by_scan, other.by_scan)] {
            own.found += new.found;
            own.right += new.right;
            own.all += new.all;
        }
    }

    fn print(&self, name: &str) {
        let share = |n: usize| n as f64 / self.statements.max(1) as f64 * 100.0;
        let micros = self.time.as_secs_f64() * 1e6 / self.statements.max(1) as f64;
        println!(
            "{name:<11} {:5} statements: {:5.1} % parsed, {:4.1} % scanned, {:4.1} % failed, {micros:.0} us each",
            self.statements,
            share(self.parsed),
            share(self.scanned),
            share(self.errors.len()),
        );
        println!("            parsed: {}; scanned: {}", self.by_parser.text(), self.by_scan.text());
    }
}

/// A table's name without quotes, in lower case.
fn plain(table: &TableName) -> String {
    let parts = [table.database.as_ref(), table.schema.as_ref(), Some(&table.table)];
    parts.into_iter().flatten().map(|part| part.to_lowercase()).collect::<Vec<_>>().join(".")
}

fn main() {
    let Some(path) = std::env::var_os("HEXPORT_SQL_CORPUS") else {
        println!(
            "HEXPORT_SQL_CORPUS is not set: the head of benches/sql_corpus.py says how to make a corpus"
        );
        return;
    };
    let shows_faults = std::env::var_os("HEXPORT_SQL_FAULTS").is_some();
    let text = std::fs::read_to_string(&path).expect("the corpus can be read");
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for line in text.lines() {
        let statement: Statement = serde_json::from_str(line).expect("a line of the corpus is a statement");
        tallies.entry(statement.connection_type.clone()).or_default().add(&statement, shows_faults);
    }
    let mut all = Tally::default();
    for (name, tally) in &tallies {
        tally.print(name);
        all.merge(tally);
    }
    all.print("all");
    println!("a parsed table is {}, a scanned one {}", Evidence::Sql.name(), Evidence::Scanned.name());
    let mut counts: Vec<_> = causes(all.errors.iter().map(String::as_str)).into_iter().collect();
    counts.sort_by_key(|(cause, count)| (std::cmp::Reverse(*count), *cause));
    for (cause, count) in counts.iter().take(8) {
        println!("    {count:5}  {cause}");
    }
}
