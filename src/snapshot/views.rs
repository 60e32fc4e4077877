//! DuckDB views over a lake: `views.sql`, `history.sql`, and those that `hexport query` makes for itself.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::file::reader::SerializedFileReader;

use super::lake::{PREFIX, file_name};
use super::manifest::{FileEntry, Manifest, TableEntry};
use super::{Error, Flaw, Lake};
use crate::store::scratch;

/// Instructions for using the files of a local lake.
pub(super) const LOCAL: &str = "Start duckdb in this folder (duckdb -init views.sql), or name it first:\n-- SET file_search_path = '/path/to/lake';";
/// Instructions for using the files of a lake in an object store.
pub(super) const CLOUD: &str = "DuckDB needs a secret for the store first: CREATE SECRET (TYPE s3,\n\
     -- PROVIDER credential_chain); of Google's store TYPE gcs, of Azure's TYPE azure.";

/// Views to be run in a folder.
#[derive(Debug)]
pub struct Views {
    /// Where they are to be run: their paths are relative to it.
    pub folder: PathBuf,
    /// The statements.
    pub sql: String,
    /// Tables that have no view, and why.
    pub left_out: Vec<String>,
    /// Holds links to what was fetched from an object store.
    _scratch: Option<tempfile::TempDir>,
}

/// The views of `views.sql`: the newest of each table. `base` comes before each path: nothing, or the lake's URL with
/// a slash at its end. Without a base paths are relative to the lake, so that it can be moved.
pub fn newest(manifest: &Manifest, all: &[Manifest], base: &str, note: &str) -> String {
    let mut out = format!("-- The newest of each table of this lake, for DuckDB. {note}\n");
    out.push_str(
        "-- Views over all snapshots (named ..._history) are in history.sql: making them opens every file.\n",
    );
    for (name, table) in &manifest.tables {
        let Some(file) = preferred(table) else { continue };
        // What each snapshot holds a part of is united.
        let from = match is_split(name) {
            true => Parts::of(name, all, base).from(""),
            false => {
                let path = quoted(&format!("{base}{}", file_name(manifest, file)));
                scan(&file.format, &path, &table.columns, "")
            }
        };
        view(&mut out, name, &table.doc, &format!("SELECT {} FROM {from}", columns(name)));
    }
    out
}

/// The views of `history.sql`: each table in all snapshots.
pub fn history(manifests: &[Manifest], base: &str, note: &str) -> String {
    let mut out = format!("-- Each table of this lake in all snapshots, for DuckDB. {note}\n");
    for (name, table) in of_history(manifests) {
        past(&mut out, name, table, &Parts::of(name, manifests, base));
    }
    out
}

/// The files of a table in several snapshots. Those of one form are read at once: all Parquet files, and CSV files
/// with the same columns.
#[derive(Debug, Default)]
struct Parts<'a> {
    forms: Vec<Form<'a>>,
}

#[derive(Debug)]
struct Form<'a> {
    format: &'a str,
    columns: &'a [(String, String)],
    paths: Vec<String>,
}

impl<'a> Parts<'a> {
    /// The files of a table in all snapshots.
    fn of(name: &str, manifests: &'a [Manifest], base: &str) -> Self {
        let mut parts = Self::default();
        let mut pattern = String::new();
        for manifest in manifests {
            let Some(table) = manifest.tables.get(name) else { continue };
            let Some(file) = preferred(table) else { continue };
            parts.add(table, file, format!("{base}{}", file_name(manifest, file)));
            pattern = format!("{base}{PREFIX}*/");
        }
        // A pattern is short, and finds later snapshots too. One for CSV would find those beside Parquet files.
        let is_alone = parts.forms.len() == 1;
        for form in parts.forms.iter_mut().filter(|form| is_alone || form.format == "parquet") {
            form.paths = vec![format!("{pattern}{name}.{}", form.format)];
        }
        parts
    }

