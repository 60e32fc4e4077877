//! A destination in an object store: S3 and what speaks like it, Google Cloud Storage, Azure.
//!
//! Snapshots are built on a local disk and then uploaded, file by file in parts, so that memory stays flat and
//! an upload can be begun again. What is read from the store is kept in a local cache by its SHA-256, so that
//! no file is fetched twice and none that changed is taken for another.

use std::fmt;
use std::fs::{self, File};
use std::future::Future;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as Key;
use object_store::{
    Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use url::Url;

use super::Error;

/// Size of a part of an upload; a smaller file is put whole. Stores want 5 MiB at least, and take 10,000 parts.
const PART: usize = 8 << 20;
/// Requests to the store under way at once, in one call.
const CONCURRENCY: usize = 4;

/// An object as a list gives it.
#[derive(Debug, Clone)]
pub struct Object {
    /// Name within the destination.
    pub name: String,
    /// When it was last written.
    pub written: DateTime<Utc>,
}

/// A destination in an object store. Its functions block; a runtime of its own does the work, so that they may
/// be called from anywhere.
pub struct Remote {
    url: String,
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    runtime: Option<Runtime>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.url).finish()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // Dropping it by itself would block, which another runtime's threads may not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Remote {
    /// Connects to `s3://bucket/prefix`, `gs://...`, `az://container/prefix` or `abfss://...`. Settings come from
    /// the options, then from the environment in each cloud's own names.
    ///
    /// # Errors
    /// [`Error::Store`] for a URL or an option that isn't one.
    pub fn connect(text: &str, options: &[(String, String)]) -> Result<Self, Error> {
        // Fails only when a provider is set already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let wrong = |why: String| Error::Store { what: "can't use", place: shown(text), why };
        let url = Url::parse(text).map_err(|e| wrong(format!("it is not a URL: {e}")))?;
        if url.query().is_some() || url.password().is_some() {
            return Err(wrong(
                "it holds credentials or settings; give them as --option or in the environment".into(),
            ));
        }
        for (name, _) in options {
            if !is_option(&url, name) {
                return Err(wrong(format!("--option {name} is none of this store's settings")));
            }
        }
        let from_environment = environment(&url);
        let all = from_environment.iter().chain(options).map(|(name, value)| (name.as_str(), value.as_str()));
        let (store, prefix) =
            object_store::parse_url_opts(&url, all).map_err(|e| wrong(without_query(&e.to_string())))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("hexport-store")
            .enable_all()
            .build()
            .map_err(|e| wrong(e.to_string()))?;
        let url = text.trim_end_matches('/').to_owned();
        Ok(Self { url, store: Arc::from(store), prefix, runtime: Some(runtime) })
    }

    /// The destination's URL, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The store.
    #[cfg(feature = "delta")]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// The destination's place in the store.
    #[cfg(feature = "delta")]
    pub fn prefix(&self) -> &Key {
        &self.prefix
    }

    fn key(&self, name: &str) -> Key {
        name.split('/').fold(self.prefix.clone(), |key, part| key.join(part))
    }

    fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, receiver) = mpsc::sync_channel(1);
        let runtime = self.runtime.as_ref().expect("there until it is dropped");
        runtime.spawn(async move { drop(sender.send(work.await)) });
        receiver.recv().expect("work on the store doesn't panic")
    }

    fn failed(&self, what: &'static str, name: &str) -> impl Fn(StoreError) -> Error + use<> {
        let place = format!("{}/{name}", self.url);
        move |e| Error::Store { what, place: place.clone(), why: without_query(&chain(&e)) }
    }

    /// Reads an object; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        let (store, key) = (self.store.clone(), self.key(name));
        match self.wait(async move { store.get(&key).await?.bytes().await }) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed("can't read", name)(e)),
        }
    }

    /// Writes an object, over one that is there.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), Error> {
        let (store, key) = (self.store.clone(), self.key(name));
        let put = self.wait(async move { store.put(&key, PutPayload::from(bytes)).await });
        put.map(drop).map_err(self.failed("can't write", name))
    }

    /// Writes an object if there is none of its name. True if it holds these bytes afterwards: an
    /// acknowledgement that was lost on its way makes no difference.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, Error> {
        let (store, key, payload) = (self.store.clone(), self.key(name), PutPayload::from(bytes.to_vec()));
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.wait(async move { store.put_opts(&key, payload, options).await }) {
            Ok(_) => Ok(true),
            Err(e) => {
                // Whether it was refused or nothing was heard: what is there now decides.
                match self.get(name)? {
                    Some(there) => Ok(there == bytes),
                    None => Err(self.failed("can't write", name)(e)),
                }
            }
        }
    }

    /// Changes an object, or makes it: `change` is given what is there, and gives what shall be, or nothing to
    /// leave it. Nobody's change in between is lost, where the store can tell.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn change(
        &self,
        name: &str,
        change: impl Fn(Option<&[u8]>) -> Option<Vec<u8>> + Send + 'static,
    ) -> Result<(), Error> {
        let (store, key) = (self.store.clone(), self.key(name));
        let work = async move {
            for _ in 0..20 {
                let (there, mode) = match store.get(&key).await {
                    Ok(found) => {
                        let e_tag = found.meta.e_tag.clone();
                        let version = UpdateVersion { e_tag, version: found.meta.version.clone() };
                        (Some(found.bytes().await?), PutMode::Update(version))
                    }
                    Err(StoreError::NotFound { .. }) => (None, PutMode::Create),
                    Err(e) => return Err(e),
                };
                let Some(bytes) = change(there.as_deref()) else { return Ok(()) };
                let payload = PutPayload::from(bytes);
                let options = PutOptions { mode, ..PutOptions::default() };
                match store.put_opts(&key, payload.clone(), options).await {
                    Ok(_) => return Ok(()),
                    Err(StoreError::Precondition { .. } | StoreError::AlreadyExists { .. }) => {}
                    Err(StoreError::NotImplemented { .. } | StoreError::NotSupported { .. }) => {
                        return store.put(&key, payload).await.map(drop);
                    }
                    Err(e) => return Err(e),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        self.wait(work).map_err(self.failed("can't write", name))
    }

    /// Objects whose name begins with a folder's.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn list(&self, folder: &str) -> Result<Vec<Object>, Error> {
        let (store, prefix) = (self.store.clone(), self.prefix.clone());
        let below = if folder.is_empty() { prefix.clone() } else { self.key(folder) };
        let work = async move {
            let found = store.list(Some(&below)).try_collect::<Vec<_>>().await?;
            let object = |meta: object_store::ObjectMeta| {
                let parts = meta.location.prefix_match(&prefix)?;
                let name = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
                Some(Object { name, written: meta.last_modified })
            };
            Ok(found.into_iter().filter_map(object).collect())
        };
        self.wait(work).map_err(self.failed("can't list", folder))
    }

    /// Removes objects; those that are gone already too.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn delete(&self, names: &[String]) -> Result<(), Error> {
        let store = self.store.clone();
        let keys: Vec<Key> = names.iter().map(|name| self.key(name)).collect();
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

    /// Fetches an object into a file, part by part.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`].
    pub fn download(&self, name: &str, path: &Path) -> Result<(), Error> {
        let (store, key) = (self.store.clone(), self.key(name));
        let mut file = File::create(path).map_err(Error::io("can't write", path))?;
        let work = async move {
            let mut parts = store.get(&key).await?.into_stream();
            while let Some(part) = parts.next().await {
                let part = part?;
                file.write_all(&part)
                    .map_err(|e| StoreError::Generic { store: "local disk", source: e.into() })?;
            }
            file.sync_all().map_err(|e| StoreError::Generic { store: "local disk", source: e.into() })
        };
        self.wait(work).map_err(self.failed("can't read", name))
    }

    /// Uploads files under these names: big ones in parts, few at once, so that memory stays flat. What was begun
    /// and failed is given up at the store too.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn upload(&self, files: Vec<(PathBuf, String)>) -> Result<(), Error> {
        let first = files.first().map_or(String::new(), |(_, name)| name.clone());
        let files: Vec<(PathBuf, Key)> =
            files.into_iter().map(|(path, name)| (path, self.key(&name))).collect();
        let store = self.store.clone();
        let work = async move {
            futures::stream::iter(files)
                .map(|(path, key)| upload(store.clone(), path, key))
                .buffer_unordered(2)
                .try_collect::<()>()
                .await
        };
        self.wait(work).map_err(self.failed("can't write", &first))
    }
}

