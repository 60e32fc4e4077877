//! An object store: S3 and what speaks like it, Google Cloud Storage, Azure, or memory.
//!
//! Functions block; a runtime of the store's own does the work, so that they may be called from anywhere.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{
    Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};
use tokio::runtime::Runtime;
use url::Url;

use super::settings::{Retries, connect, parts, shown, without_query};
use super::{Change, Error, Folder, NameFlaw, Object, Store};

/// Size of a part of an upload; a smaller file is put whole. Stores want 5 MiB at least, and take 10,000 parts.
const PART: usize = 8 << 20;
/// Requests to the store under way at once, in one call.
const CONCURRENCY: usize = 8;
/// Files uploaded at once: each holds a part in memory.
const UPLOADS: usize = 2;
/// Larger objects aren't copied by one request: they are uploaded to their place.
const COPIED: u64 = 5 << 30;
/// Times that a conditional write is tried.
const TRIES: u32 = 8;

/// An object store.
pub struct Cloud {
    url: String,
    bucket: Url,
    store: Arc<dyn ObjectStore>,
    /// The same store, without retries: what must not be repeated blindly is sent by it.
    once: Arc<dyn ObjectStore>,
    /// Set when the store turned out not to know conditional writes.
    is_unconditional: AtomicBool,
    /// Set when it was found out whether the store heeds conditions.
    is_probed: AtomicBool,
    runtime: Option<Runtime>,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cloud").field(&self.url).finish()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // Merely dropping it would block, which another runtime's threads may not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Cloud {
    /// Connects to `s3://bucket/prefix`, `gs://...`, `az://container/prefix` or `abfss://...`. Settings come from
    /// the options, then from the environment in each cloud's own names.
    ///
    /// # Errors
    /// [`Error::Name`] for a URL or an option that isn't one.
    pub fn connect(text: &str, options: &[(String, String)]) -> Result<Self, Error> {
        // Fails only when a provider is set already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let parts = parts(text)?;
        let prefix = Key::parse(&parts.prefix)
            .map_err(|e| Error::Name { place: shown(text), source: NameFlaw::Place(e) })?;
        let with = |retries| -> Result<Arc<dyn ObjectStore>, Error> {
            let store = connect(&parts.bucket, options, retries)?;
            Ok(Arc::new(PrefixStore::new(store, prefix.clone())))
        };
        let store = with(Retries::Usual)?;
        let once = with(Retries::None)?;
        Self::new(text.trim_end_matches('/').to_owned(), parts.bucket, store, once)
    }

    /// An object store in memory, empty.
    ///
    /// # Errors
    /// [`Error::Name`] if there are no threads for it.
    pub fn in_memory() -> Result<Self, Error> {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let bucket = Url::parse("memory:///").expect("a URL");
        Self::new("memory://".into(), bucket, store.clone(), store)
    }

