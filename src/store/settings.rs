//! A destination's name and an object store's settings: what people write, and what the environment holds.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use url::Url;

use super::Error;

/// Schemes of object stores, for messages.
const SCHEMES: &str = "s3://, gs://, az:// or abfss://";

/// Where a destination is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// A URL of an object store.
    Cloud(String),
}

/// Reasons to refuse a destination's name or a setting of its store.
#[derive(Debug, thiserror::Error)]
pub enum NameFlaw {
    /// There is none.
    #[error("it is empty")]
    Empty,
    /// `~` stands for nothing.
    #[error("HOME is not set; write the whole path")]
    NoHome,
    /// `~name` is another user's home folder, which is not looked up.
    #[error("write the whole path, or ./~... for a folder of that name")]
    Tilde,
    /// A `file:` URL of another machine.
    #[error("write file:///path, or the path alone")]
    File,
    /// A URL of something that is no object store.
    #[error("there is no store of this kind; there are {SCHEMES}")]
    Scheme,
    /// A URL of a known scheme with a slash too few.
    #[error("did you mean {0}?")]
    OneSlash(String),
    /// A URL of an unknown scheme with a slash too few, or a folder.
    #[error("a URL has two slashes ({SCHEMES}); for a folder of that name write ./{0}")]
    UnknownWithOneSlash(String),
    /// No URL at all.
    #[error("it is not a URL{}", .0.map_or(String::new(), |e| format!(": {e}")))]
    Url(#[source] Option<url::ParseError>),
    /// A URL without a host.
    #[error("it names no bucket")]
    NoBucket,
    /// Secrets in URLs end up in logs.
    #[error("it holds credentials or settings; give them as --option or in the environment")]
    Settings,
    /// `#` in the bucket.
    #[error("a bucket's name has no #")]
    Fragment,
    /// A place that stores would take for another.
    #[error("it has empty parts, or parts that are . or ..")]
    Parts,
    /// A place that no object may have.
    #[error("{0}")]
    Place(#[from] object_store::path::Error),
    /// A setting that the store doesn't have.
    #[error("--option {0} is none of this store's settings")]
    Option(String),
    /// The store's client refuses its settings.
    #[error("{why}")]
    Store {
        /// The client's message, without signatures.
        why: String,
        /// The error itself.
        source: Box<object_store::Error>,
    },
    /// The store's client was left out of this build.
    #[error("this hexport was built without such stores")]
    NotBuilt,
    /// There are no threads to talk to the store with.
    #[error("{0}")]
    Threads(#[source] std::io::Error),
    /// An object store needs a folder on this machine, for journals.
    #[error("there is no folder for journals: set HEXPORT_STATE_DIR, XDG_STATE_HOME or HOME")]
    NoStateFolder,
}

/// Reads a destination's name: a path (`~` is the home folder), `file://` and a path, or a URL of an object store.
///
/// # Errors
/// [`Error::Name`] for what is none of these, such as `s3:/typo`.
pub fn place(name: &str) -> Result<Place, Error> {
    let wrong = |source| Error::Name { place: shown(name), source };
    if name.is_empty() {
        return Err(wrong(NameFlaw::Empty));
    }
    if let Some(rest) = name.strip_prefix('~') {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        return match (rest.strip_prefix('/'), home) {
            (_, Some(home)) if rest.is_empty() => Ok(Place::Folder(home)),
            (Some(below), Some(home)) => Ok(Place::Folder(home.join(below.trim_start_matches('/')))),
            (Some(_), None) => Err(wrong(NameFlaw::NoHome)),
            _ => Err(wrong(NameFlaw::Tilde)),
        };
    }
    let Some((scheme, rest)) = name.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return Ok(Place::Folder(name.into()));
    };
    let lower = scheme.to_ascii_lowercase();
    match (lower.as_str(), rest.strip_prefix("//")) {
        ("file", Some(_)) => match Url::parse(name).ok().and_then(|url| url.to_file_path().ok()) {
            Some(path) => Ok(Place::Folder(path)),
            None => Err(wrong(NameFlaw::File)),
        },
        (scheme, Some(_)) if cloud(scheme) != CloudKind::None => Ok(Place::Cloud(name.to_owned())),
        (_, Some(_)) => Err(wrong(NameFlaw::Scheme)),
        (known, None) if cloud(known) != CloudKind::None || known == "file" => {
            Err(wrong(NameFlaw::OneSlash(format!("{lower}://{}", rest.trim_start_matches('/')))))
        }
        (_, None) if rest.starts_with('/') => Err(wrong(NameFlaw::UnknownWithOneSlash(name.to_owned()))),
        _ => Ok(Place::Folder(name.into())),
    }
}

fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// Bucket and place in it, as a URL names them. The place is taken as it is written: nothing in it is decoded, and
/// `#` is a character like others.
pub(super) struct Parts {
    /// The URL without the place in the bucket.
    pub bucket: Url,
    /// The place, without slashes at its ends.
    pub prefix: String,
}

/// Takes a URL apart.
pub(super) fn parts(text: &str) -> Result<Parts, Error> {
    let wrong = |source| Error::Name { place: shown(text), source };
    let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong(NameFlaw::Url(None)))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let bucket = Url::parse(&format!("{}://{host}", scheme.to_ascii_lowercase()))
        .map_err(|e| wrong(NameFlaw::Url(Some(e))))?;
    if host.is_empty() || bucket.host_str().is_none() {
        return Err(wrong(NameFlaw::NoBucket));
    }
    if path.contains('?') || bucket.query().is_some() || bucket.password().is_some() {
        return Err(wrong(NameFlaw::Settings));
    }
    if bucket.fragment().is_some() {
        return Err(wrong(NameFlaw::Fragment));
    }
    let prefix = path.trim_matches('/').to_owned();
    if prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.contains("//") {
        return Err(wrong(NameFlaw::Parts));
    }
    Ok(Parts { bucket, prefix })
}

/// Whether a request that failed is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retries {
    /// As often as the store's client does by default.
    Usual,
    /// Never.
    None,
}