    fn add(&mut self, table: &'a TableEntry, file: &'a FileEntry, path: String) {
        let columns = if file.format == "parquet" { &[][..] } else { &table.columns };
        match self.forms.iter_mut().find(|form| form.format == file.format && form.columns == columns) {
            Some(form) if form.paths.contains(&path) => {}
            Some(form) => form.paths.push(path),
            None => self.forms.push(Form { format: &file.format, columns, paths: vec![path] }),
        }
    }

    /// What a query takes their rows from.
    fn from(&self, more: &str) -> String {
        let scans: Vec<String> = self
            .forms
            .iter()
            .map(|form| {
                let paths: Vec<String> = form.paths.iter().map(|path| quoted(path)).collect();
                let paths = match &paths[..] {
                    [path] => path.clone(),
                    several => format!("[{}]", several.join(", ")),
                };
                scan(form.format, &paths, form.columns, &format!(", union_by_name = true{more}"))
            })
            .collect();
        match &scans[..] {
            [scan] => scan.clone(),
            several => {
                let selects: Vec<String> =
                    several.iter().map(|scan| format!("SELECT * FROM {scan}")).collect();
                format!("({})", selects.join(" UNION ALL BY NAME "))
            }
        }
    }
}

/// Whether each snapshot holds a part of a table.
fn is_split(name: &str) -> bool {
    crate::tables::is_split(name)
}

/// Each table as the newest snapshot describes it.
fn of_history(manifests: &[Manifest]) -> BTreeMap<&str, &TableEntry> {
    let tables = manifests.iter().flat_map(|manifest| &manifest.tables);
    tables.filter(|(_, table)| !table.files.is_empty()).map(|(name, table)| (name.as_str(), table)).collect()
}

fn past(out: &mut String, name: &str, table: &TableEntry, parts: &Parts<'_>) {
    let from = parts.from(", filename = true");
    // The snapshot is taken from the file's name here: DuckDB would also take columns from folders above the lake.
    let select = format!(
        "SELECT * EXCLUDE (filename), regexp_extract(filename, '{PREFIX}([^/]+)/[^/]+$', 1) AS snapshot FROM {from}"
    );
    view(out, &format!("{name}_history"), &table.doc, &select);
}

/// The file that a table is read from: Parquet, if there is one.
pub fn preferred(table: &TableEntry) -> Option<&FileEntry> {
    table.files.iter().find(|f| f.format == "parquet").or(table.files.first())
}

/// The columns of a view: those of the file, and for lineage the kinds of evidence as one text, whether the file has
/// them as a list (Parquet), as JSON (CSV) or as one text (older snapshots).
fn columns(name: &str) -> &'static str {
    match name {
        "lineage" => {
            "*, regexp_replace(replace(trim(CAST(evidence AS VARCHAR), '[]'), '\"', ''), ', ?', '+', 'g') AS evidence_text"
        }
        _ => "*",
    }
}

