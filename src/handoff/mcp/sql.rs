//! SQL over a snapshot, by the `duckdb` command, in a process that can read and write nothing else.

use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::Error;
use super::personal::{Personal, select};
use crate::registry;
use crate::snapshot::{Lake, Manifest};
use crate::store::scratch;

/// Memory that it may take.
const MEMORY: &str = "2GB";

/// Rows of a query, and whether there are more.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Rows, each an object.
    pub rows: Vec<Value>,
    /// Whether rows beyond the limit were left out.
    pub is_cut: bool,
}

/// A process and those that it starts, which end when this is dropped: the `duckdb` that PyPI has starts the real one,
/// and would leave it at work on a query that nobody waits for.
struct Group(Option<Pid>);

/// Leaders of the groups that are at work.
static AT_WORK: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn at_work() -> MutexGuard<'static, Vec<Pid>> {
    AT_WORK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    /// The group that a process leads.
    fn of(child: &Child) -> Self {
        let leader = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        at_work().extend(leader);
        Self(leader)
    }

    /// The process has ended: its number may be another's soon.
    fn has_ended(&mut self) {
        let ended = self.0.take();
        at_work().retain(|leader| Some(*leader) != ended);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut at_work = at_work();
        // Unless all were ended already.
        if let Some(place) = at_work.iter().position(|leader| Some(*leader) == self.0) {
            let _ = kill_process_group(at_work.swap_remove(place), Signal::KILL);
        }
    }
}

/// Ends all queries that are at work: the process is about to end, and they are in groups of their own.
pub fn end_all() {
    for leader in std::mem::take(&mut *at_work()) {
        let _ = kill_process_group(leader, Signal::KILL);
    }
}

/// Runs one `SELECT` over the tables that it names. They are copied into the process's memory first, and then the
/// process gives up its access to files and the network.
///
/// # Errors
/// [`Error::NoDuckDb`], [`Error::Sql`], [`Error::Late`]; if the snapshot can't be read.
pub async fn query(
    lake: &Lake,
    manifest: &Manifest,
    sql: &str,
    personal: Personal,
    limit: usize,
    deadline: Duration,
) -> Result<Answer, Error> {
    let failed = |e: std::io::Error| Error::Sql(format!("duckdb can't be run: {e}"));
    let views = lake.views(manifest, "")?;
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let words: std::collections::BTreeSet<String> =
        sql.split(|c| !is_part(c)).map(str::to_lowercase).collect();
    let mut script = views.sql.clone();
    for table in registry::all().filter(|table| manifest.tables.contains_key(table.name)) {
        let name = table.name;
        if !words.contains(name) || views.left_out.iter().any(|left| left.starts_with(name)) {
            continue;
        }
        let columns = match personal {
            Personal::Shown => "*".to_owned(),
            Personal::Hidden => select(table),
        };
        script += &format!("\nCREATE TABLE hexport_{name} AS SELECT {columns} FROM {name};");
        script += &format!("\nDROP VIEW {name};\nALTER TABLE hexport_{name} RENAME TO {name};");
    }
    // Views that nothing names would still show the files' paths.
    script += "\nSET enable_external_access = false;\nSET lock_configuration = true;\n";
    let scratch = scratch().map_err(crate::snapshot::Error::from)?;
    let path = scratch.path().join("tables.sql");
    std::fs::write(&path, script).map_err(failed)?;
    let mut command = Command::new("duckdb");
    let kept =
        ["PATH", "HOME", "TMPDIR"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command
        // What the environment holds, a token perhaps, is none of a query's business.
        .env_clear()
        .envs(kept.collect::<Vec<_>>())
        .current_dir(&views.folder)
        .args(["-no-init", "-bail", "-json"])
        .args(["-cmd", &format!("SET memory_limit = '{MEMORY}';")])
        .args(["-cmd", &format!(".read '{}'", path.display())])
        .args(["-c", &format!("SELECT * FROM query({}) LIMIT {}", literal(sql), limit + 1)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let child = match command.spawn() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Error::NoDuckDb),
        child => child.map_err(failed)?,
    };
    let mut group = Group::of(&child);
    let out = match tokio::time::timeout(deadline, child.wait_with_output()).await {
        Err(_) => return Err(Error::Late(deadline)),
        Ok(out) => out.map_err(failed)?,
    };
    group.has_ended();
    if !out.status.success() {
        return Err(Error::Sql(String::from_utf8_lossy(&out.stderr).trim().to_owned()));
    }
    let text = String::from_utf8_lossy(&out.stdout);
    let mut rows: Vec<Value> = match text.trim() {
        "" => Vec::new(),
        text => serde_json::from_str(text)
            .map_err(|e| Error::Sql(format!("duckdb's answer can't be read: {e}")))?,
    };
    let is_cut = rows.len() > limit;
    rows.truncate(limit);
    Ok(Answer { rows, is_cut })
}

/// A text as a literal on one line. DuckDB's table function `query` takes one `SELECT` and nothing else, and its
/// command line reads no command in a literal.
fn literal(text: &str) -> String {
    let mut out = String::from("E'");
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("''"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\0' => {}
            c => out.push(c),
        }
    }
    out + "'"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_line_that_ends_nowhere_early() {
        assert_eq!(literal("a'b\\'\n.shell x\0"), r"E'a''b\\''\n.shell x'");
    }
}