#[cfg(feature = "cloud")]
impl Retries {
    fn config(self) -> object_store::RetryConfig {
        let usual = object_store::RetryConfig::default();
        match self {
            Self::Usual => usual,
            Self::None => object_store::RetryConfig { max_retries: 0, ..usual },
        }
    }
}

/// Connects, with settings of the options before those of the environment.
pub(super) fn connect(
    bucket: &Url,
    options: &[(String, String)],
    retries: Retries,
) -> Result<Arc<dyn ObjectStore>, Error> {
    let wrong = |source| Error::Name { place: shown(bucket.as_str()), source };
    for (name, _) in options {
        if !is_option(bucket, name) {
            return Err(wrong(NameFlaw::Option(name.clone())));
        }
    }
    let all: Vec<(String, String)> = environment(bucket).into_iter().chain(options.to_vec()).collect();
    let failed = |e: object_store::Error| {
        wrong(NameFlaw::Store { why: without_query(&e.to_string()), source: Box::new(e) })
    };
    #[cfg(feature = "cloud")]
    macro_rules! build {
        ($builder:ty) => {{
            let start = <$builder>::new().with_url(bucket.as_str()).with_retry(retries.config());
            let set =
                all.iter().fold(start, |builder, (name, value)| match name.to_ascii_lowercase().parse() {
                    Ok(key) => builder.with_config(key, value),
                    Err(_) => builder,
                });
            Ok(Arc::new(set.build().map_err(failed)?))
        }};
    }
    match cloud(bucket.scheme()) {
        #[cfg(feature = "aws")]
        CloudKind::Aws => build!(object_store::aws::AmazonS3Builder),
        #[cfg(feature = "gcp")]
        CloudKind::Gcp => build!(object_store::gcp::GoogleCloudStorageBuilder),
        #[cfg(feature = "azure")]
        CloudKind::Azure => build!(object_store::azure::MicrosoftAzureBuilder),
        _ => {
            let _ = (all, failed, retries);
            Err(wrong(NameFlaw::NotBuilt))
        }
    }
}

/// A destination as it may be shown: credentials in a URL are cut.
pub(super) fn shown(text: &str) -> String {
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
pub(super) fn without_query(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(char::is_whitespace) {
        match word.split_once('?').filter(|(before, _)| before.contains("://")) {
            Some((before, _)) => out += &format!("{before}?… "),
            None => out += word,
        }
    }
    out.trim_end().to_owned()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CloudKind {
    Aws,
    Gcp,
    Azure,
    None,
}

fn cloud(scheme: &str) -> CloudKind {
    match scheme {
        "s3" | "s3a" => CloudKind::Aws,
        "gs" => CloudKind::Gcp,
        "az" | "adl" | "azure" | "abfs" | "abfss" => CloudKind::Azure,
        _ => CloudKind::None,
    }
}

/// Whether a store of this URL has such a setting.
#[cfg_attr(not(feature = "cloud"), allow(unused_variables))]
fn is_option(url: &Url, name: &str) -> bool {
    match cloud(url.scheme()) {
        #[cfg(feature = "aws")]
        CloudKind::Aws => parses::<object_store::aws::AmazonS3ConfigKey>(name),
        #[cfg(feature = "gcp")]
        CloudKind::Gcp => parses::<object_store::gcp::GoogleConfigKey>(name),
        #[cfg(feature = "azure")]
        CloudKind::Azure => parses::<object_store::azure::AzureConfigKey>(name),
        _ => false,
    }
}

#[cfg(feature = "cloud")]
fn parses<T: std::str::FromStr>(name: &str) -> bool {
    T::from_str(&name.to_ascii_lowercase()).is_ok()
}

/// Settings that the environment holds, in each cloud's own names; of AWS, the profile's files too. A variable
/// that is set and empty is not set.
fn environment(url: &Url) -> Vec<(String, String)> {
    let prefixes: &[&str] = match cloud(url.scheme()) {
        CloudKind::Aws => &["AWS_"],
        CloudKind::Gcp => &["GOOGLE_"],
        CloudKind::Azure => &["AZURE_", "MSI_", "IDENTITY_"],
        CloudKind::None => &[],
    };
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(_, value)| !value.is_empty());
    let mut found: Vec<(String, String)> =
        variables.filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix))).collect();
    if cloud(url.scheme()) == CloudKind::Aws {
        let profile = from_profile(&found);
        found.extend(profile);
    }
    found
}

