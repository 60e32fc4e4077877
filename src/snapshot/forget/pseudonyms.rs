//! People whose addresses may not be in a lake: a list of keyed hashes, and how their addresses are found in texts.
//!
//! The list holds no address: whoever has the lake but not the key can't tell who is on it. An address is found by
//! hashing everything in a text that looks like one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Environment variable of the key.
pub const KEY: &str = "HEXPORT_PSEUDONYM_KEY";
/// A shorter key could be guessed.
const KEY_BYTES: usize = 16;
/// Domain of pseudonyms: a reserved one, so that mail never reaches anybody.
pub const DOMAIN: &str = "forgotten.invalid";
/// Known text that is hashed to recognise a key.
const CHECK: &str = "hexport pseudonyms";
/// Longer local parts aren't valid (RFC 5321).
const LOCAL_CHARS: usize = 64;

/// The secret that addresses are hashed with.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Flaws of the pseudonym key, or its absence.
#[derive(Debug, thiserror::Error)]
pub enum KeyFlaw {
    /// People have been forgotten, and there is no key.
    #[error(
        "{people} {} forgotten in {lake}: set {KEY} to the key that was used",
        if *.people == 1 { "person is" } else { "people are" }
    )]
    Missing {
        /// Number of people.
        people: usize,
        /// The destination.
        lake: String,
    },
    /// The key is a different one.
    #[error("{KEY} isn't the key that people were forgotten with in {lake}")]
    Other {
        /// The destination.
        lake: String,
    },
    /// The key could be guessed.
    #[error("{KEY} is too short: use at least {KEY_BYTES} random characters")]
    Short,
}

impl Key {
    /// A key.
    ///
    /// # Errors
    /// [`KeyFlaw::Short`].
    pub fn new(text: &str) -> Result<Self, KeyFlaw> {
        match text.len() >= KEY_BYTES {
            true => Ok(Self(text.as_bytes().to_vec())),
            false => Err(KeyFlaw::Short),
        }
    }

    /// HMAC-SHA-256 (RFC 2104), in hexadecimal.
    fn hmac(&self, text: &str) -> String {
        const BLOCK: usize = 64;
        let mut key = [0_u8; BLOCK];
        match self.0.len() > BLOCK {
            true => key[..32].copy_from_slice(&Sha256::digest(&self.0)),
            false => key[..self.0.len()].copy_from_slice(&self.0),
        }
        let inner = Sha256::new().chain_update(key.map(|b| b ^ 0x36)).chain_update(text).finalize();
        let outer = Sha256::new().chain_update(key.map(|b| b ^ 0x5c)).chain_update(inner).finalize();
        outer.iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// The list, as it is kept in the lake.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct List {
    /// Version of the list's form.
    pub version: u32,
    /// HMAC of a known text under the right key.
    pub key_check: String,
    /// When each address was forgotten, by its HMAC.
    pub addresses: BTreeMap<String, DateTime<Utc>>,
}

impl List {
    /// An empty list for a key.
    pub(super) fn new(key: &Key) -> Self {
        Self { version: 1, key_check: key.hmac(CHECK), addresses: BTreeMap::new() }
    }

    /// Whether it was made with this key.
    pub(super) fn is_of(&self, key: &Key) -> bool {
        self.key_check == key.hmac(CHECK)
    }

    /// Adds an address.
    pub(super) fn add(&mut self, key: &Key, address: &str, at: DateTime<Utc>) {
        self.addresses.entry(key.hmac(&address.to_lowercase())).or_insert(at);
    }
}

/// Replaces the addresses of forgotten people by their pseudonyms.
#[derive(Debug, Default)]
pub struct Pseudonyms {
    key: Option<Key>,
    list: List,
    /// Texts that looked like addresses, with their pseudonyms.
    seen: Mutex<HashMap<String, Option<String>>>,
}

/// Maximum number of address-like texts to remember.
const SEEN: usize = 100_000;

impl Pseudonyms {
    pub(super) fn new(key: Key, list: List) -> Self {
        Self { key: Some(key), list, seen: Mutex::default() }
    }