async fn upload(store: Arc<dyn ObjectStore>, path: PathBuf, key: Key) -> Result<(), StoreError> {
    let disk = |e: std::io::Error| StoreError::Generic { store: "local disk", source: e.into() };
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
        let _ = parts.abort().await;
    }
    sent.map(drop)
}

/// Folder of what a destination's exports have to remember on this machine: journals, the cache, the lock.
///
/// # Errors
/// [`Error::Store`] if nothing says where such folders are.
pub fn state_folder(url: &str) -> Result<PathBuf, Error> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("HEXPORT_STATE_DIR")
        .or_else(|| set("XDG_STATE_HOME").map(|folder| folder.join("hexport")))
        .or_else(|| set("HOME").map(|home| home.join(".local/state/hexport")));
    let base = base.ok_or_else(|| Error::Store {
        what: "can't use",
        place: shown(url),
        why: "there is no folder for journals: set HEXPORT_STATE_DIR, XDG_STATE_HOME or HOME".into(),
    })?;
    let digest: String = Sha256::digest(url).iter().take(4).map(|b| format!("{b:02x}")).collect();
    let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    Ok(base.join(format!("{}-{digest}", url.chars().map(fits).take(80).collect::<String>())))
}

/// Fetches a file of a snapshot into the cache, unless it is there, and gives its path.
///
/// # Errors
/// [`Error::Store`], [`Error::Io`]; [`Error::Damaged`] if it isn't what the manifest says.
pub fn cached(remote: &Remote, cache: &Path, name: &str, sha256: &str) -> Result<PathBuf, Error> {
    let path = cache.join(sha256);
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(cache).map_err(Error::io("can't create", cache))?;
    let beside = tempfile::NamedTempFile::new_in(cache).map_err(Error::io("can't write", cache))?;
    remote.download(name, beside.path())?;
    let mut file = File::open(beside.path()).map_err(Error::io("can't read", beside.path()))?;
    let (_, found) = super::writer::digest(&mut file).map_err(Error::io("can't read", beside.path()))?;
    if found != sha256 {
        let why = "has another SHA-256 than the manifest says".into();
        return Err(Error::Damaged { path: PathBuf::from(format!("{}/{name}", remote.url())), why });
    }
    beside.persist(&path).map_err(|e| Error::Io {
        what: "can't write",
        path: path.clone(),
        source: e.error,
    })?;
    Ok(path)
}