/// Settings from AWS's own files, where the environment has none.
fn from_profile(set: &[(String, String)]) -> Vec<(String, String)> {
    let value = |name: &str| set.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let has_keys = value("AWS_ACCESS_KEY_ID").or(value("AWS_WEB_IDENTITY_TOKEN_FILE")).is_some();
    let profile = value("AWS_PROFILE").unwrap_or_else(|| "default".into());
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let file = |variable: &str, usual: &str| {
        let path = value(variable).map_or_else(|| home.join(usual), PathBuf::from);
        fs::read_to_string(path).unwrap_or_default()
    };
    let credentials = file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
    let config = file("AWS_CONFIG_FILE", ".aws/config");
    let mut settings = section(&config, &format!("profile {profile}"));
    settings.extend(section(&config, &profile));
    settings.extend(section(&credentials, &profile));
    let mut found = Vec::new();
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
    if value("AWS_REGION").or(value("AWS_DEFAULT_REGION")).is_none() {
        add("AWS_REGION", "region");
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
    fn names_are_paths_or_urls_and_typos_are_refused() {
        let folder = |path: &str| Ok::<_, String>(Place::Folder(path.into()));
        let home = std::env::var("HOME").unwrap();
        let cases = [
            ("lake", folder("lake")),
            ("/a/status=prod/[x]#y %20", folder("/a/status=prod/[x]#y %20")),
            ("./s3:/x", folder("./s3:/x")),
            ("2026:lake", folder("2026:lake")),
            ("file:///tmp/a%20b", folder("/tmp/a b")),
            ("~", folder(&home)),
            ("~/lake", folder(&format!("{home}/lake"))),
            ("s3://bucket/a#b", Ok(Place::Cloud("s3://bucket/a#b".into()))),
            ("S3://bucket/a", Ok(Place::Cloud("S3://bucket/a".into()))),
            ("~bob/lake", Err("whole path".into())),
            ("s3:/bucket/x", Err("s3://bucket/x".into())),
            ("s3:bucket", Err("s3://bucket".into())),
            ("gs:/x", Err("gs://x".into())),
            ("ss3:/x", Err("two slashes".into())),
            ("ftp://x/y", Err("there are s3://".into())),
            ("https://x/y", Err("there are s3://".into())),
            ("file://host/x", Err("file:///path".into())),
            ("", Err("empty".into())),
        ];
        for (name, expected) in cases {
            match (place(name), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{name}"),
                (Err(e), Err(said)) => assert!(e.to_string().contains(&said), "{name}: {e}"),
                (found, expected) => panic!("{name}: {found:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn a_place_in_a_bucket_is_taken_as_it_is_written() {
        for (url, prefix) in [
            ("s3://b", ""),
            ("s3://b/", ""),
            ("s3://b/hash#x/", "hash#x"),
            ("s3://b/a%20b/[c]", "a%20b/[c]"),
            ("abfss://c@acct.dfs.core.windows.net/a/b", "a/b"),
        ] {
            assert_eq!(parts(url).unwrap().prefix, prefix, "{url}");
        }
        for url in ["s3:///x", "s3://b/a//b", "s3://b/../x", "s3://b/x?key=1", "s3://k:secret@b/x"] {
            let error = parts(url).err().map(|e| e.to_string());
            assert!(error.as_ref().is_some_and(|e| !e.contains("secret")), "{url}: {error:?}");
        }
    }

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
    fn unknown_options_are_refused() {
        let option = |name: &str| [(name.to_owned(), "x".to_owned())];
        let bucket = Url::parse("s3://bucket").unwrap();
        assert!(connect(&bucket, &option("colour"), Retries::Usual).is_err());
        #[cfg(feature = "aws")]
        assert!(connect(&bucket, &option("aws_region"), Retries::Usual).is_ok());
    }
}