    /// Whether nobody is forgotten.
    pub fn is_empty(&self) -> bool {
        self.key.is_none() || self.list.addresses.is_empty()
    }

    /// The pseudonym of an address on the list.
    pub fn of(&self, address: &str) -> Option<String> {
        let key = self.key.as_ref()?;
        let address = address.to_lowercase();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.get(&address) {
            return known.clone();
        }
        let hmac = key.hmac(&address);
        let found = self.list.addresses.contains_key(&hmac).then(|| pseudonym(&hmac));
        if seen.len() >= SEEN {
            seen.clear();
        }
        seen.insert(address, found.clone());
        found
    }

    /// A text with pseudonyms; `None` if nobody forgotten is in it.
    pub fn replace(&self, text: &str) -> Option<String> {
        if self.is_empty() || !may_hold_address(text.as_bytes()) {
            return None;
        }
        let mut out = String::new();
        let mut done = 0;
        for (at, sign) in signs(text) {
            if at < done {
                continue;
            }
            let (domain_at, domain) = domain_after(text, at + sign.len());
            let found = starts(text, at).into_iter().filter(|start| *start >= done).find_map(|start| {
                let pseudonym = self.of(&format!("{}@{domain}", &text[start..at]))?;
                Some((start, pseudonym))
            });
            if let Some((start, pseudonym)) = found {
                out.push_str(&text[done..start]);
                out.push_str(&pseudonym.replace('@', sign));
                done = domain_at;
            }
        }
        if done == 0 {
            return None;
        }
        out.push_str(&text[done..]);
        Some(out)
    }

    /// A text of a table with pseudonyms, which may be JSON. `None` if nobody forgotten is in it.
    pub fn replace_text(&self, text: &str) -> Option<String> {
        match text.starts_with(['{', '[']) {
            true => self.replace_json(text),
            false => self.replace(text),
        }
    }

    /// JSON, or any other text, with pseudonyms: also where JSON escapes the sign, and for the name in an object with an
    /// address. `None` if nobody is in it.
    pub fn replace_json(&self, text: &str) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let is_escaped = text.to_ascii_lowercase().contains("\\u0040");
        let parsed = || serde_json::from_str::<Value>(text).ok();
        if let Some(value) = is_escaped.then(parsed).flatten() {
            // Written again, no sign is escaped.
            let plain = value.to_string();
            return self.replace_json(&plain);
        }
        let replaced = self.replace(text);
        let whole = replaced.as_deref().unwrap_or(text);
        if whole.contains(DOMAIN) && whole.contains("\"name\"") {
            let mut value: Value = match serde_json::from_str(whole) {
                Ok(value) => value,
                Err(_) => return replaced,
            };
            if self.rename(&mut value) {
                return Some(value.to_string());
            }
        }
        replaced
    }

    /// Replaces the names in objects that have a forgotten person's address as well.
    fn rename(&self, value: &mut Value) -> bool {
        match value {
            Value::Array(items) => items.iter_mut().fold(false, |changed, item| self.rename(item) | changed),
            Value::Object(members) => {
                let new =
                    members.get("email").and_then(Value::as_str).and_then(|email| self.name_beside(email));
                let mut is_changed = false;
                if let (Some(new), Some(Value::String(name))) = (new, members.get_mut("name"))
                    && !name.is_empty()
                    && *name != new
                {
                    *name = new;
                    is_changed = true;
                }
                members.values_mut().fold(is_changed, |changed, member| self.rename(member) | changed)
            }
            _ => false,
        }
    }

    /// The pseudonym that replaces the name of the person with this address. The address may be a pseudonym already.
    pub fn name_beside(&self, address: &str) -> Option<String> {
        let is_pseudonym = || address.ends_with(&format!("@{DOMAIN}"));
        self.of(address).or_else(|| is_pseudonym().then(|| address.to_owned()))
    }
}

/// The pseudonym that stands for an HMAC.
fn pseudonym(hmac: &str) -> String {
    format!("{}@{DOMAIN}", &hmac[..20])
}

