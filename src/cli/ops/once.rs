//! Runs that are started once for a key, however often the command that starts them is repeated.
//!
//! A file for each server, project and key says what became of it. It is locked while a start is under way, and
//! written before the start is sent: a start whose answer never came is looked for among the project's runs
//! instead of being sent again.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::cli::exit::{Code, Failure};

/// State of an idempotency key.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// The request's body; another one is another run, and needs another key.
    body: Value,
    /// The project's newest run over the API before the start was sent.
    newest_before: Option<String>,
    /// The answer to the start, once it came.
    answer: Option<Value>,
}

/// A key, held by this process.
#[derive(Debug)]
pub struct Once {
    key: String,
    path: PathBuf,
    file: File,
    state: Option<State>,
}

impl Once {
    /// Takes hold of a key; waits while another process has it.
    ///
    /// # Errors
    /// If the state folder can't be used.
    pub fn open(server: impl std::fmt::Display, project: &str, key: &str) -> Result<Self, Failure> {
        let folder = folder()?;
        let name: String = Sha256::digest(format!("{server}\n{project}\n{key}"))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let path = folder.join(format!("{name}.json"));
        let open = || -> std::io::Result<(File, String)> {
            std::fs::create_dir_all(&folder)?;
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&path)?;
            file.lock()?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok((file, text))
        };
        let (file, text) = open().map_err(|e| unusable(&path, &e))?;
        let state = match text.trim() {
            "" => None,
            text => Some(serde_json::from_str(text).map_err(|e| unusable(&path, &e))?),
        };
        Ok(Self { key: key.to_owned(), path, file, state })
    }

    /// The run that the key started.
    ///
    /// # Errors
    /// If the state holds none although a start was answered.
    pub fn run_id(&self) -> Result<Option<String>, Failure> {
        let Some(answer) = self.state.as_ref().and_then(|state| state.answer.as_ref()) else {
            return Ok(None);
        };
        let id = answer["runId"].as_str().map(str::to_owned);
        id.map(Some).ok_or_else(|| unusable(&self.path, &"it names no run"))
    }

    /// The answer to the start that the key was used for, if there was one.
    ///
    /// # Errors
    /// If the key was used for another request.
    pub fn known(&self, body: &Value) -> Result<Option<Value>, Failure> {
        let Some(state) = &self.state else { return Ok(None) };
        if state.body != *body {
            return Err(Failure::new(
                Code::Usage,
                format!("the key '{}' was used for a run with other inputs or flags", self.key),
            )
            .next("Use another key for another run."));
        }
        Ok(state.answer.clone())
    }

    /// Set if an earlier attempt never saw its answer: the project's newest run before it.
    pub fn unfinished(&self) -> Option<Option<String>> {
        self.state.as_ref().filter(|state| state.answer.is_none()).map(|state| state.newest_before.clone())
    }

    /// Says that a start is about to be sent.
    ///
    /// # Errors
    /// If it can't be written down.
    pub fn begin(&mut self, body: &Value, newest_before: Option<String>) -> Result<(), Failure> {
        self.write(State { body: body.clone(), newest_before, answer: None })
    }

    /// Says what was answered.
    ///
    /// # Errors
    /// If it can't be written down.
    pub fn finish(&mut self, answer: &Value) -> Result<(), Failure> {
        let state = self.state.take().unwrap_or_default();
        self.write(State { answer: Some(answer.clone()), ..state })
    }

    /// Says that nothing was started.
    ///
    /// # Errors
    /// If it can't be written down.
    pub fn forget(&mut self) -> Result<(), Failure> {
        self.state = None;
        self.file.set_len(0).and_then(|()| self.file.sync_all()).map_err(|e| unusable(&self.path, &e))
    }

    fn write(&mut self, state: State) -> Result<(), Failure> {
        let text = serde_json::to_vec(&state).map_err(|e| unusable(&self.path, &e))?;
        let mut write = || {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.set_len(0)?;
            self.file.write_all(&text)?;
            self.file.sync_all()
        };
        write().map_err(|e: std::io::Error| unusable(&self.path, &e))?;
        self.state = Some(state);
        Ok(())
    }
}

fn folder() -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("HEXPORT_STATE_DIR")
        .or_else(|| Some(set("XDG_STATE_HOME")?.join("hexport")))
        .or_else(|| Some(set("HOME")?.join(".local/state/hexport")));
    let folder = folder.ok_or_else(|| {
        Failure::new(Code::Usage, "there is no folder for state").next("Set HEXPORT_STATE_DIR to one.")
    })?;
    Ok(folder.join("runs"))
}

fn unusable(path: &std::path::Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::Destination, format!("the state in {} can't be used: {why}", path.display())).next(
        "Set HEXPORT_STATE_DIR to a folder that this user may write to, or remove the file to start anyway.",
    )
}
