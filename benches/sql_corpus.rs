//! How much real-world SQL can be read for lineage, how fast, and what keeps the rest from it. Reads every
//! `.sql` file below the folder that `HEXPORT_SQL_CORPUS` names; a corpus that isn't ours ships in a package:
//!
//! ```sh
//! pip download --no-deps --no-binary :all: --dest /tmp/corpus sqlglot
//! tar -xzf /tmp/corpus/sqlglot-*.tar.gz -C /tmp/corpus
//! HEXPORT_SQL_CORPUS=/tmp/corpus cargo bench --bench sql_corpus
//! ```

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use hexport::derive::names::{Defaults, Warehouse};
use hexport::derive::sql::{Setting, causes, read};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "sql") {
            found.push(path);
        }
    }
}

/// Queries of a file: ended by semicolons, or one a line where there are none.
fn queries(text: &str) -> Vec<&str> {
    let parts: Vec<&str> =
        if text.contains(";\n") { text.split(";\n").collect() } else { text.lines().collect() };
    let without_comments = |part: &str| {
        let first =
            part.lines().find(|line| !line.trim().is_empty() && !line.trim_start().starts_with(['-', '#']));
        first.unwrap_or("").trim_start().to_uppercase()
    };
    let is_query = |part: &&str| {
        ["SELECT", "WITH", "(SELECT"].iter().any(|word| without_comments(part).starts_with(word))
    };
    parts.into_iter().filter(is_query).collect()
}

fn main() {
    let Some(folder) = std::env::var_os("HEXPORT_SQL_CORPUS") else {
        println!("HEXPORT_SQL_CORPUS is not set: the head of benches/sql_corpus.rs says how to get a corpus");
        return;
    };
    let mut found = Vec::new();
    files(Path::new(&folder), &mut found);
    // Lines that begin with # are the corpus's own notes.
    let without_notes = |text: String| -> String {
        text.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect()
    };
    let texts = found.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    let texts: Vec<String> = texts.map(without_notes).collect();
    let queries: Vec<&str> = texts.iter().flat_map(|text| queries(text)).collect();
    let bytes: usize = queries.iter().map(|q| q.len()).sum();
    println!("{} queries, {bytes} bytes, of {} files", queries.len(), found.len());
    let (defaults, dataframes) = (Defaults::default(), HashSet::new());
    for warehouse in [
        Warehouse::Snowflake,
        Warehouse::BigQuery,
        Warehouse::Postgres,
        Warehouse::Databricks,
        Warehouse::Trino,
    ] {
        let setting =
            Setting { warehouse, defaults: &defaults, dataframes: &dataframes, dataframes_only: false };
        let started = Instant::now();
        let results: Vec<_> = queries.iter().map(|query| read(query, setting)).collect();
        let took = started.elapsed().as_secs_f64();
        let errors: Vec<&String> = results.iter().filter_map(|r| r.as_ref().err()).collect();
        let share = 100.0 - errors.len() as f64 / queries.len().max(1) as f64 * 100.0;
        println!("{warehouse:?}: {share:.1} % read, {:.1} MB/s", bytes as f64 / took / 1e6);
        let mut counts: Vec<_> = causes(errors.iter().map(|e| e.as_str())).into_iter().collect();
        counts.sort_by_key(|(cause, count)| (std::cmp::Reverse(*count), *cause));
        for (cause, count) in counts.iter().take(5) {
            println!("    {count:5}  {cause}");
        }
    }
}