/// Whether there may be an address in these bytes.
pub(super) fn may_hold_address(bytes: &[u8]) -> bool {
    bytes.contains(&b'@') || bytes.windows(3).any(|three| three == b"%40")
}

/// Where there is an @, or one in the encoding of URLs.
fn signs(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = text.as_bytes();
    (0..bytes.len()).filter_map(move |i| match bytes[i] {
        b'@' => Some((i, "@")),
        b'%' if bytes[i..].starts_with(b"%40") => Some((i, "%40")),
        _ => None,
    })
}

/// The domain that begins here, and where it ends.
fn domain_after(text: &str, at: usize) -> (usize, &str) {
    let rest = &text[at..];
    let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-'))).unwrap_or(rest.len());
    let domain = rest[..end].trim_end_matches(['.', '-']);
    (at + domain.len(), domain)
}

/// Characters of a local part that seldom are of one: they may as well be what an address stands in.
const RARE: &str = "!#$%&'*/=?^`{|}~";

/// Where the local part of the address with its sign here may begin, the longest first. An escape before it
/// (`\n`, `\u003c`, `%3C`) ends in letters that are not of it.
fn starts(text: &str, sign: usize) -> Vec<usize> {
    let is_local = |c: char| c.is_alphanumeric() || "._+-".contains(c) || RARE.contains(c);
    let run = text[..sign].char_indices().rev().take(LOCAL_CHARS + 8).take_while(|(_, c)| is_local(*c));
    let Some((first, _)) = run.last() else { return Vec::new() };
    let mut found = vec![first];
    let mut add = |at: usize| found.extend((at < sign && text.is_char_boundary(at)).then_some(at));
    if text[..first].ends_with('\\') {
        add(first + 1);
        add(first + 5);
    }
    for (at, c) in text[first..sign].char_indices().map(|(i, c)| (first + i, c)) {
        if RARE.contains(c) {
            add(at + 1);
        }
        if c == '%' {
            add(at + 3);
        }
    }
    // A dot, a dash or a plus before an address is punctuation.
    let bare: Vec<usize> = found
        .iter()
        .map(|at| sign - text[*at..sign].trim_start_matches(['.', '-', '+', '_']).len())
        .collect();
    found.extend(bare);
    found.sort_unstable();
    found.dedup();
    found.retain(|at| *at < sign);
    found
}

/// Finds one address in texts by reading them, without a key, to check that it was forgotten.
#[derive(Debug, Clone)]
pub struct Finder(String);

impl Finder {
    /// Finds this address, however it is written.
    pub fn new(address: &str) -> Self {
        Self(address.to_lowercase())
    }

    /// Whether the address is in a text, and isn't the end or the beginning of somebody else's.
    pub fn is_in(&self, text: &str) -> bool {
        if !may_hold_address(text.as_bytes()) && !text.contains("\\u0040") {
            return false;
        }
        let text = text.to_lowercase();
        let escaped = [self.0.clone(), self.0.replace('@', "%40"), self.0.replace('@', "\\u0040")];
        escaped.iter().any(|form| {
            text.match_indices(form)
                .any(|(at, _)| !is_longer_before(&text[..at]) && !is_longer_after(&text[at + form.len()..]))
        })
    }
}

/// Whether a local part goes on to the left: `jim.bob@` isn't Bob.
fn is_longer_before(before: &str) -> bool {
    let mut chars = before.chars().rev();
    let joins = |c: char| "._+-".contains(c);
    let is_own = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let last = chars.next();
    let word = match last {
        Some(c) if joins(c) => is_own(chars.next()),
        c => is_own(c),
    };
    // Unless it is the end of an escape.
    let ends_escape = |length: usize, sign: char| {
        let tail: Vec<char> = before.chars().rev().take(length).collect();
        tail.len() == length && tail[length - 1] == sign
    };
    word && !(ends_escape(2, '\\') || ends_escape(6, '\\') || ends_escape(3, '%'))
}

