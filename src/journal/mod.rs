//! The journal: an append-only, compressed log of raw responses, and the crawl's only state.
//!
//! A file is a row of frames: `u32` length and `u32` CRC-32 of the payload, little-endian, then the payload:
//! `u32` length of a JSON header, the header, and the body as one zstd frame. Every frame is handed to the
//! operating system in one write before anything is derived from it, so a process that is killed loses at
//! most the answers it had not received, and a torn last frame is recognised and cut off.
//!
//! No token and no header of a request ever enters it. Files are made with mode 0600.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::{File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::client::operation::{self, Operation};

/// Ending of journal files.
pub const EXTENSION: &str = "hxj";
/// First bytes of a journal file; the last one is the format's version.
const MAGIC: &[u8; 8] = b"HXJRNL\0\x01";
/// Larger frames are taken for damage.
const MAX_FRAME: u32 = 1 << 30;
const ZSTD_LEVEL: i32 = 3;

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read or written.
    #[error("journal {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a journal, or one of another version.
    #[error("{} is not a journal of this version of hexport: {why}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What a journal says about its crawl: enough to resume it and to rebuild its snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrawlHeader {
    /// Version of hexport that began it.
    pub tool_version: String,
    /// Base URL of the API.
    pub base_url: String,
    /// Snapshot that it becomes.
    pub snapshot_id: String,
    /// The snapshot's time: when the crawl began.
    pub snapshot_at: DateTime<Utc>,
    /// Tables asked for.
    pub tables: Vec<String>,
    /// Snapshot that rows are reused from, if any.
    pub base_snapshot: Option<String>,
    /// A fixed time for every answer, where one was asked for (reproducible samples).
    pub fixed_time: Option<DateTime<Utc>>,
}

/// A response in short: what it answers, and where in the file it is.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Operation.
    pub operation: &'static Operation,
    /// Project or group of a fan-out request.
    pub entity: Option<Arc<str>>,
    /// HTTP status.
    pub status: u16,
    /// Requests that were sent for it.
    pub attempts: u32,
    /// When it was complete.
    pub fetched_at: DateTime<Utc>,
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
        #[serde(skip_serializing_if = "Option::is_none")]
        entity: Option<String>,
        request: String,
        status: u16,
        attempts: u32,
        fetched_at: DateTime<Utc>,
    },
}

/// What is journalled about one response.
#[derive(Debug, Clone, Copy)]
pub struct NewEntry<'a> {
    /// Operation.
    pub operation: &'static Operation,
    /// Project or group of a fan-out request.
    pub entity: Option<&'a Arc<str>>,
    /// The request's key (see [`ApiRequest::key`](crate::client::ApiRequest::key)).
    pub request: &'a str,
    /// HTTP status.
    pub status: u16,
    /// Requests that were sent for it.
    pub attempts: u32,
    /// When it was complete.
    pub fetched_at: DateTime<Utc>,
    /// The body.
    pub body: &'a [u8],
}

/// A journal, open for reading and appending.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    header: CrawlHeader,
    inner: Mutex<Inner>,
    reader: File,
}

