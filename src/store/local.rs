//! A folder on this machine, or on a file system that is mounted on it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, Utc};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use url::Url;

use super::{Change, Error, Folder, Object, Store};

/// A folder.
#[derive(Debug, Clone)]
pub struct Local {
    root: PathBuf,
}

/// Swap of two folders; not every file system can do it.
type Exchange = fn(&Path, &Path) -> io::Result<()>;

impl Local {
    /// A folder, which need not be there yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes the folder that a file is in.
    fn make_room(&self, path: &Path) -> Result<(), Error> {
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(Error::io("can't create", folder))
    }

    /// Writes a file under a name that nobody reads, and then gives it its own. What a killed process leaves is in one
    /// folder, which [`Store::restore`] empties; only where a file can't be written there, it is a hidden one beside
    /// the other.
    fn replace(
        &self,
        path: &Path,
        write: &dyn Fn(&Path) -> io::Result<()>,
        name: fn(&Path, &Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut tries = 0;
        loop {
            let staged = self.staged();
            let done = staged.make().and_then(|()| {
                write(&staged.file)?;
                File::open(&staged.file)?.sync_all()?;
                name(&staged.file, path)
            });
            drop(staged);
            match done {
                // Others remove the folder when it is empty, or when they take the lock.
                Err(e) if e.kind() == ErrorKind::NotFound && tries < 5 => tries += 1,
                // A snapshot's folder may be a link to another disk, and the other folder somebody else's.
                Err(e) if matches!(e.kind(), ErrorKind::CrossesDevices | ErrorKind::PermissionDenied) => {
                    let beside = Staged { file: beside(path), folder: None };
                    write(&beside.file)?;
                    File::open(&beside.file)?.sync_all()?;
                    return name(&beside.file, path);
                }
                other => return other,
            }
        }
    }

    fn staged(&self) -> Staged {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let folder = self.path(WRITING);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Staged { file: folder.join(format!("{}-{number}", std::process::id())), folder: Some(folder) }
    }

    fn walk(&self, folder: &Path, name: &str, start: &str, found: &mut Vec<Object>) -> Result<(), Error> {
        for entry in entries(folder)? {
            let own = entry.file_name().to_string_lossy().into_owned();
            if !own.starts_with(start) {
                continue;
            }
            // What is removed meanwhile is no matter.
            let Ok(meta) = fs::metadata(entry.path()) else { continue };
            let name = format!("{name}{own}");
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if meta.is_dir() && !(is_link && name.contains('/')) {
                match self.walk(&entry.path(), &format!("{name}/"), "", found) {
                    Err(Error::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {}
                    other => other?,
                }
            } else if meta.is_file() {
                let written = meta.modified().map_or_else(|_| Utc::now(), DateTime::<Utc>::from);
                found.push(Object { name, bytes: meta.len(), written });
            }
        }
        Ok(())
    }

    fn publish_with(&self, folder: Folder<'_>, exchange: Exchange) -> Result<bool, Error> {
        let target = self.path(folder.to);
        sync_folder(folder.from)?;
        if target.exists() {
            // A folder that is made again: the two change places, so that one of them is always there.
            match exchange(folder.from, &target) {
                Ok(()) => {}
                Err(e) if is_unsupported(&e) => {
                    // NFS and others can't: the old one steps aside, and is back after a crash (see `restore`).
                    let aside = self.path(&format!("{}{}", REPLACED, folder.to));
                    fs::rename(&target, &aside).map_err(Error::io("can't replace", &target))?;
                    if let Err(e) = fs::rename(folder.from, &target) {
                        let _ = fs::rename(&aside, &target);
                        return Err(Error::io("can't replace", target)(e));
                    }
                    sync_folder(&self.root)?;
                    fs::remove_dir_all(&aside).map_err(Error::io("can't remove", aside))?;
                    return Ok(true);
                }
                Err(e) => return Err(Error::io("can't replace", target)(e)),
            }
            fs::remove_dir_all(folder.from).map_err(Error::io("can't remove", folder.from))?;
        } else {
            fs::rename(folder.from, &target).map_err(Error::io("can't commit", target))?;
        }
        sync_folder(&self.root)?;
        Ok(true)
    }
}

/// A file that is being written, and goes with its folder unless it was given another name.
struct Staged {
    file: PathBuf,
    folder: Option<PathBuf>,
}

impl Staged {
    fn make(&self) -> io::Result<()> {
        self.folder.as_ref().map_or(Ok(()), fs::create_dir_all)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Folder of files that are being written.
const WRITING: &str = "_staging-writing";
/// Beginning of the names of folders that are being replaced.
pub(crate) const REPLACED: &str = "_staging-replaced-";

fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>, Error> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect::<io::Result<_>>().map_err(Error::io("can't read", folder)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("can't read", folder)(e)),
    }
}

fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    error.kind() == ErrorKind::Unsupported
        || [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::PERM]
            .iter()
            .any(|errno| code == Some(errno.raw_os_error()))
}

fn sync_folder(path: &Path) -> Result<(), Error> {
    match File::open(path).and_then(|f| f.sync_all()) {
        // Some network file systems have no such thing.
        Err(e) if is_unsupported(&e) => Ok(()),
        other => other.map_err(Error::io("can't sync", path)),
    }
}

/// A name next to a file's that nobody else writes to.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

impl Store for Local {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn probe(&self) -> Result<(), Error> {
        // Found out by making a file that has no name afterwards.
        let try_in = |folder: &Path| tempfile::tempfile_in(folder).map(|_| ());
        match fs::metadata(&self.root) {
            Ok(meta) if !meta.is_dir() => {
                Err(Error::io("can't write to", &self.root)(ErrorKind::NotADirectory.into()))
            }
            Ok(_) => try_in(&self.root).map_err(Error::io("can't write to", &self.root)),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let parent = self.root.ancestors().skip(1).find(|p| p.as_os_str().is_empty() || p.exists());
                let parent = parent.filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                try_in(parent).map_err(Error::io("can't create", &self.root))
            }
            Err(e) => Err(Error::io("can't open", &self.root)(e)),
        }
    }