    fn new(
        url: String,
        bucket: Url,
        store: Arc<dyn ObjectStore>,
        once: Arc<dyn ObjectStore>,
    ) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("hexport-store")
            .enable_all()
            .build()
            .map_err(|e| Error::Name { place: shown(&url), source: NameFlaw::Threads(e) })?;
        Ok(Self {
            url,
            bucket,
            store,
            once,
            is_unconditional: AtomicBool::new(false),
            is_probed: AtomicBool::new(false),
            runtime: Some(runtime),
        })
    }

    fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, receiver) = mpsc::sync_channel(1);
        let runtime = self.runtime.as_ref().expect("there until it is dropped");
        runtime.spawn(async move { drop(sender.send(work.await)) });
        receiver.recv().expect("work on the store doesn't panic")
    }

    fn failed(&self, what: &'static str, name: &str) -> impl Fn(StoreError) -> Error + use<> {
        let place = format!("{}/{name}", self.url);
        move |e| Error::Cloud {
            what,
            place: place.clone(),
            why: without_query(&chain(&e)),
            source: Box::new(e),
        }
    }

    /// One conditional write: whether it was done, or what stands against it.
    fn put_conditionally(&self, name: &str, bytes: &[u8], mode: PutMode) -> Result<(), StoreError> {
        let (store, key, payload) = (self.once.clone(), key(name), PutPayload::from(bytes.to_vec()));
        let options = PutOptions { mode, ..PutOptions::default() };
        self.wait(async move { store.put_opts(&key, payload, options).await.map(drop) })
    }

    /// Notes that the store doesn't know conditional writes, if that is what an error says.
    fn is_unconditional(&self, error: Option<&StoreError>) -> bool {
        let unknown = match error {
            Some(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => true,
            // Generic errors carry the answer's status in their text only.
            Some(error @ StoreError::Generic { .. }) => chain(error).contains("501 Not Implemented"),
            _ => false,
        };
        self.is_unconditional.fetch_or(unknown, Ordering::Relaxed) || unknown
    }

    /// Writes a file after a look that there is none: all that can be done without conditional writes.
    fn put_after_a_look(&self, name: &str, bytes: &[u8]) -> Result<bool, Error> {
        match self.get(name)? {
            Some(there) => Ok(there == bytes),
            None => self.put(name, bytes).map(|()| true),
        }
    }

    /// Finds out whether the store refuses to write over what is there when told so. A file of the name must be
    /// there already; where the store turns out to ignore conditions, `bytes` are written again.
    fn probe_conditions(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        if self.is_probed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let other = [bytes, b" "].concat();
        match self.put_conditionally(name, &other, PutMode::Create) {
            Ok(()) => {
                self.is_unconditional.store(true, Ordering::Relaxed);
                self.put(name, bytes)
            }
            Err(e) => {
                self.is_unconditional(Some(&e));
                Ok(())
            }
        }
    }

    fn upload_to(&self, files: Vec<(PathBuf, Key)>) -> Result<(), StoreError> {
        let store = self.store.clone();
        self.wait(async move {
            futures::stream::iter(files)
                .map(|(path, key)| upload(store.clone(), path, key))
                .buffer_unordered(UPLOADS)
                .try_collect::<()>()
                .await
        })
    }
}

/// Each part as it is: none of our own names has characters that a store's key can't have.
fn key(name: &str) -> Key {
    Key::parse(name).unwrap_or_else(|_| Key::from(name))
}

fn object(meta: ObjectMeta) -> Option<Object> {
    let name = meta.location.as_ref().to_owned();
    // The object that consoles make for a folder has the folder's own name.
    (!name.is_empty()).then_some(Object { name, bytes: meta.size, written: meta.last_modified })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.contains(&more) {
            text += &format!(": {more}");
        }
        cause = e.source();
    }
    text
}

async fn upload(store: Arc<dyn ObjectStore>, path: PathBuf, key: Key) -> Result<(), StoreError> {
    let mut file = File::open(&path).map_err(disk)?;
    let mut next = move || -> Result<Vec<u8>, StoreError> {
        let mut part = Vec::with_capacity(PART);
        Read::by_ref(&mut file).take(PART as u64).read_to_end(&mut part).map_err(disk)?;
        Ok(part)
    };
    let first = next()?;
    if first.len() < PART {
        return store.put(&key, first.into()).await.map(drop);
    }
    let mut parts = store.put_multipart(&key).await?;
    let sent = async {
        let mut part = first;
        while !part.is_empty() {
            parts.put_part(part.into()).await?;
            part = next()?;
        }
        parts.complete().await
    }
    .await;
    if sent.is_err() {
        // What was begun and failed is given up at the store too.
        let _ = parts.abort().await;
    }
    sent.map(drop)
}

fn disk(error: std::io::Error) -> StoreError {
    StoreError::Generic { store: "local disk", source: error.into() }
}

impl Store for Cloud {
    fn name(&self) -> String {
        self.url.clone()
    }

    fn probe(&self) -> Result<(), Error> {
        self.top().map(drop)
    }