/// A destination as it may be shown: credentials in a URL are cut.
fn shown(text: &str) -> String {
    let text = without_query(text);
    match (text.split_once("://"), text.rsplit_once('@')) {
        // abfss://container@account names no secret; a colon before the @ does.
        (Some((scheme, rest)), Some((_, host)))
            if rest.split('@').next().is_some_and(|u| u.contains(':')) =>
        {
            format!("{scheme}://…@{host}")
        }
        _ => text,
    }
}

/// A text without what stands after a `?`: signatures are there.
fn without_query(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(char::is_whitespace) {
        match word.split_once('?').filter(|(before, _)| before.contains("://")) {
            Some((before, _)) => out += &format!("{before}?… "),
            None => out += word,
        }
    }
    out.trim_end().to_owned()
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

enum Cloud {
    Aws,
    Gcp,
    Azure,
    None,
}

fn cloud(url: &Url) -> Cloud {
    match url.scheme() {
        "s3" | "s3a" => Cloud::Aws,
        "gs" => Cloud::Gcp,
        "az" | "adl" | "azure" | "abfs" | "abfss" => Cloud::Azure,
        _ => Cloud::None,
    }
}

/// Whether a store of this URL has such a setting.
#[cfg_attr(not(feature = "cloud"), allow(unused_variables))]
fn is_option(url: &Url, name: &str) -> bool {
    match cloud(url) {
        #[cfg(feature = "aws")]
        Cloud::Aws => parses::<object_store::aws::AmazonS3ConfigKey>(name),
        #[cfg(feature = "gcp")]
        Cloud::Gcp => parses::<object_store::gcp::GoogleConfigKey>(name),
        #[cfg(feature = "azure")]
        Cloud::Azure => parses::<object_store::azure::AzureConfigKey>(name),
        _ => false,
    }
}

#[cfg(feature = "cloud")]
fn parses<T: std::str::FromStr>(name: &str) -> bool {
    T::from_str(&name.to_ascii_lowercase()).is_ok()
}

/// Settings that the environment holds, in each cloud's own names; of AWS, the profile's files too.
fn environment(url: &Url) -> Vec<(String, String)> {
    let prefixes: &[&str] = match cloud(url) {
        Cloud::Aws => &["AWS_"],
        Cloud::Gcp => &["GOOGLE_"],
        Cloud::Azure => &["AZURE_", "MSI_", "IDENTITY_"],
        Cloud::None => &[],
    };
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut found: Vec<(String, String)> =
        variables.filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix))).collect();
    if matches!(cloud(url), Cloud::Aws) {
        let has = |name: &str| found.iter().any(|(n, _)| n == name);
        let has_keys = has("AWS_ACCESS_KEY_ID") || has("AWS_WEB_IDENTITY_TOKEN_FILE");
        let profile = std::env::var("AWS_PROFILE").unwrap_or_else(|_| "default".into());
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let file = |variable: &str, usual: &str| {
            let path = std::env::var_os(variable).map_or_else(|| home.join(usual), PathBuf::from);
            fs::read_to_string(path).unwrap_or_default()
        };
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
        let config = file("AWS_CONFIG_FILE", ".aws/config");
        let mut settings = section(&config, &format!("profile {profile}"));
        settings.extend(section(&config, &profile));
        settings.extend(section(&credentials, &profile));
        let mut add = |name: &str, setting: &str| {
            if let Some((_, value)) = settings.iter().rev().find(|(n, _)| n == setting) {
                found.push((name.to_owned(), value.clone()));
            }
        };
        if !has_keys {
            add("AWS_ACCESS_KEY_ID", "aws_access_key_id");
            add("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key");
            add("AWS_SESSION_TOKEN", "aws_session_token");
        }
        if std::env::var_os("AWS_REGION").is_none() && std::env::var_os("AWS_DEFAULT_REGION").is_none() {
            add("AWS_REGION", "region");
        }
    }
    found
}

