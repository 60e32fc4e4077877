//! Where a lake is kept: a folder, an object store in a cloud, or memory, behind one trait.
//!
//! Names are relative to the destination, with `/` between their parts. What snapshots, pointers and journals
//! mean is written once, against [`Store`]; a store only knows bytes. Every implementation passes
//! [`suite::conforms`].

mod cloud;
mod local;
mod settings;
#[doc(hidden)]
pub mod suite;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use object_store::ObjectStore;
use url::Url;

pub use cloud::Cloud;
pub use local::Local;
pub use settings::{NameFlaw, Place, place};

/// Errors of a store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder can't be read or written.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// Attempted action.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// An object store refuses, or can't be reached.
    #[error("{what} {place}: {why}")]
    Cloud {
        /// Attempted action.
        what: &'static str,
        /// On what.
        place: String,
        /// The store's message, without signatures.
        why: String,
        /// The error itself.
        #[source]
        source: Box<object_store::Error>,
    },
    /// The destination's name, or a setting of its store, is wrong.
    #[error("can't use {place}: {source}")]
    Name {
        /// The destination, without credentials.
        place: String,
        /// The flaw.
        source: NameFlaw,
    },
}

impl Error {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { what, path, source }
    }
}

/// A file or object as a list gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Name within the destination.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// When it was last written.
    pub written: DateTime<Utc>,
}

/// Files on this machine that become a folder of the store.
#[derive(Debug, Clone, Copy)]
pub struct Folder<'a> {
    /// Where they are.
    pub from: &'a Path,
    /// Their names, without that of the last one.
    pub files: &'a [String],
    /// The file that makes the folder count: it appears no earlier than all others.
    pub last: &'a str,
    /// Name of the folder in the store.
    pub to: &'a str,
    /// Where a store that can't make a whole folder appear at once keeps what isn't all there yet.
    pub via: &'a str,
}

/// Maps the current content to the new one; `None` leaves it as it is.
pub type Change<'a> = dyn Fn(Option<&[u8]>) -> Option<Vec<u8>> + 'a;

/// Bytes by name.
pub trait Store: fmt::Debug + Send + Sync {
    /// The destination as people name it: a path or a URL, without a slash at its end.
    fn name(&self) -> String;

    /// The folder whose files may be opened as they are, if the store is one on this machine.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// Whether several machines may write at once, so that a lock on this one is not enough.
    fn is_shared(&self) -> bool {
        self.folder().is_none()
    }

    /// Checks that it could be written to, as far as can be known without leaving anything behind.
    ///
    /// # Errors
    /// Why it can't.
    fn probe(&self) -> Result<(), Error>;

    /// Names of what is directly in it, sorted. Empty objects that consoles make for folders are left out.
    ///
    /// # Errors
    /// If it can't be listed; not if it isn't there.
    fn top(&self) -> Result<Vec<String>, Error>;

    /// All files whose names begin with these characters, sorted by name.
    ///
    /// # Errors
    /// If it can't be listed; not if it isn't there.
    fn list(&self, prefix: &str) -> Result<Vec<Object>, Error>;

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and can't be read.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error>;

    /// Reads several files.
    ///
    /// # Errors
    /// Those of [`Store::get`].
    fn get_all(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        names.iter().map(|name| self.get(name)).collect()
    }

    /// Writes a file durably, over one that is there: readers see the old one or the new one.
    ///
    /// # Errors
    /// If it can't be written.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error>;

    /// Writes a file if there is none of its name. True if it holds these bytes afterwards: an acknowledgement
    /// that was lost on its way makes no difference.
    ///
    /// # Errors
    /// If it can't be written.
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<bool, Error>;

    /// Changes a file, or makes it: `change` is given what is there, and gives what shall be, or nothing to leave
    /// it. Nobody's change in between is lost, where the store can tell.
    ///
    /// # Errors
    /// If it can't be read or written.
    fn change(&self, name: &str, change: &Change<'_>) -> Result<(), Error>;

    /// Removes files; those that are gone already too.
    ///
    /// # Errors
    /// If one is there and can't be removed.
    fn delete(&self, names: &[String]) -> Result<(), Error>;

    /// Copies files of this machine into the store, durably.
    ///
    /// # Errors
    /// If one can't be read or written.
    fn upload(&self, files: &[(PathBuf, String)]) -> Result<(), Error>;

    /// Copies a file of the store to a path of this machine.
    ///
    /// # Errors
    /// If it isn't there, or can't be read or written.
    fn download(&self, name: &str, to: &Path) -> Result<(), Error>;

    /// Makes a folder of files appear. False if there is one already that counts, and the store can't replace it.
    ///
    /// # Errors
    /// If a file can't be written. What was written counts for nothing then.
    fn publish(&self, folder: Folder<'_>) -> Result<bool, Error>;

    /// Makes a folder disappear: at once for whoever goes by its file `last`. Its files go after that; where they
    /// have to be kept aside until then, it is under the name `via`.
    ///
    /// # Errors
    /// If it can't be removed.
    fn retract(&self, folder: &str, last: &str, via: &str) -> Result<(), Error>;

    /// The store and its place in it, for engines that speak to it themselves.
    ///
    /// # Errors
    /// If it isn't there yet.
    fn engine(&self) -> Result<(Arc<dyn ObjectStore>, Url), Error>;

    /// Brings back what a crash left aside while it was being replaced.
    ///
    /// # Errors
    /// If it can't be brought back.
    fn restore(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Remarks for people, such as a guarantee that this store doesn't give.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A folder for what is needed only for a moment: `TMPDIR`, or where that can't be written to, another place.
///
/// # Errors
/// If no place can be written to.
pub fn scratch() -> Result<tempfile::TempDir, Error> {
    let usual = std::env::temp_dir();
    let first = match tempfile::tempdir() {
        Ok(folder) => return Ok(folder),
        Err(error) => error,
    };
    let others = ["/tmp", "/var/tmp", "/dev/shm", "."];
    let found = others.iter().find_map(|place| tempfile::tempdir_in(place).ok());
    found.ok_or(first).map_err(Error::io("can't write to the folder for temporary files (TMPDIR)", usual))
}