/// Whether a domain goes on to the right: `example.com.au` isn't `example.com`.
fn is_longer_after(after: &str) -> bool {
    let mut chars = after.chars();
    match chars.next() {
        Some('.' | '-') => chars.next().is_some_and(char::is_alphanumeric),
        c => c.is_some_and(char::is_alphanumeric),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forgetting(addresses: &[&str]) -> Pseudonyms {
        let key = Key::new("a key that nobody guesses").unwrap();
        let mut list = List::new(&key);
        addresses.iter().for_each(|address| list.add(&key, address, DateTime::UNIX_EPOCH));
        Pseudonyms::new(key, list)
    }

    #[test]
    fn the_hash_is_hmac_sha_256() {
        // RFC 4231, test cases 2 (with a key made longer by zeros, which HMAC pads with anyhow) and 6.
        let short = Key(b"Jefe".to_vec());
        assert_eq!(
            short.hmac("what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let long = Key(vec![0xaa; 131]);
        assert_eq!(
            long.hmac("Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        assert!(Key::new("short").is_err());
    }

    #[test]
    fn an_address_is_found_in_any_text_and_nobody_elses_is() {
        let people = forgetting(&["Bob@Example.com", "o'hara@example.com"]);
        let bob = people.of("bob@example.com").unwrap();
        assert!(bob.ends_with("@forgotten.invalid") && !bob.contains("bob"), "{bob}");
        let finder = Finder::new("bob@example.com");
        for (text, expected) in [
            ("bob@example.com", "X"),
            ("BOB@EXAMPLE.COM", "X"),
            ("to: <Bob@example.com>, and others", "to: <X>, and others"),
            ("where email = 'bob@example.com'", "where email = 'X'"),
            ("x=bob@example.com&y=1", "x=X&y=1"),
            ("mailto:bob@example.com.", "mailto:X."),
            ("--bob@example.com", "--X"),
            ("{\"a\":\"line\\nbob@example.com\\tbob@example.com\"}", "{\"a\":\"line\\nX\\tX\"}"),
            ("\\u003cbob@example.com\\u003e", "\\u003cX\\u003e"),
            ("https://h/?u=bob%40example.com&x", "https://h/?u=X%&x"),
            ("https://h/?u=%3Cbob%40example.com%3E", "https://h/?u=%3CX%%3E"),
            ("bob@example.com,ann@example.com,bob@example.com", "X,ann@example.com,X"),
            ("é bob@example.com é", "é X é"),
        ] {
            let expected = expected.replace("X%", &bob.replace('@', "%40")).replace('X', &bob);
            assert_eq!(people.replace(text).as_deref(), Some(expected.as_str()), "{text}");
            assert!(finder.is_in(text) && !finder.is_in(&expected), "{text}");
        }
        for text in [
            "",
            "@",
            "bob",
            "ann@example.com",
            "jim.bob@example.com",
            "jim+bob@example.com",
            "jimbob@example.com",
            "bob@example.com.au",
            "bob@example.community",
            "bob@my-example.com",
            "100% @ 40%40",
        ] {
            assert_eq!(people.replace(text), None, "{text}");
            assert!(!finder.is_in(text), "{text}");
        }
        assert_eq!(people.replace("o'hara@example.com"), people.of("O'Hara@example.com"));
        let json = "{\"a\":\"bob\\u0040example.com\"}";
        assert_eq!(people.replace_json(json).unwrap(), format!("{{\"a\":\"{bob}\"}}"));
        assert!(finder.is_in(json));
        let json =
            r#"[{"email":"Bob@Example.com","name":"Bob B."},{"name":"Bob B.","email":"ann@example.com"}]"#;
        let renamed = people.replace_json(json).unwrap();
        assert_eq!(renamed.matches(&bob).count(), 2, "{renamed}");
        assert_eq!(renamed.matches("Bob B.").count(), 1, "a name alone is anybody's: {renamed}");
        // What was forgotten before names were.
        let old = format!("{{\"email\":\"{bob}\",\"name\":\"Bob B.\"}}");
        assert_eq!(people.replace_json(&old).unwrap(), old.replace("Bob B.", &bob));
        assert_eq!(people.replace_json(&old.replace("Bob B.", &bob)), None);
        assert_eq!(Pseudonyms::default().replace("bob@example.com"), None);
    }
}
