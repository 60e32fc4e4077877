//! The journal: an append-only, compressed log of raw responses, and the crawl's only state.
//!
//! A file is a row of frames: `u32` length and `u32` CRC-32 of the payload, little-endian, then the payload:
//! `u32` length of a JSON header, the header, and the body as one zstd frame. Every frame is handed to the
//! operating system in one write before anything is derived from it, so a process that is killed loses at
//! most the responses it had not received. A torn last frame is cut off; damage in the middle is skipped and
//! reported ([`Journal::damage`]), since one bad sector must not cost the answers behind it.
//!
//! A journal is *open* until its snapshot is committed; then a frame says so, and no crawl continues it.
//!
//! A list that is read again in a resumed crawl starts a new *generation*: pages of two generations never mix,
//! and a rebuild uses the newest one that was read to its end.
//!
//! No token and no header of a request ever enters it. Files are made with mode 0600.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::client::operation::{self, Operation};

mod header;
mod id;
pub(crate) mod rewrite;
mod scan;

pub use header::CrawlHeader;
pub use id::{NotASnapshotId, SnapshotId};

/// Ending of journal files.
pub const EXTENSION: &str = "hxj";
/// Version of the form of journals that this version writes.
pub const FORMAT: u32 = 2;
/// First bytes of a journal file; the format's version follows.
const MAGIC: &[u8; 7] = b"HXJRNL\0";
const ZSTD_LEVEL: i32 = 3;

/// Errors of a journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read or written.
    #[error("journal {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The file is not a journal, or one of another version.
    #[error("{} is not a journal of this version of hexport: {source}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Reason.
        source: Strange,
    },
}

/// Reasons for rejecting a file as a journal of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Strange {
    /// Its first bytes are not a journal's.
    #[error("it doesn't begin like one")]
    Magic,
    /// It has the form of another version.
    #[error("it is of format {0}")]
    Format(u32),
    /// Its first record, which says whose crawl it is, is missing or damaged.
    #[error("its first record is damaged")]
    Header,
}

/// A response in short: what it answers, and where in the file it is.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Operation.
    pub operation: &'static Operation,
    /// Project or group of a fan-out request.
    pub entity: Option<Arc<str>>,
    /// HTTP status; 0 if no usable answer came.
    pub status: u16,
    /// Whether the answer was usable: asking again could not change it.
    pub accepted: bool,
    /// Requests that were sent for it.
    pub attempts: u32,
    /// When it was complete.
    pub fetched_at: DateTime<Utc>,
    generation: u32,
    key: u64,
    offset: u64,
    length: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
enum Header {
    Crawl(CrawlHeader),
    Response {
        operation: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entity: Option<String>,
        request: String,
        status: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        accepted: Option<bool>,
        attempts: u32,
        fetched_at: DateTime<Utc>,
        #[serde(default, skip_serializing_if = "is_zero")]
        generation: u32,
    },
    /// A list was read to its end in this generation.
    Whole {
        operation: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entity: Option<String>,
        #[serde(default, skip_serializing_if = "is_zero")]
        generation: u32,
    },
    /// The snapshot is committed.
    Committed {
        at: DateTime<Utc>,
    },
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// One response, as the journal takes it.
#[derive(Debug, Clone, Copy)]
pub struct NewEntry<'a> {
    /// Operation.
    pub operation: &'static Operation,
    /// Project or group of a fan-out request.
    pub entity: Option<&'a Arc<str>>,
    /// The request's key (see [`ApiRequest::key`](crate::client::ApiRequest::key)).
    pub request: &'a str,
    /// HTTP status; 0 if no usable answer came.
    pub status: u16,
    /// Whether the answer was usable: asking again could not change it.
    pub accepted: bool,
    /// Requests that were sent for it.
    pub attempts: u32,
    /// When it was complete.
    pub fetched_at: DateTime<Utc>,
    /// The body.
    pub body: &'a [u8],
}

/// A stretch of a journal file that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A journal, open for reading and appending.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    header: CrawlHeader,
    damage: Vec<Damage>,
    inner: Mutex<Inner>,
    reader: File,
}