fn view(out: &mut String, name: &str, doc: &str, select: &str) {
    let doc = doc.split_whitespace().collect::<Vec<_>>().join(" ");
    if !doc.is_empty() {
        let _ = writeln!(out, "\n-- {doc}");
    }
    let _ = writeln!(out, "CREATE OR REPLACE VIEW {name} AS {select};");
    if !doc.is_empty() {
        let _ = writeln!(out, "COMMENT ON VIEW {name} IS {};", quoted(&doc));
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Reads files, and takes no column from their path.
fn scan(format: &str, paths: &str, columns: &[(String, String)], more: &str) -> String {
    if format == "parquet" {
        return format!("read_parquet({paths}, hive_partitioning = false{more})");
    }
    if columns.is_empty() {
        return format!("read_csv({paths}, header = true, hive_partitioning = false{more})");
    }
    let types: Vec<String> =
        columns.iter().map(|(n, t)| format!("{}: {}", quoted(n), quoted(duck_type(t)))).collect();
    format!(
        "read_csv({paths}, header = true, auto_detect = false, delim = ',', quote = '\"', escape = '\"', \
         hive_partitioning = false, columns = {{{}}}{})",
        types.join(", "),
        more.replace(", union_by_name = true", "")
    )
}

/// DuckDB's name of a column's type in a CSV file; nested values are JSON there.
fn duck_type(name: &str) -> &'static str {
    match name {
        "int64" => "BIGINT",
        "float64" => "DOUBLE",
        "boolean" => "BOOLEAN",
        "date32" => "DATE",
        name if name.starts_with("timestamp") => "TIMESTAMPTZ",
        _ => "VARCHAR",
    }
}

impl Lake {
    /// DuckDB views over the tables of a manifest; over all snapshots, of the tables whose view over them (named
    /// `..._history`) `sql` names. What is damaged is left out.
    ///
    /// # Errors
    /// Those of [`Lake::file`] and [`Lake::manifests`].
    pub fn views(&self, manifest: &Manifest, sql: &str) -> Result<Views, Error> {
        let mut views = match self.store().folder() {
            Some(folder) => {
                let folder = std::path::absolute(folder).map_err(Error::io("can't find", folder))?;
                Views { folder, sql: String::new(), left_out: Vec::new(), _scratch: None }
            }
            None => {
                let scratch = scratch()?;
                let folder = scratch.path().to_owned();
                Views { folder, sql: String::new(), left_out: Vec::new(), _scratch: Some(scratch) }
            }
        };
        for (name, table) in &manifest.tables {
            let Some(file) = preferred(table) else { continue };
            if is_split(name) {
                let manifests = self.manifests()?.readable;
                let parts = self.parts(&mut views, name, &manifests)?;
                if !parts.forms.is_empty() {
                    let select = format!("SELECT * FROM {}", parts.from(""));
                    view(&mut views.sql, name, &table.doc, &select);
                }
                continue;
            }
            match self.linked(&views.folder, manifest, file) {
                Ok(path) => {
                    let from = scan(&file.format, &quoted(&path), &table.columns, "");
                    let select = columns(name);
                    view(&mut views.sql, name, &table.doc, &format!("SELECT {select} FROM {from}"));
                }
                Err(why @ (Error::Store(_) | Error::Locked { .. })) => return Err(why),
                Err(why) => views.leave_out(name, &why),
            }
        }
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let words: Vec<String> = sql.split(|c| !is_part(c)).map(str::to_lowercase).collect();
        let wanted = |name: &str| words.iter().any(|word| word.strip_suffix("_history") == Some(name));
        if !words.iter().any(|word| word.ends_with("_history")) {
            return Ok(views);
        }
        let manifests = self.manifests()?.readable;
        for (name, table) in of_history(&manifests) {
            if !wanted(name) {
                continue;
            }
            let parts = self.parts(&mut views, name, &manifests)?;
            if !parts.forms.is_empty() {
                past(&mut views.sql, name, table, &parts);
            }
        }
        Ok(views)
    }

    /// The files of a table in these snapshots that can be read.
    fn parts<'a>(
        &self,
        views: &mut Views,
        name: &str,
        manifests: &'a [Manifest],
    ) -> Result<Parts<'a>, Error> {
        let mut parts = Parts::default();
        for manifest in manifests {
            let Some(table) = manifest.tables.get(name) else { continue };
            let Some(file) = preferred(table) else { continue };
            match self.linked(&views.folder, manifest, file) {
                Ok(path) => parts.add(table, file, path),
                Err(why @ Error::Store(_)) => return Err(why),
                Err(why) => views.leave_out(&format!("{name} of {}", manifest.snapshot_id), &why),
            }
        }
        Ok(parts)
    }

    /// Path of a file relative to the folder that views are run in, if it can be read.
    fn linked(&self, folder: &Path, manifest: &Manifest, file: &FileEntry) -> Result<String, Error> {
        let (path, name) = (self.file(manifest, file)?, file_name(manifest, file));
        check(&path, file)?;
        if self.store().folder().is_none() {
            let link = folder.join(&name);
            let parent = link.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent).map_err(Error::io("can't create", parent))?;
            let path = std::path::absolute(&path).map_err(Error::io("can't find", &path))?;
            match std::os::unix::fs::symlink(&path, &link) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("can't create", link)(e));
                }
                _ => {}
            }
        }
        Ok(name)
    }
}

