//! `views.sql`: DuckDB views over a lake.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use super::manifest::{FileEntry, Manifest, TableEntry};

/// The views over a snapshot, and (named `..._history`) over all of them. `base` comes before each path: nothing,
/// or the lake's URL with a slash at its end.
///
/// Without a base paths are relative to the lake, so that it can be moved: DuckDB is started in it, or told where
/// it is with `SET file_search_path`.
pub fn sql(manifest: &Manifest, base: &str) -> String {
    let mut out = String::from(match base {
        "" => {
            "-- Views over this lake for DuckDB. Start duckdb in this folder (duckdb -init views.sql), or name it\n\
             -- first: SET file_search_path = '/path/to/lake';\n"
        }
        _ => {
            "-- Views over this lake for DuckDB, which needs a secret for the store first: CREATE SECRET (TYPE s3,\n\
             -- PROVIDER credential_chain); of Google's store TYPE gcs, of Azure's TYPE azure.\n"
        }
    });
    for (name, table) in &manifest.tables {
        let Some(file) = preferred(table) else { continue };
        let latest = format!("{base}snapshot={}/{}", manifest.snapshot_id, file.path);
        let all = format!("{base}snapshot=*/{}", file.path);
        view(&mut out, name, &scan(&file.format, &latest, ""));
        view(
            &mut out,
            &format!("{name}_history"),
            &scan(&file.format, &all, ", union_by_name = true, hive_partitioning = true"),
        );
    }
    out
}

/// Views over files wherever they are, by table: path and format.
pub fn of_files(files: &BTreeMap<&str, (PathBuf, &str)>) -> String {
    let mut out = String::new();
    for (name, (path, format)) in files {
        view(&mut out, name, &scan(format, &path.to_string_lossy(), ""));
    }
    out
}

/// The file that a table is read from: Parquet, if there is one.
pub fn preferred(table: &TableEntry) -> Option<&FileEntry> {
    table.files.iter().find(|f| f.format == "parquet").or(table.files.first())
}

fn view(out: &mut String, name: &str, from: &str) {
    let _ = writeln!(out, "CREATE OR REPLACE VIEW {name} AS SELECT * FROM {from};");
}

fn scan(format: &str, path: &str, more: &str) -> String {
    let path = path.replace('\'', "''");
    match format {
        "parquet" => format!("read_parquet('{path}'{more})"),
        _ => format!("read_csv('{path}', header = true{more})"),
    }
}