    fn top(&self) -> Result<Vec<String>, Error> {
        let names = entries(&self.root)?.into_iter().map(|e| e.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        let (folder, start) = prefix.rsplit_once('/').map_or(("", prefix), |(f, s)| (f, s));
        let name = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut found = Vec::new();
        self.walk(&self.path(folder), &name, start, &mut found)?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(Error::io("can't read", path)(e)),
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(name);
        self.make_room(&path)?;
        let rename = |from: &Path, to: &Path| fs::rename(from, to);
        self.replace(&path, &|to| fs::write(to, bytes), rename).map_err(Error::io("can't write", &path))?;
        sync_folder(path.parent().unwrap_or(&self.root))
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<bool, Error> {
        let path = self.path(name);
        self.make_room(&path)?;
        // A link never replaces what is there; where there are no links, a rename that doesn't either.
        let link = |from: &Path, to: &Path| {
            fs::hard_link(from, to).or_else(|e| match is_unsupported(&e) {
                true => {
                    use rustix::fs::{CWD, RenameFlags, renameat_with};
                    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
                }
                false => Err(e),
            })
        };
        match self.replace(&path, &|to| fs::write(to, bytes), link) {
            Ok(()) => sync_folder(path.parent().unwrap_or(&self.root)).map(|()| true),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(self.get(name)?.as_deref() == Some(bytes)),
            Err(e) => Err(Error::io("can't write", path)(e)),
        }
    }

    fn change(&self, name: &str, change: &Change<'_>) -> Result<(), Error> {
        // Whoever writes holds the lock.
        match change(self.get(name)?.as_deref()) {
            Some(bytes) => self.put(name, &bytes),
            None => Ok(()),
        }
    }

    fn delete(&self, names: &[String]) -> Result<(), Error> {
        for name in names {
            let path = self.path(name);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(Error::io("can't remove", path)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn upload(&self, files: &[(PathBuf, String)]) -> Result<(), Error> {
        for (from, name) in files {
            let to = self.path(name);
            self.make_room(&to)?;
            // Opened first: a file that isn't there is not taken for the folder of what is written.
            File::open(from).map_err(Error::io("can't read", from))?;
            let copy = |to: &Path| fs::copy(from, to).map(drop);
            self.replace(&to, &copy, |from, to| fs::rename(from, to))
                .map_err(Error::io("can't write", &to))?;
            sync_folder(to.parent().unwrap_or(&self.root))?;
        }
        Ok(())
    }

    fn download(&self, name: &str, to: &Path) -> Result<(), Error> {
        let from = self.path(name);
        fs::copy(&from, to).map(drop).map_err(Error::io("can't read", from))
    }

    fn publish(&self, folder: Folder<'_>) -> Result<bool, Error> {
        self.publish_with(folder, exchange)
    }

    fn retract(&self, folder: &str, _last: &str, via: &str) -> Result<(), Error> {
        let (from, aside) = (self.path(folder), self.path(via));
        if aside.exists() {
            fs::remove_dir_all(&aside).map_err(Error::io("can't remove", &aside))?;
        }
        fs::rename(&from, &aside).map_err(Error::io("can't remove", from))?;
        sync_folder(&self.root)?;
        fs::remove_dir_all(&aside).map_err(Error::io("can't remove", aside))
    }

    fn restore(&self) -> Result<(), Error> {
        let writing = self.path(WRITING);
        match fs::remove_dir_all(&writing) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("can't remove", writing)(e)),
            _ => {}
        }
        for name in self.top()? {
            let Some(of) = name.strip_prefix(REPLACED) else { continue };
            let (aside, target) = (self.path(&name), self.path(of));
            if target.exists() {
                fs::remove_dir_all(&aside).map_err(Error::io("can't remove", aside))?;
            } else {
                fs::rename(&aside, &target).map_err(Error::io("can't put back", target))?;
            }
        }
        Ok(())
    }

    /// The engine is shown the destination as the root of its own store: no character of a path that a person
    /// chose reaches it.
    fn engine(&self) -> Result<(Arc<dyn ObjectStore>, Url), Error> {
        let wrong = |e: object_store::Error| {
            Error::io("can't open", &self.root)(io::Error::new(ErrorKind::NotFound, e.to_string()))
        };
        let store = LocalFileSystem::new_with_prefix(&self.root).map_err(wrong)?.with_fsync(true);
        // Not `file:`, with which engines look for the path themselves. A name like that of S3's directory buckets
        // says that files are listed in no order.
        Ok((Arc::new(store), Url::parse("s3://folder--x-s3/").expect("a URL")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_conforms() {
        let dir = tempfile::tempdir().unwrap();
        super::super::suite::conforms(&Local::new(dir.path().join("new/lake")));
    }

    #[test]
    fn what_a_killed_write_leaves_is_nowhere_among_the_files_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Local::new(dir.path());
        store.put("snapshot=a/t.parquet", b"old").unwrap();
        // Killed before the file got its name.
        let staged = store.staged();
        staged.make().unwrap();
        fs::write(&staged.file, b"half").unwrap();
        std::mem::forget(staged);
        let names: Vec<String> = store.list("snapshot=").unwrap().into_iter().map(|o| o.name).collect();
        assert_eq!(names, ["snapshot=a/t.parquet"]);
        assert_eq!(store.top().unwrap(), ["_staging-writing", "snapshot=a"]);
        store.restore().unwrap();
        assert_eq!(store.top().unwrap(), ["snapshot=a"]);
    }

    #[test]
    fn writers_do_not_remove_each_others_folder_of_files_that_are_being_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = Local::new(dir.path());
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    (0..100).for_each(|_| store.put(&format!("note-{writer}"), b"text").unwrap());
                });
            }
        });
        assert_eq!(store.top().unwrap(), ["note-0", "note-1", "note-2", "note-3"]);
    }

    #[test]
    fn a_folder_is_replaced_where_names_can_not_be_exchanged() {
        let dir = tempfile::tempdir().unwrap();
        let store = Local::new(dir.path());
        let cannot: Exchange = |_, _| Err(rustix::io::Errno::INVAL.into());
        for text in ["old", "new"] {
            let from = dir.path().join("work");
            fs::create_dir(&from).unwrap();
            fs::write(from.join("m"), text).unwrap();
            let folder = Folder { from: &from, files: &[], last: "m", to: "snapshot=a", via: "_staging/a" };
            assert!(store.publish_with(folder, cannot).unwrap());
        }
        assert_eq!(store.get("snapshot=a/m").unwrap().unwrap(), b"new");
        assert_eq!(store.top().unwrap(), ["snapshot=a"]);
        // A crash while the old one was aside.
        fs::rename(dir.path().join("snapshot=a"), dir.path().join(format!("{REPLACED}snapshot=a"))).unwrap();
        store.restore().unwrap();
        assert_eq!(store.top().unwrap(), ["snapshot=a"]);
    }
}
