//! The lock of a destination: one process of this machine writes to it at a time.
//!
//! It is the kernel's lock on an open file, and not the existence of the file: a process that dies loses it at once, so
//! the next one simply takes it, and nobody has to judge by a PID or an age whether the holder still lives. The file's
//! content only names the holder to whoever is turned away.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Error, Lake};

/// Name of the lock's file.
pub(super) const LOCK: &str = ".hexport.lock";

/// Holder of the lock.
#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    started: DateTime<Utc>,
}

/// The lock of a destination; free again when dropped, or when the process dies.
#[derive(Debug)]
pub struct LakeLock {
    file: File,
    path: PathBuf,
}

impl Lake {
    /// Makes the destination and takes its lock. What a crash left aside while it was being replaced is put back,
    /// and new files of snapshots in which people were being forgotten are put in their places.
    ///
    /// # Errors
    /// [`Error::Locked`], naming the export that holds it; [`Error::Io`].
    pub fn lock(&self) -> Result<LakeLock, Error> {
        let root = self.root();
        fs::create_dir_all(root).map_err(Error::io("can't create", root))?;
        let path = root.join(LOCK);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(Error::io("can't open", &path))?;
        match file.try_lock() {
            // Whoever held it may have removed the file between our opening and locking it.
            Ok(()) if !is_same_file(&file, &path) => return self.lock(),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                let holder = match serde_json::from_str::<Holder>(&text) {
                    Ok(h) => format!(
                        "process {}, running since {}",
                        h.pid,
                        h.started.format("%Y-%m-%d %H:%M:%S UTC")
                    ),
                    Err(_) => "it has not said who it is".into(),
                };
                return Err(Error::Locked { path: root.to_owned(), holder });
            }
            Err(TryLockError::Error(e)) => {
                return Err(Error::Io { what: "can't lock", path, source: e });
            }
        }
        let holder = Holder { pid: std::process::id(), started: Utc::now() };
        let text = serde_json::to_string(&holder).unwrap_or_default();
        let written = file.set_len(0).and_then(|()| file.write_all(text.as_bytes()));
        written.map_err(Error::io("can't write", &path))?;
        let lock = LakeLock { file, path };
        self.store().restore()?;
        self.remove_unfinished_journals()?;
        self.finish_forgetting()?;
        Ok(lock)
    }

    /// Gives the lock back, and removes empty leftovers: a folder of journals without any, and the destination
    /// itself if nothing is in it.
    pub fn tidy(&self, lock: LakeLock) {
        let _ = fs::remove_dir(self.journal_folder());
        drop(lock);
        let _ = fs::remove_dir(self.root());
    }
}

impl Drop for LakeLock {
    fn drop(&mut self) {
        // Removed while it is still held: who opened it meanwhile finds that the path is not its file's.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

fn is_same_file(file: &File, path: &Path) -> bool {
    let ids = |meta: fs::Metadata| (meta.dev(), meta.ino());
    file.metadata().map(ids).ok() == fs::metadata(path).map(ids).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_first_and_a_dropped_one_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::new(dir.path().join("lake"));
        let first = lake.lock().unwrap();
        let error = lake.lock().unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        lake.lock().unwrap();
    }
}