/// Settings of a section of an AWS configuration file.
fn section(text: &str, name: &str) -> Vec<(String, String)> {
    let heading = format!("[{name}]");
    text.lines()
        .map(str::trim)
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_from_its_section() {
        let text =
            "[default]\naws_access_key_id = A\n\n[profile work]\nregion=eu-west-1\n[other]\nregion = x\n";
        assert_eq!(section(text, "profile work"), [("region".to_owned(), "eu-west-1".to_owned())]);
        assert_eq!(section(text, "default").len(), 1);
        assert!(section(text, "none").is_empty());
    }

    #[test]
    fn no_signature_is_shown() {
        let text = "GET https://a.blob.example/c/x?sig=secret&se=1 failed";
        assert_eq!(without_query(text), "GET https://a.blob.example/c/x?… failed");
        assert!(!shown("s3://key:secret@bucket/x").contains("secret"));
        assert_eq!(
            shown("abfss://data@acct.dfs.core.windows.net/x"),
            "abfss://data@acct.dfs.core.windows.net/x"
        );
    }

    #[test]
    fn unknown_options_and_urls_are_refused() {
        let option = |name: &str| [(name.to_owned(), "x".to_owned())];
        assert!(Remote::connect("s3://bucket/x", &option("colour")).is_err());
        assert!(Remote::connect("s3://bucket/x?key=1", &[]).is_err());
        assert!(Remote::connect("ftp://bucket/x", &[]).is_err());
        #[cfg(feature = "aws")]
        assert!(Remote::connect("s3://bucket/x", &[("aws_region".into(), "eu-west-1".into())]).is_ok());
    }
}