impl Views {
    /// Views over Parquet files of a folder that are named after their tables.
    pub fn of_parquet<'a>(folder: &Path, tables: impl Iterator<Item = &'a str>) -> Self {
        let mut sql = String::new();
        for name in tables {
            let from = scan("parquet", &quoted(&format!("{name}.parquet")), &[], "");
            // The files are of today's form.
            let text =
                if name == "lineage" { ", array_to_string(evidence, '+') AS evidence_text" } else { "" };
            view(&mut sql, name, "", &format!("SELECT *{text} FROM {from}"));
        }
        Self { folder: folder.to_owned(), sql, left_out: Vec::new(), _scratch: None }
    }

    /// Replaces the views of these tables by views over the Parquet files of a folder.
    #[must_use]
    pub fn covered_by<'a>(mut self, folder: &Path, tables: impl Iterator<Item = &'a str>) -> Self {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        for name in tables {
            let from =
                scan("parquet", &quoted(&folder.join(format!("{name}.parquet")).to_string_lossy()), &[], "");
            let text =
                if name == "lineage" { ", array_to_string(evidence, '+') AS evidence_text" } else { "" };
            view(&mut self.sql, name, "", &format!("SELECT *{text} FROM {from}"));
        }
        self
    }

    fn leave_out(&mut self, name: &str, why: &Error) {
        let line = format!("{name}: {why}").split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(self.sql, "\n-- left out: {line}");
        self.left_out.push(line);
    }
}

/// Whether a file looks whole: its size, and of Parquet its footer.
fn check(path: &Path, file: &FileEntry) -> Result<(), Error> {
    let opened = File::open(path).map_err(Error::io("can't read", path))?;
    let bytes = opened.metadata().map_err(Error::io("can't read", path))?.len();
    if bytes != file.bytes {
        return Err(Flaw::Size { found: bytes, wanted: file.bytes }.of(path));
    }
    if file.format == "parquet" {
        SerializedFileReader::new(opened).map_err(|e| Flaw::from(e).of(path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_quote_what_they_name_and_take_no_column_from_paths() {
        let mut manifest = Manifest::empty("2026-01-01T000000Z");
        let file = |format: &str| FileEntry {
            path: format!("t.{format}"),
            format: format.into(),
            bytes: 1,
            sha256: String::new(),
            snapshot: None,
        };
        let columns = vec![("a".to_owned(), "int64".to_owned()), ("l".to_owned(), "list<utf8>".to_owned())];
        let table = TableEntry {
            rows: 1,
            doc: "It's a row".into(),
            columns,
            files: vec![file("csv")],
            ..TableEntry::default()
        };
        manifest.tables.insert("t".into(), table.clone());
        let sql = newest(&manifest, &[], "s3://it's/x/", CLOUD);
        assert!(sql.contains("'s3://it''s/x/snapshot=2026-01-01T000000Z/t.csv'"), "{sql}");
        assert!(
            sql.contains("columns = {'a': 'BIGINT', 'l': 'VARCHAR'}") && sql.contains("IS 'It''s a row'"),
            "{sql}"
        );
        let later = Manifest {
            tables: BTreeMap::from([("t".into(), TableEntry { files: vec![file("parquet")], ..table })]),
            ..Manifest::empty("2026-01-02T000000Z")
        };
        let sql = history(&[later, manifest], "", LOCAL);
        assert!(sql.contains("read_parquet('snapshot=*/t.parquet', hive_partitioning = false"), "{sql}");
    }
}
