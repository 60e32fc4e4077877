//! Shared by commands that hand a snapshot to a catalog: the output file, and tables without a name there.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::exit::{Code, Failure};
use super::lakes;

/// Tables that are named on standard error; the rest is counted.
const NAMED: usize = 5;

/// A file that is being written, or standard output.
pub struct Output {
    out: Box<dyn Write>,
    name: String,
}

impl Output {
    /// Writes.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(&mut self, text: fmt::Arguments<'_>) -> Result<(), Failure> {
        self.out.write_fmt(text).map_err(|e| failed(&self.name, &e))
    }
}

fn failed(name: &str, error: &std::io::Error) -> Failure {
    Failure::new(Code::Destination, format!("{name} can't be written: {error}"))
}

/// Lets `write` write a file, or standard output. A file is written beside its place, which it takes once it is whole:
/// whoever reads it never reads half of one.
///
/// # Errors
/// If it can't be written; what `write` gives. A file of that name stays as it was.
pub fn handed_over<T>(
    file: Option<&Path>,
    write: impl FnOnce(&mut Output) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let whole = |out: Box<dyn Write>, name: String| {
        let mut out = Output { out, name };
        let made = write(&mut out)?;
        out.out.flush().map_err(|e| failed(&out.name, &e))?;
        Ok(made)
    };
    let Some(path) = file else {
        return whole(Box::new(BufWriter::new(super::out::stream())), "standard output".into());
    };
    let name = path.display().to_string();
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let out = File::create(&partial).map_err(|e| failed(&name, &e))?;
    let made = whole(Box::new(BufWriter::new(out)), name.clone())
        .and_then(|made| std::fs::rename(&partial, path).map_err(|e| failed(&name, &e)).map(|()| made));
    if made.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    made
}

/// Warns of tables, by their connections, that have no name in a catalog.
pub fn warn_of_unnamed(unnamed: &BTreeSet<(String, String)>, catalog: &str, why: &str) {
    for (connection, table) in unnamed.iter().take(NAMED) {
        lakes::warn(&format!("{table} ({connection}) has no name in {catalog}{why}"));
    }
    if unnamed.len() > NAMED {
        lakes::warn(&format!("{} more tables have no name in {catalog}", unnamed.len() - NAMED));
    }
}
