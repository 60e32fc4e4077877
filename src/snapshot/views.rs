//! `views.sql`: DuckDB views over a lake.

use std::fmt::Write;

use super::manifest::Manifest;

/// The views over the latest snapshot, and (named `..._history`) over all of them.
///
/// Paths are relative to the lake, so that it can be moved: DuckDB is started in it, or told where it is
/// with `SET file_search_path`.
pub fn sql(manifest: &Manifest) -> String {
    let mut out = String::from(
        "-- Views over this lake for DuckDB. Start duckdb in this folder (duckdb -init views.sql), or name it\n\
         -- first: SET file_search_path = '/path/to/lake';\n",
    );
    for (name, table) in &manifest.tables {
        let Some(file) = table.files.iter().find(|f| f.format == "parquet").or(table.files.first()) else {
            continue;
        };
        let (latest, all) = if file.format == "parquet" {
            (
                format!("read_parquet('snapshot={}/{}')", manifest.snapshot_id, file.path),
                format!(
                    "read_parquet('snapshot=*/{}', union_by_name = true, hive_partitioning = true)",
                    file.path
                ),
            )
        } else {
            (
                format!("read_csv('snapshot={}/{}', header = true)", manifest.snapshot_id, file.path),
                format!(
                    "read_csv('snapshot=*/{}', header = true, union_by_name = true, hive_partitioning = true)",
                    file.path
                ),
            )
        };
        let _ = writeln!(out, "CREATE OR REPLACE VIEW {name} AS SELECT * FROM {latest};");
        let _ = writeln!(out, "CREATE OR REPLACE VIEW {name}_history AS SELECT * FROM {all};");
    }
    out
}