    fn top(&self) -> Result<Vec<String>, Error> {
        let store = self.store.clone();
        let found = self.wait(async move { store.list_with_delimiter(None).await });
        let found = found.map_err(self.failed("can't list", ""))?;
        let folders = found.common_prefixes.iter().map(|key| key.as_ref().to_owned());
        let objects = found.objects.into_iter().filter(|meta| meta.size > 0).filter_map(object);
        let mut names: Vec<String> = folders.chain(objects.map(|o| o.name)).collect();
        names.sort();
        Ok(names)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        let (store, start) = (self.store.clone(), prefix.to_owned());
        let (folder, rest) = prefix.rsplit_once('/').map_or((None, prefix), |(f, s)| (Some(key(f)), s));
        // An offset leaves itself out, and the prefix may be the whole name of an object: a character less is before it.
        let mut before = prefix.to_owned();
        before.pop();
        let offset = (rest.chars().count() > 1).then(|| key(&before));
        let work = async move {
            let found = match &offset {
                Some(offset) => store.list_with_offset(folder.as_ref(), offset),
                None => store.list(folder.as_ref()),
            };
            found.try_collect::<Vec<_>>().await
        };
        let found = self.wait(work).map_err(self.failed("can't list", prefix))?;
        let mut found: Vec<Object> =
            found.into_iter().filter_map(object).filter(|o| o.name.starts_with(&start)).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let (store, key) = (self.store.clone(), key(name));
        match self.wait(async move { store.get(&key).await?.bytes().await }) {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed("can't read", name)(e)),
        }
    }

    fn get_all(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let store = self.store.clone();
        let keys: Vec<Key> = names.iter().map(|name| key(name)).collect();
        let work = async move {
            let one = |key: Key| {
                let store = store.clone();
                async move {
                    match async { store.get(&key).await?.bytes().await }.await {
                        Ok(bytes) => Ok(Some(bytes.to_vec())),
                        Err(StoreError::NotFound { .. }) => Ok(None),
                        Err(e) => Err(e),
                    }
                }
            };
            futures::stream::iter(keys).map(one).buffered(2 * CONCURRENCY).try_collect().await
        };
        self.wait(work).map_err(self.failed("can't read", names.first().map_or("", String::as_str)))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let (store, key, payload) = (self.store.clone(), key(name), PutPayload::from(bytes.to_vec()));
        let put = self.wait(async move { store.put(&key, payload).await });
        put.map(drop).map_err(self.failed("can't write", name))
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<bool, Error> {
        if self.is_unconditional(None) {
            return self.put_after_a_look(name, bytes);
        }
        let mut tried = 0;
        loop {
            let error = match self.put_conditionally(name, bytes, PutMode::Create) {
                Ok(()) => {
                    // Not every store that takes the condition heeds it.
                    return self.probe_conditions(name, bytes).map(|()| true);
                }
                Err(e) => e,
            };
            if self.is_unconditional(Some(&error)) {
                return self.put_after_a_look(name, bytes);
            }
            // Whether it was refused or nothing was heard: what is there now decides.
            if let Some(there) = self.get(name)? {
                return Ok(there == bytes);
            }
            tried += 1;
            if tried == TRIES {
                return Err(self.failed("can't write", name)(error));
            }
            std::thread::sleep(Duration::from_millis(50 << tried));
        }
    }

    fn change(&self, name: &str, change: &Change<'_>) -> Result<(), Error> {
        let mut tried = 0;
        loop {
            let (store, place) = (self.store.clone(), key(name));
            let found = self.wait(async move {
                let found = store.get(&place).await?;
                let version =
                    UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
                Ok((found.bytes().await?, version))
            });
            let (there, mode) = match found {
                Ok((bytes, version)) => (Some(bytes), PutMode::Update(version)),
                Err(StoreError::NotFound { .. }) => (None, PutMode::Create),
                Err(e) => return Err(self.failed("can't read", name)(e)),
            };
            let Some(bytes) = change(there.as_deref()) else { return Ok(()) };
            if there.as_deref() == Some(&bytes[..]) {
                return Ok(());
            }
            if self.is_unconditional(None) {
                return self.put(name, &bytes);
            }
            match self.put_conditionally(name, &bytes, mode) {
                Ok(()) => return Ok(()),
                Err(e) if self.is_unconditional(Some(&e)) => return self.put(name, &bytes),
                // Somebody else was faster, or nothing was heard: look again.
                Err(e) => {
                    tried += 1;
                    if tried == 2 * TRIES {
                        return Err(self.failed("can't write", name)(e));
                    }
                    std::thread::sleep(Duration::from_millis(10 << tried.min(8)));
                }
            }
        }
    }

    fn delete(&self, names: &[String]) -> Result<(), Error> {
        let store = self.store.clone();
        let keys: Vec<Key> = names.iter().map(|name| key(name)).collect();
        let work = async move {
            futures::stream::iter(keys)
                .map(|key| {
                    let store = store.clone();
                    async move {
                        match store.delete(&key).await {
                            Err(StoreError::NotFound { .. }) => Ok(()),
                            other => other,
                        }
                    }
                })
                .buffer_unordered(CONCURRENCY)
                .try_collect::<()>()
                .await
        };
        self.wait(work).map_err(self.failed("can't remove", names.first().map_or("", String::as_str)))
    }

    fn upload(&self, files: &[(PathBuf, String)]) -> Result<(), Error> {
        let first = files.first().map_or(String::new(), |(_, name)| name.clone());
        let files = files.iter().map(|(path, name)| (path.clone(), key(name))).collect();
        self.upload_to(files).map_err(self.failed("can't write", &first))
    }

    fn download(&self, name: &str, to: &Path) -> Result<(), Error> {
        let (store, key) = (self.store.clone(), key(name));
        let mut file = File::create(to).map_err(Error::io("can't write", to))?;
        let work = async move {
            let mut parts = store.get(&key).await?.into_stream();
            while let Some(part) = parts.next().await {
                file.write_all(&part?).map_err(disk)?;
            }
            file.sync_all().map_err(disk)
        };
        self.wait(work).map_err(self.failed("can't read", name))
    }

    /// Files go up aside, are copied to their place, and then the last one is put, if there is none. Whoever goes
    /// by the last file sees all or nothing; whoever lists objects may see some for the seconds of the copies.
    fn publish(&self, folder: Folder<'_>) -> Result<bool, Error> {
        let last = format!("{}/{}", folder.to, folder.last);
        if self.get(&last)?.is_some() {
            return Ok(false);
        }
        let (mut copied, mut sent) = (Vec::new(), Vec::new());
        for file in folder.files {
            let from = folder.from.join(file);
            let bytes = std::fs::metadata(&from).map_err(Error::io("can't read", &from))?.len();
            if bytes < COPIED {
                copied.push(file)
            } else {
                sent.push((from, format!("{}/{file}", folder.to)))
            }
        }
        let aside = |file: &String| format!("{}/{file}", folder.via);
        let up: Vec<_> = copied.iter().map(|file| (folder.from.join(file), aside(file))).collect();
        self.upload(&up)?;
        let pairs: Vec<(Key, Key)> =
            copied.iter().map(|file| (key(&aside(file)), key(&format!("{}/{file}", folder.to)))).collect();
        let store = self.store.clone();
        let work = async move {
            futures::stream::iter(pairs)
                .map(|(from, to)| {
                    let store = store.clone();
                    async move { store.copy(&from, &to).await }
                })
                .buffer_unordered(CONCURRENCY)
                .try_collect::<()>()
                .await
        };
        self.wait(work).map_err(self.failed("can't write", folder.to))?;
        self.upload(&sent)?;
        let from = folder.from.join(folder.last);
        let text = std::fs::read(&from).map_err(Error::io("can't read", &from))?;
        if !self.put_if_absent(&last, &text)? {
            return Ok(false);
        }
        self.delete(&copied.iter().map(|file| aside(file)).collect::<Vec<_>>())?;
        Ok(true)
    }

    fn retract(&self, folder: &str, last: &str, _via: &str) -> Result<(), Error> {
        self.delete(&[format!("{folder}/{last}")])?;
        let left = self.list(&format!("{folder}/"))?;
        self.delete(&left.into_iter().map(|object| object.name).collect::<Vec<_>>())
    }

    fn engine(&self) -> Result<(Arc<dyn ObjectStore>, Url), Error> {
        let mut root = self.bucket.clone();
        root.set_path("/");
        Ok((self.store.clone(), root))
    }

    fn remarks(&self) -> Vec<String> {
        match self.is_unconditional(None) {
            false => Vec::new(),
            true => vec![format!(
                "{} doesn't know conditional writes: two exports at the same time could write the same \
                 snapshot, so run one at a time",
                self.url
            )],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_conforms() {
        super::super::suite::conforms(&Cloud::in_memory().unwrap());
    }

    #[test]
    fn a_store_without_conditional_writes_is_worked_around_and_said() {
        let store = Cloud::in_memory().unwrap();
        store.is_unconditional.store(true, Ordering::Relaxed);
        super::super::suite::conforms(&store);
        assert!(store.remarks()[0].contains("conditional"), "{:?}", store.remarks());
    }
}