#[derive(Debug)]
struct Inner {
    file: File,
    end: u64,
    entries: Vec<Entry>,
    by_key: HashMap<u64, usize>,
    /// Set when a write failed half way and could not be taken back.
    broken: bool,
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
        bytes.extend(frame(&Header::Crawl(header.clone()), &[]).map_err(io)?);
        file.write_all(&bytes).map_err(io)?;
        file.sync_all().map_err(io)?;
        std::fs::rename(&beside, path).map_err(io)?;
        let reader = file.try_clone().map_err(io)?;
        let end = bytes.len() as u64;
        let inner = Inner { file, end, entries: Vec::new(), by_key: HashMap::new(), broken: false };
        Ok(Self { path: path.to_owned(), header, inner: Mutex::new(inner), reader })
    }

    /// Opens a journal; a torn tail is cut off.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Foreign`] for a file that isn't a journal or whose first frame is damaged.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let foreign = |why: &str| Error::Foreign { path: path.to_owned(), why: why.into() };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut input = BufReader::with_capacity(1 << 20, file.try_clone().map_err(io)?);
        let mut magic = [0; MAGIC.len()];
        if input.read_exact(&mut magic).is_err() || &magic != MAGIC {
            return Err(foreign("it does not begin like one"));
        }
        let mut end = MAGIC.len() as u64;
        let mut header = None;
        let mut entries: Vec<Entry> = Vec::new();
        let mut by_key = HashMap::new();
        let mut entities: HashMap<String, Arc<str>> = HashMap::new();
        while let Some(payload) = next_frame(&mut input).map_err(io)? {
            let size = payload.len() as u64 + 8;
            let Some((head, _)) = split(&payload) else { break };
            match serde_json::from_slice::<Header>(head) {
                Ok(Header::Crawl(crawl)) => header = Some(crawl),
                Ok(Header::Response { operation, entity, request, status, attempts, fetched_at }) => {
                    // An operation that this version doesn't know was written by a later one.
                    if let Some(operation) = operation::by_id(&operation) {
                        let entity = entity
                            .map(|e| entities.entry(e).or_insert_with_key(|e| Arc::from(e.as_str())).clone());
                        let key = key_hash(&request);
                        let length = payload.len() as u32;
                        by_key.insert(key, entries.len());
                        entries.push(Entry {
                            operation,
                            entity,
                            status,
                            attempts,
                            fetched_at,
                            key,
                            offset: end + 8,
                            length,
                        });
                    }
                }
                Err(_) => break,
            }
            end += size;
        }
        let header = header.ok_or_else(|| foreign("its first record is damaged"))?;
        if end < length {
            file.set_len(end).map_err(io)?;
        }
        let mut file = file;
        file.seek(SeekFrom::Start(end)).map_err(io)?;
        let reader = file.try_clone().map_err(io)?;
        let inner = Inner { file, end, entries, by_key, broken: false };
        Ok(Self { path: path.to_owned(), header, inner: Mutex::new(inner), reader })
    }

    /// Where the journal is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says about its crawl.
    pub fn header(&self) -> &CrawlHeader {
        &self.header
    }

    /// Appends a response. When this returns, the response survives the death of the process.
    ///
    /// # Errors
    /// [`Error::Io`]; the journal is then as it was before, or takes no more.
    pub fn append(&self, new: NewEntry<'_>) -> Result<(), Error> {
        let io = |source| Error::Io { path: self.path.clone(), source };
        let header = Header::Response {
            operation: new.operation.id.to_owned(),
            entity: new.entity.map(|e| e.to_string()),
            request: new.request.to_owned(),
            status: new.status,
            attempts: new.attempts,
            fetched_at: new.fetched_at,
        };
        // Compressed before the lock is taken, so that writers wait for the disk only.
        let bytes = frame(&header, new.body).map_err(io)?;
        let mut inner = self.inner();
        if inner.broken {
            return Err(io(io::Error::other("an earlier write failed half way")));
        }
        let end = inner.end;
        if let Err(error) = inner.file.write_all(&bytes) {
            let undone = inner.file.set_len(end).and_then(|()| inner.file.seek(SeekFrom::Start(end)));
            inner.broken = undone.is_err();
            return Err(io(error));
        }
        let entry = Entry {
            operation: new.operation,
            entity: new.entity.cloned(),
            status: new.status,
            attempts: new.attempts,
            fetched_at: new.fetched_at,
            key: key_hash(new.request),
            offset: end + 8,
            length: (bytes.len() - 8) as u32,
        };
        inner.end += bytes.len() as u64;
        let at = inner.entries.len();
        inner.by_key.insert(entry.key, at);
        inner.entries.push(entry);
        Ok(())
    }

    /// The answer to a request that was journalled before, if it was.
    pub fn find(&self, request_key: &str) -> Option<Entry> {
        let inner = self.inner();
        inner.by_key.get(&key_hash(request_key)).map(|at| inner.entries[*at].clone())
    }

    /// All responses, in the order in which they came; of requests made twice, the later answer alone.
    pub fn entries(&self) -> Vec<Entry> {
        let inner = self.inner();
        let current = |(at, entry): &(usize, &Entry)| inner.by_key.get(&entry.key) == Some(at);
        inner.entries.iter().enumerate().filter(current).map(|(_, entry)| entry.clone()).collect()
    }

    /// Number of responses.
    pub fn len(&self) -> usize {
        self.inner().entries.len()
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

fn key_hash(request: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.hash(&mut hasher);
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

/// The next whole frame's payload; `None` at the end, or where the rest is torn or damaged.
fn next_frame(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut prefix = [0; 8];
    if !fill(input, &mut prefix)? {
        return Ok(None);
    }
    let [a, b, c, d, e, f, g, h] = prefix;
    let (length, crc) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    if length > MAX_FRAME {
        return Ok(None);
    }
    let mut payload = Vec::new();
    input.take(u64::from(length)).read_to_end(&mut payload)?;
    Ok((payload.len() == length as usize && crc32fast::hash(&payload) == crc).then_some(payload))
}

fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

fn split(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = payload.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::operation::GET_PROJECT_RUNS;

    fn header() -> CrawlHeader {
        CrawlHeader {
            tool_version: "0".into(),
            base_url: "https://app.hex.tech/api/v1".into(),
            snapshot_id: "2026-11-24T020000Z".into(),
            snapshot_at: "2026-11-24T02:00:00Z".parse().unwrap(),
            tables: vec!["runs".into()],
            base_snapshot: None,
            fixed_time: None,
        }
    }

    fn write(journal: &Journal, request: &str, body: &[u8]) {
        let entity = Arc::from("p1");
        let new = NewEntry {
            operation: &GET_PROJECT_RUNS,
            entity: Some(&entity),
            request,
            status: 200,
            attempts: 1,
            fetched_at: Utc::now(),
            body,
        };
        journal.append(new).unwrap();
    }

    #[test]
    fn a_torn_tail_is_cut_off_wherever_it_tears() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.hxj");
        let journal = Journal::create(&path, header()).unwrap();
        write(&journal, "GET /a", b"first");
        let whole = std::fs::metadata(&path).unwrap().len();
        write(&journal, "GET /b", &b"second".repeat(50));
        drop(journal);
        let bytes = std::fs::read(&path).unwrap();
        for cut in whole as usize..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let journal = Journal::open(&path).unwrap();
            assert_eq!(journal.len(), 1, "cut at {cut}");
            write(&journal, "GET /c", b"third");
            drop(journal);
            let journal = Journal::open(&path).unwrap();
            let bodies: Vec<_> = journal.entries().iter().map(|e| journal.body(e).unwrap()).collect();
            assert_eq!(bodies, [b"first".to_vec(), b"third".to_vec()]);
        }
    }

    #[test]
    fn a_damaged_byte_ends_the_journal_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.hxj");
        let journal = Journal::create(&path, header()).unwrap();
        write(&journal, "GET /a", b"first");
        let whole = std::fs::metadata(&path).unwrap().len() as usize;
        write(&journal, "GET /b", b"second");
        drop(journal);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[whole + 20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Journal::open(&path).unwrap().len(), 1);
    }

    #[test]
    fn a_request_made_twice_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.hxj");
        let journal = Journal::create(&path, header()).unwrap();
        write(&journal, "GET /a", b"old");
        write(&journal, "GET /a", b"new");
        let journal = Journal::open(journal.path()).unwrap();
        let entries = journal.entries();
        assert_eq!(entries.len(), 1);
        assert_eq!(journal.body(&entries[0]).unwrap(), b"new");
        assert!(journal.find("GET /a").is_some());
        assert!(journal.find("GET /b").is_none());
    }

    #[test]
    fn a_journal_is_private_and_other_files_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.hxj");
        Journal::create(&path, header()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Journal::create(&path, header()).is_err());
        let other = dir.path().join("b.hxj");
        std::fs::write(&other, "id,name\n").unwrap();
        assert!(matches!(Journal::open(&other), Err(Error::Foreign { .. })));
    }
}
