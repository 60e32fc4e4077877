//! `hexport query`: the library of DuckDB queries, and any other, over a lake.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::exit::{Code, Failure};
use super::render;
use super::settings::StoreArgs;
use crate::registry;
use crate::schema::Table;
use crate::snapshot::Manifest;
use crate::store::scratch;

/// The prepared queries of `queries/`.
pub const LIBRARY: &[(&str, &str)] = &[
    ("changes_since_last_snapshot", include_str!("../../queries/changes_since_last_snapshot.sql")),
    ("cost_by_project", include_str!("../../queries/cost_by_project.sql")),
    ("costly_unviewed_schedules", include_str!("../../queries/costly_unviewed_schedules.sql")),
    ("executed_beyond_sql", include_str!("../../queries/executed_beyond_sql.sql")),
    ("failing_since_edit", include_str!("../../queries/failing_since_edit.sql")),
    ("flakiest_projects", include_str!("../../queries/flakiest_projects.sql")),
    ("lineage_edges", include_str!("../../queries/lineage_edges.sql")),
    ("owners_who_left", include_str!("../../queries/owners_who_left.sql")),
    (
        "public_projects_reading_sensitive_schemas",
        include_str!("../../queries/public_projects_reading_sensitive_schemas.sql"),
    ),
    ("run_time_trend", include_str!("../../queries/run_time_trend.sql")),
    ("same_query_in_many_projects", include_str!("../../queries/same_query_in_many_projects.sql")),
    ("slowest_projects", include_str!("../../queries/slowest_projects.sql")),
    ("unused_published_projects", include_str!("../../queries/unused_published_projects.sql")),
    ("unviewed_schedules", include_str!("../../queries/unviewed_schedules.sql")),
    ("what_breaks_without_connection", include_str!("../../queries/what_breaks_without_connection.sql")),
    ("who_reads_table", include_str!("../../queries/who_reads_table.sql")),
];

/// Arguments of `hexport query`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Name of a prepared query, or SQL; without it, the prepared queries are listed
    #[arg(value_name = "NAME|SQL", requires = "dest")]
    query: Option<String>,
    /// Set a variable of the query, such as table_name=orders
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    set: Vec<(String, String)>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    Table,
    /// A JSON array.
    Json,
    /// CSV.
    Csv,
    /// Markdown.
    Markdown,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let fits = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match text.split_once('=') {
        Some((name, value)) if fits(name) => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a variable is name=value".into()),
    }
}

/// Runs a query with the `duckdb` command, or says how.
///
/// # Errors
/// If there is no lake or no `duckdb` command, or the query fails.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let (Some(dest), Some(query)) = (&args.dest, &args.query) else {
        list();
        return Ok(Code::Complete);
    };
    let sql = match LIBRARY.iter().find(|(name, _)| name == query) {
        Some((_, sql)) => (*sql).to_owned(),
        None if query.contains(char::is_whitespace) => query.clone(),
        None => {
            let names: Vec<&str> = LIBRARY.iter().map(|(name, _)| *name).collect();
            return Err(Failure::new(Code::Usage, format!("there is no query '{query}'"))
                .next(format!("There are {}; or give SQL.", names.join(", "))));
        }
    };
    let lake = args.store.open(dest)?;
    let manifest = super::lakes::newest(&lake, None)?;
    let views = lake.views(&manifest, &sql)?;
    for line in &views.left_out {
        super::lakes::warn(&format!("no view of {line}"));
    }
    let scratch = scratch().map_err(crate::snapshot::Error::from)?;
    let script = scratch.path().join("views.sql");
    std::fs::write(&script, &views.sql).map_err(|e| {
        Failure::new(Code::Usage, format!("the views can't be written to {}: {e}", script.display()))
    })?;
    let sets: Vec<String> = args
        .set
        .iter()
        .map(|(name, value)| format!("SET VARIABLE {name} = '{}';", value.replace('\'', "''")))
        .collect();
    let mode = match args.output {
        Form::Table => ["-box", "-nullvalue", "NULL"],
        Form::Json => ["-json", "-nullvalue", "null"],
        Form::Csv => ["-csv", "-nullvalue", ""],
        Form::Markdown => ["-markdown", "-nullvalue", ""],
    };
    let mut duckdb = Command::new("duckdb");
    duckdb
        .current_dir(&views.folder)
        .args(["-no-init", "-bail", "-cmd", &format!(".read '{}'", script.display())])
        .args(mode)
        .stdin(Stdio::null());
    for set in &sets {
        duckdb.args(["-cmd", set]);
    }
    match duckdb.args(["-c", &sql]).status() {
        Ok(status) if status.success() => Ok(Code::Complete),
        Ok(status) => {
            let lacks = lacking(&manifest, &sql).unwrap_or_else(|| "Its message is above.".into());
            Err(Failure::new(Code::Usage, format!("duckdb ended with {status}")).next(lacks))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            println!("{}\n{sql}", sets.join("\n"));
            Err(Failure::new(
                Code::Usage,
                "the duckdb command is not installed, so the query was printed and not run",
            )
            .next(format!(
                "Install DuckDB (https://duckdb.org, or pip install duckdb-cli), or run it in any DuckDB: \
                     cd {} && .read views.sql, then what was printed.",
                dest.display()
            )))
        }
        Err(e) => Err(Failure::new(Code::Usage, format!("duckdb can't be started: {e}"))),
    }
}

/// Tables that a query names and the lake doesn't have, which may be why it fails.
fn lacking(manifest: &Manifest, sql: &str) -> Option<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let words: HashSet<&str> = sql.split(|c| !is_part(c)).collect();
    let is_named = |table: &Table| {
        words.contains(table.name) || words.iter().any(|w| w.strip_suffix("_history") == Some(table.name))
    };
    let is_there = |table: &Table| manifest.tables.get(table.name).is_some_and(|t| !t.files.is_empty());
    let lacking = registry::all().filter(|table| is_named(table) && !is_there(table));
    let said: Vec<String> = lacking
        .map(|table| match registry::is_of_history(table) {
            true => format!("{} comes with a query history: hexport import query-history.", table.name),
            false => format!("No snapshot holds {}: an export of all tables does.", table.name),
        })
        .collect();
    (!said.is_empty()).then(|| said.join(" "))
}

fn list() {
    let mut table = render::table(&["Query", "Question"], &[]);
    for (name, sql) in LIBRARY {
        let question = sql.lines().next().unwrap_or("").trim_start_matches("-- ");
        table.add_row([*name, question]);
    }
    println!("{table}\n\nRun one: hexport query DEST NAME, with --set NAME=VALUE for what its header names");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_what_the_folder_holds() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("queries");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "sql"))
            .map(|e| e.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        assert_eq!(files, LIBRARY.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, sql) in LIBRARY {
            assert!(sql.starts_with("-- ") && sql.contains("\n-- Columns: "), "{name} has no header");
        }
    }
}
