//! The identifier of a snapshot, and of the journal that becomes it.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Identifier of a snapshot: the second its crawl began, such as `2026-11-24T020000Z`.
///
/// Folders, journals, claims and Delta files are named after it, and some identifiers are read from files that anyone
/// can edit. So it is always safe as the name of a file: `..` or `a/b` never becomes one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotId(String);

/// A text that can't name a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' can't name a snapshot: names are letters, digits, '-', '_' and inner dots, such as 2026-11-24T020000Z"
)]
pub struct NotASnapshotId(String);

impl SnapshotId {
    /// Identifier of the snapshot whose crawl began at `at`: in UTC, so that the order of names is that of time.
    pub fn at(at: DateTime<Utc>) -> Self {
        Self(at.format("%Y-%m-%dT%H%M%SZ").to_string())
    }

    /// The identifier's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SnapshotId {
    type Error = NotASnapshotId;

    fn try_from(text: String) -> Result<Self, NotASnapshotId> {
        const LONGEST: usize = 100;
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let is_name = !text.is_empty() && text.len() <= LONGEST && text.bytes().all(fits);
        match is_name && !text.starts_with('.') && !text.ends_with('.') {
            true => Ok(Self(text)),
            false => Err(NotASnapshotId(text)),
        }
    }
}

impl FromStr for SnapshotId {
    type Err = NotASnapshotId;

    fn from_str(text: &str) -> Result<Self, NotASnapshotId> {
        Self::try_from(text.to_owned())
    }
}

impl Deref for SnapshotId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SnapshotId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<SnapshotId> for String {
    fn from(id: SnapshotId) -> Self {
        id.0
    }
}

impl PartialEq<str> for SnapshotId {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for SnapshotId {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_sort_by_time_and_are_safe_as_names_of_files() {
        let at = |text: &str| SnapshotId::at(text.parse().unwrap());
        assert_eq!(at("2026-11-24T02:00:09.5Z"), "2026-11-24T020009Z");
        assert!(at("2026-11-24T02:00:09Z") < at("2026-11-24T10:00:00Z"));
        assert_eq!(at("2026-11-24T02:00:09Z").parse(), Ok(at("2026-11-24T02:00:09Z")));
        for text in ["", ".", "..", "a/b", "../a", "a\\b", "C:", ".hidden", "a.", "a b", "a\n", "*"] {
            assert_eq!(text.parse::<SnapshotId>(), Err(NotASnapshotId(text.into())), "{text:?}");
            let json = serde_json::to_string(text).unwrap();
            assert!(serde_json::from_str::<SnapshotId>(&json).is_err(), "{text:?}");
        }
    }
}