/// A list, or what is asked about one group or project.
type Asked = (&'static str, Option<Arc<str>>);

/// The generations of one list.
#[derive(Debug, Default)]
struct Generations {
    /// The one that answers are looked up in and added to.
    current: u32,
    newest: u32,
    whole: BTreeSet<u32>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    end: u64,
    entries: Vec<Entry>,
    by_key: HashMap<u64, usize>,
    generations: HashMap<Asked, Generations>,
    /// Answers that are in the file and no longer known of.
    released: usize,
    committed: Option<DateTime<Utc>>,
    /// Set when a write failed half way and could not be taken back.
    broken: bool,
}

impl Inner {
    fn new(file: File, end: u64) -> Self {
        Self {
            file,
            end,
            entries: Vec::new(),
            by_key: HashMap::new(),
            generations: HashMap::new(),
            released: 0,
            committed: None,
            broken: false,
        }
    }

    fn generation(&self, operation: &'static str, entity: Option<&Arc<str>>) -> u32 {
        self.generations.get(&(operation, entity.cloned())).map_or(0, |g| g.current)
    }

    fn take_in(&mut self, entry: Entry) {
        self.by_key.insert(entry.key, self.entries.len());
        self.entries.push(entry);
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<u64> {
        if self.broken {
            return Err(io::Error::other("an earlier write failed half way"));
        }
        let end = self.end;
        if let Err(error) = self.file.write_all(bytes) {
            let undone = self.file.set_len(end).and_then(|()| self.file.seek(SeekFrom::Start(end)));
            self.broken = undone.is_err();
            return Err(error);
        }
        self.end += bytes.len() as u64;
        Ok(end)
    }
}

impl Journal {
    /// Begins a journal at `path`, which must not exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: &Path, header: CrawlHeader) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        if path.exists() {
            return Err(io(io::ErrorKind::AlreadyExists.into()));
        }
        // Made beside and renamed: a journal without its first record is never seen.
        let beside = path.with_extension("tmp");
        let mut file = OpenOptions::new()
            .write(true)
            .read(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(io)?;
        let mut bytes = MAGIC.to_vec();
        bytes.push(FORMAT as u8);
        bytes.extend(frame(&Header::Crawl(header.clone()), &[]).map_err(io)?);
        file.write_all(&bytes).map_err(io)?;
        file.sync_all().map_err(io)?;
        std::fs::rename(&beside, path).map_err(io)?;
        let reader = file.try_clone().map_err(io)?;
        let inner = Mutex::new(Inner::new(file, bytes.len() as u64));
        Ok(Self { path: path.to_owned(), header, damage: Vec::new(), inner, reader })
    }

    /// Opens a journal for a crawl that continues; a torn tail is cut off.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Foreign`] for a file that isn't a journal or whose first frame is damaged.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        let journal = Self::scan(path, file)?;
        let end = {
            let mut inner = journal.inner();
            let end = inner.end;
            if end < inner.file.metadata().map_err(io)?.len() {
                inner.file.set_len(end).map_err(io)?;
            }
            inner.file.seek(SeekFrom::Start(end)).map_err(io)?
        };
        debug_assert_eq!(end, journal.inner().end);
        Ok(journal)
    }

    /// Opens a journal to read it alone: the file is left as it is, and may be on a read-only file system.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_read(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::scan(path, file)
    }

    fn scan(path: &Path, file: File) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let foreign = |source| Error::Foreign { path: path.to_owned(), source };
        let mut magic = [0; MAGIC.len() + 1];
        if file.read_exact_at(&mut magic, 0).is_err() || !magic.starts_with(MAGIC) {
            return Err(foreign(Strange::Magic));
        }
        let format = u32::from(magic[MAGIC.len()]);
        if !(1..=FORMAT).contains(&format) {
            return Err(foreign(Strange::Format(format)));
        }
        let mut inner = Inner::new(file.try_clone().map_err(io)?, magic.len() as u64);
        let mut entities: HashMap<String, Arc<str>> = HashMap::new();
        let mut intern = |entity: Option<String>| {
            entity.map(|e| entities.entry(e).or_insert_with_key(|e| Arc::from(e.as_str())).clone())
        };
        let mut header = None;
        let mut damage = Vec::new();
        for found in scan::frames(&file, magic.len() as u64).map_err(io)? {
            let (offset, payload) = match found.map_err(io)? {
                scan::Found::Frame { offset, payload } => (offset, payload),
                scan::Found::Damage(stretch) => {
                    damage.push(stretch);
                    continue;
                }
            };
            inner.end = offset + 8 + payload.len() as u64;
            let Some((head, _)) = split(&payload) else { continue };
            // A kind of record that this version doesn't know was written by a later one.
            let Ok(record) = serde_json::from_slice::<Header>(head) else { continue };
            match record {
                Header::Crawl(crawl) => header = Some(crawl),
                Header::Committed { at } => inner.committed = Some(at),
                Header::Whole { operation, entity, generation } => {
                    if let Some(operation) = operation::by_id(&operation) {
                        let of = inner.generations.entry((operation.id, intern(entity))).or_default();
                        of.whole.insert(generation);
                    }
                }
                Header::Response {
                    operation,
                    entity,
                    request,
                    status,
                    accepted,
                    attempts,
                    fetched_at,
                    generation,
                } => {
                    let Some(operation) = operation::by_id(&operation) else { continue };
                    let entity = intern(entity);
                    let of = inner.generations.entry((operation.id, entity.clone())).or_default();
                    of.newest = of.newest.max(generation);
                    of.current = of.newest;
                    inner.take_in(Entry {
                        operation,
                        entity,
                        status,
                        accepted: accepted.unwrap_or((200..300).contains(&status)),
                        attempts,
                        fetched_at,
                        generation,
                        key: key_hash(&request, generation),
                        offset: offset + 8,
                        length: payload.len() as u32,
                    });
                }
            }
        }
        let header = header.ok_or_else(|| foreign(Strange::Header))?;
        // What no frame follows is a torn tail: an interrupted write, and no damage.
        damage.retain(|stretch| stretch.offset < inner.end);
        Ok(Self { path: path.to_owned(), header, damage, inner: Mutex::new(inner), reader: file })
    }

    /// Path of the journal.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The header.
    pub fn header(&self) -> &CrawlHeader {
        &self.header
    }

    /// Stretches of the file that could not be read when it was opened.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// When the snapshot of this journal was committed; `None` while the crawl is open.
    pub fn committed(&self) -> Option<DateTime<Utc>> {
        self.inner().committed
    }

    /// Notes that the snapshot is committed: no crawl continues this journal from now on.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn commit(&self, at: DateTime<Utc>) -> Result<(), Error> {
        self.note(&Header::Committed { at })?;
        self.inner().committed = Some(at);
        self.sync()
    }

    /// Appends a response. When this returns, the response survives the death of the process.
    ///
    /// # Errors
    /// [`Error::Io`]; the journal is then as it was before, or takes no more.
    pub fn append(&self, new: NewEntry<'_>) -> Result<(), Error> {
        let io = |source| Error::Io { path: self.path.clone(), source };
        let generation = self.inner().generation(new.operation.id, new.entity);
        let header = Header::Response {
            operation: new.operation.id.to_owned(),
            entity: new.entity.map(|e| e.to_string()),
            request: new.request.to_owned(),
            status: new.status,
            accepted: Some(new.accepted),
            attempts: new.attempts,
            fetched_at: new.fetched_at,
            generation,
        };
        // Compressed before the lock is taken, so that writers wait for the disk only.
        let bytes = frame(&header, new.body).map_err(io)?;
        let mut inner = self.inner();
        let offset = inner.write(&bytes).map_err(io)?;
        inner.generations.entry((new.operation.id, new.entity.cloned())).or_default();
        inner.take_in(Entry {
            operation: new.operation,
            entity: new.entity.cloned(),
            status: new.status,
            accepted: new.accepted,
            attempts: new.attempts,
            fetched_at: new.fetched_at,
            generation,
            key: key_hash(new.request, generation),
            offset: offset + 8,
            length: (bytes.len() - 8) as u32,
        });
        Ok(())
    }

    /// Starts a new generation of a list, or of what is asked about one group or project: what was answered
    /// before is not looked up again.
    pub fn begin_again(&self, operation: &'static Operation, entity: Option<&Arc<str>>) {
        let mut inner = self.inner();
        let of = inner.generations.entry((operation.id, entity.cloned())).or_default();
        of.newest += 1;
        of.current = of.newest;
    }

    /// Notes that a list was read to its end in its current generation.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn mark_whole(&self, operation: &'static Operation, entity: Option<&Arc<str>>) -> Result<(), Error> {
        let generation = self.inner().generation(operation.id, entity);
        let of = (operation.id, entity.cloned());
        if self.inner().generations.get(&of).is_some_and(|g| g.whole.contains(&generation)) {
            return Ok(());
        }
        let entity = entity.map(|e| e.to_string());
        self.note(&Header::Whole { operation: operation.id.to_owned(), entity, generation })?;
        self.inner().generations.entry(of).or_default().whole.insert(generation);
        Ok(())
    }

    /// Makes the newest generation that was read to its end the current one, of each list that has such a one: a
    /// rebuild must not use the half-read pages of a later one.
    pub fn prefer_whole(&self) {
        for of in self.inner().generations.values_mut() {
            of.current = of.whole.last().copied().unwrap_or(of.newest);
        }
    }

    /// As [`Journal::prefer_whole`], of one list.
    pub fn prefer_whole_of(&self, operation: &'static Operation, entity: Option<&Arc<str>>) {
        if let Some(of) = self.inner().generations.get_mut(&(operation.id, entity.cloned())) {
            of.current = of.whole.last().copied().unwrap_or(of.newest);
        }
    }

    /// When the oldest answer of a list's current generation was complete.
    pub fn first_answer_at(
        &self,
        operation: &'static Operation,
        entity: Option<&Arc<str>>,
        first_request: &str,
    ) -> Option<DateTime<Utc>> {
        self.find(operation, entity, first_request).filter(|e| e.accepted).map(|e| e.fetched_at)
    }

    fn note(&self, header: &Header) -> Result<(), Error> {
        let io = |source| Error::Io { path: self.path.clone(), source };
        let bytes = frame(header, &[]).map_err(io)?;
        self.inner().write(&bytes).map(drop).map_err(io)
    }

    /// The answer to a request that was journalled before in the current generation, if it was.
    pub fn find(
        &self,
        operation: &'static Operation,
        entity: Option<&Arc<str>>,
        request_key: &str,
    ) -> Option<Entry> {
        let inner = self.inner();
        let generation = inner.generation(operation.id, entity);
        inner.by_key.get(&key_hash(request_key, generation)).map(|at| inner.entries[*at].clone())
    }

    /// The responses of each list's current generation, in the order in which they came; of requests made twice,
    /// the later answer alone.
    pub fn entries(&self) -> Vec<Entry> {
        let inner = self.inner();
        let current = |(at, entry): &(usize, &Entry)| {
            inner.by_key.get(&entry.key) == Some(at)
                && inner.generation(entry.operation.id, entry.entity.as_ref()) == entry.generation
        };
        inner.entries.iter().enumerate().filter(current).map(|(_, entry)| entry.clone()).collect()
    }

    /// Requests that were sent for all responses, of every generation.
    pub fn attempts(&self) -> u64 {
        self.inner().entries.iter().map(|entry| u64::from(entry.attempts)).sum()
    }

    /// Number of responses.
    pub fn len(&self) -> usize {
        let inner = self.inner();
        inner.released + inner.entries.len()
    }

    /// Frees the index of the answers, once all have been read into tables. To look one up, open the file again.
    pub fn release(&self) {
        let mut inner = self.inner();
        inner.released += std::mem::take(&mut inner.entries).len();
        inner.by_key = HashMap::new();
        inner.generations = HashMap::new();
    }

    /// Whether there is no response yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a response's body.
    ///
    /// # Errors
    /// [`Error::Io`], also for a body that is damaged.
    pub fn body(&self, entry: &Entry) -> Result<Vec<u8>, Error> {
        let io = |source| Error::Io { path: self.path.clone(), source };
        let mut payload = vec![0; entry.length as usize];
        self.reader.read_exact_at(&mut payload, entry.offset).map_err(io)?;
        let (_, body) = split(&payload).ok_or_else(|| io(io::Error::other("a record is damaged")))?;
        zstd::decode_all(body).map_err(io)
    }

    /// Makes all that was appended survive the death of the machine.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(&self) -> Result<(), Error> {
        let file = self.inner().file.try_clone();
        file.and_then(|f| f.sync_data()).map_err(|source| Error::Io { path: self.path.clone(), source })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_hash(request: &str, generation: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (request, generation).hash(&mut hasher);
    hasher.finish()
}

fn frame(header: &Header, body: &[u8]) -> io::Result<Vec<u8>> {
    let head = serde_json::to_vec(header)?;
    let body = zstd::bulk::compress(body, ZSTD_LEVEL)?;
    let length = 4 + head.len() + body.len();
    let mut out = Vec::with_capacity(8 + length);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(head.len() as u32).to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(&body);
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    Ok(out)
}

fn split(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = payload.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests;
