//! Repairs what servers send as JSON, so that every reader accepts it.
//!
//! Servers cut an emoji in half, write `NaN`, nest without end, or put a byte-order mark first. serde_json refuses
//! all of that, and one such value would cost the whole answer. [`repair`] changes as little of the text as it can
//! and counts what it changed. Text that needs no repair is passed on as it is, without a copy.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

/// Deepest nesting that is left as it is; a value below becomes text. serde_json reads 127 levels, and readers of
/// the `extra` column may read fewer.
const MAX_DEPTH: usize = 64;
/// Nesting at which reading stops: nothing means this.
const ABSURD_DEPTH: usize = 1 << 20;
/// Integers from here on aren't exact in 64-bit floating point.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Members of an object up to which keys are compared pair by pair.
const FEW: usize = 24;

/// A kind of repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repair {
    /// A byte-order mark, removed.
    ByteOrderMark,
    /// Bytes that aren't UTF-8, each run replaced by U+FFFD.
    Utf8,
    /// Half of a surrogate pair, replaced by U+FFFD.
    Surrogate,
    /// A raw control character inside a text, escaped.
    Control,
    /// A backslash that begins no escape, kept as a backslash.
    Escape,
    /// A number that 64 bits can't hold, or that isn't one (`NaN`, `+1`), kept as text with all its digits.
    Number,
    /// A value that is nested too deeply, kept as text.
    Deep,
    /// A member whose key comes again in the same object: the last one counts.
    DuplicateKey,
}

impl Repair {
    /// All kinds.
    pub const ALL: [Repair; 8] = [
        Repair::ByteOrderMark,
        Repair::Utf8,
        Repair::Surrogate,
        Repair::Control,
        Repair::Escape,
        Repair::Number,
        Repair::Deep,
        Repair::DuplicateKey,
    ];

    /// The repair in words.
    pub const fn name(self) -> &'static str {
        match self {
            Repair::ByteOrderMark => "byte-order mark",
            Repair::Utf8 => "bytes that are not UTF-8",
            Repair::Surrogate => "half of a surrogate pair",
            Repair::Control => "raw control character",
            Repair::Escape => "unknown escape",
            Repair::Number => "number kept as text",
            Repair::Deep => "deep nesting kept as text",
            Repair::DuplicateKey => "duplicate key",
        }
    }
}

/// Number of repairs of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repairs(BTreeMap<Repair, u64>);

impl Repairs {
    /// Whether nothing was repaired.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Kinds and how often, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (Repair, u64)> + '_ {
        self.0.iter().map(|(repair, n)| (*repair, *n))
    }

    pub(super) fn add(&mut self, repair: Repair, n: u64) {
        if n > 0 {
            *self.0.entry(repair).or_default() += n;
        }
    }
}

/// Reason that a text can't be repaired into JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It stops in the middle of a value.
    EndsEarly,
    /// Something stands where it can't.
    Unexpected { at: usize, found: char },
    /// Something follows the value.
    Trailing { at: usize },
    /// It is nested absurdly deep.
    Absurd,
}

/// Gives the text of `body` with all repairs made.
///
/// # Errors
/// [`Flaw`] if it isn't JSON even then.
pub(super) fn repair(body: &Bytes) -> Result<(Bytes, Repairs), Flaw> {
    let mut repairs = Repairs::default();
    let text = decode(body, &mut repairs);
    let edits = scan(&text, &mut repairs)?;
    let repaired = match (edits.is_empty(), text) {
        (true, Cow::Borrowed(text)) => body.slice_ref(text.as_bytes()),
        (true, Cow::Owned(text)) => text.into(),
        (false, text) => apply(&text, edits).into(),
    };
    Ok((repaired, repairs))
}

/// A repair of a text.
fn scan(text: &str, repairs: &mut Repairs) -> Result<Vec<Edit>, Flaw> {
    let mut scanner =
        Scanner { text, at: 0, frames: Vec::new(), members: Vec::new(), edits: Vec::new(), repairs };
    scanner.document()?;
    Ok(scanner.edits)
}

/// The body as text, without byte-order mark.
fn decode<'a>(body: &'a [u8], repairs: &mut Repairs) -> Cow<'a, str> {
    let units = |pair: fn([u8; 2]) -> u16| {
        body[2..].chunks_exact(2).map(|bytes| pair([bytes[0], bytes[1]])).collect::<Vec<u16>>()
    };
    let wide = match body {
        [0xff, 0xfe, ..] => Some(units(u16::from_le_bytes)),
        [0xfe, 0xff, ..] => Some(units(u16::from_be_bytes)),
        _ => None,
    };
    if let Some(units) = wide {
        repairs.add(Repair::ByteOrderMark, 1);
        return Cow::Owned(String::from_utf16_lossy(&units));
    }
    let body = match body.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => {
            repairs.add(Repair::ByteOrderMark, 1);
            rest
        }
        None => body,
    };
    let text = String::from_utf8_lossy(body);
    if matches!(text, Cow::Owned(_)) {
        repairs
            .add(Repair::Utf8, body.utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count() as u64);
    }
    text
}

/// Replaces parts of a text; a part inside another one goes with it.
fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| (edit.from, std::cmp::Reverse(edit.to)));
    let mut out = String::with_capacity(text.len() + 16 * edits.len());
    let mut done = 0;
    for edit in edits {
        if edit.from < done {
            continue;
        }
        out.push_str(&text[done..edit.from]);
        out.push_str(&edit.with);
        done = edit.to;
    }
    out.push_str(&text[done..]);
    out
}

/// A part of the text and what takes its place.
#[derive(Debug)]
struct Edit {
    from: usize,
    to: usize,
    with: Cow<'static, str>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Object,
    Array,
}

/// An object or array that isn't closed yet.
struct Frame {
    kind: Kind,
    from: usize,
    /// Place of its first member in [`Scanner::members`].
    members: usize,
}

struct Member<'a> {
    key: Cow<'a, str>,
    from: usize,
}

/// One pass over the text, without recursion: depth costs memory, not stack.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    frames: Vec<Frame>,
    members: Vec<Member<'a>>,
    edits: Vec<Edit>,
    repairs: &'a mut Repairs,
}

impl<'a> Scanner<'a> {
    fn document(&mut self) -> Result<(), Flaw> {
        self.space();
        'value: loop {
            match self.peek() {
                Some(b'{') => {
                    self.open(Kind::Object)?;
                    if self.peek() != Some(b'}') {
                        self.key()?;
                        continue 'value;
                    }
                }
                Some(b'[') => {
                    self.open(Kind::Array)?;
                    if self.peek() != Some(b']') {
                        continue 'value;
                    }
                }
                Some(b'"') => self.string()?,
                Some(_) => self.token()?,
                None => return Err(Flaw::EndsEarly),
            }
            // A value ended, or what is open is empty.
            loop {
                self.space();
                let Some(kind) = self.frames.last().map(|frame| frame.kind) else { break 'value };
                match (self.peek(), kind) {
                    (Some(b','), kind) => {
                        self.at += 1;
                        self.space();
                        if kind == Kind::Object {
                            self.key()?;
                        }
                        continue 'value;
                    }
                    (Some(b'}'), Kind::Object) | (Some(b']'), Kind::Array) => {
                        self.at += 1;
                        self.close();
                    }
                    _ => return Err(self.unexpected()),
                }
            }
        }
        if self.at < self.text.len() { Err(Flaw::Trailing { at: self.at }) } else { Ok(()) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn unexpected(&self) -> Flaw {
        match self.text[self.at..].chars().next() {
            Some(found) => Flaw::Unexpected { at: self.at, found },
            None => Flaw::EndsEarly,
        }
    }

    /// Whether what is read now will be kept as text as a whole.
    fn is_deep(&self) -> bool {
        self.frames.len() > MAX_DEPTH
    }

    fn edit(&mut self, from: usize, to: usize, with: impl Into<Cow<'static, str>>, repair: Repair) {
        if !self.is_deep() {
            self.edits.push(Edit { from, to, with: with.into() });
            self.repairs.add(repair, 1);
        }
    }

    fn open(&mut self, kind: Kind) -> Result<(), Flaw> {
        if self.frames.len() >= ABSURD_DEPTH {
            return Err(Flaw::Absurd);
        }
        self.frames.push(Frame { kind, from: self.at, members: self.members.len() });
        self.at += 1;
        self.space();
        Ok(())
    }

    fn close(&mut self) {
        let was_deep = self.is_deep();
        let Some(frame) = self.frames.pop() else { return };
        if was_deep && !self.is_deep() {
            let text = as_text(&self.text[frame.from..self.at]);
            self.edit(frame.from, self.at, text, Repair::Deep);
        } else if frame.kind == Kind::Object {
            self.cut_duplicates(frame.members);
        }
        self.members.truncate(frame.members);
    }

    /// Cuts the members of the object just closed whose keys come again.
    fn cut_duplicates(&mut self, first: usize) {
        let members = &self.members[first..];
        let mut cut = Vec::new();
        if members.len() <= FEW {
            for (i, member) in members.iter().enumerate() {
                if members[i + 1..].iter().any(|later| later.key == member.key) {
                    cut.push((member.from, members[i + 1].from));
                }
            }
        } else {
            let mut last: HashMap<&str, usize> = HashMap::with_capacity(members.len());
            for (i, member) in members.iter().enumerate() {
                if let Some(earlier) = last.insert(&member.key, i) {
                    cut.push((members[earlier].from, members[earlier + 1].from));
                }
            }
        }
        for (from, to) in cut {
            self.edit(from, to, "", Repair::DuplicateKey);
        }
    }

    /// A member's key and the colon after it.
    fn key(&mut self) -> Result<(), Flaw> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        let from = self.at;
        self.string()?;
        if !self.is_deep() {
            let raw = &self.text[from + 1..self.at - 1];
            let key = match raw.contains('\\') {
                false => Cow::Borrowed(raw),
                true => {
                    serde_json::from_str(&self.text[from..self.at]).map_or(Cow::Borrowed(raw), Cow::Owned)
                }
            };
            self.members.push(Member { key, from });
        }
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    fn string(&mut self) -> Result<(), Flaw> {
        self.at += 1;
        let bytes = self.text.as_bytes();
        loop {
            let plain = bytes[self.at..].iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\');
            self.at += plain.ok_or(Flaw::EndsEarly)?;
            match bytes[self.at] {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape()?,
                control => {
                    self.edit(self.at, self.at + 1, format!("\\u{control:04x}"), Repair::Control);
                    self.at += 1;
                }
            }
        }
    }

    /// An escape, from its backslash.
    fn escape(&mut self) -> Result<(), Flaw> {
        match self.text.as_bytes().get(self.at + 1) {
            None => Err(Flaw::EndsEarly),
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                match (self.unit(self.at), self.unit(self.at + 6)) {
                    (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => self.at += 12,
                    (Some(0xd800..=0xdfff), _) => {
                        self.edit(self.at, self.at + 6, "\\ufffd", Repair::Surrogate);
                        self.at += 6;
                    }
                    (Some(_), _) => self.at += 6,
                    (None, _) => self.stray_backslash(),
                }
                Ok(())
            }
            Some(_) => {
                self.stray_backslash();
                Ok(())
            }
        }
    }

    fn stray_backslash(&mut self) {
        self.edit(self.at, self.at + 1, "\\\\", Repair::Escape);
        self.at += 1;
    }

    /// The code unit of a `\uXXXX` that begins at `at`.
    fn unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.as_bytes().get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | (*digit as char).to_digit(16)? as u16))
    }

    /// A literal or a number.
    fn token(&mut self) -> Result<(), Flaw> {
        let rest = &self.text[self.at..];
        let belongs = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let token = &rest[..rest.bytes().position(|b| !belongs(b)).unwrap_or(rest.len())];
        let (from, to) = (self.at, self.at + token.len());
        match token {
            "true" | "false" | "null" => {}
            "NaN" | "-NaN" | "Infinity" | "-Infinity" | "+Infinity" => {
                self.edit(from, to, as_text(token), Repair::Number);
            }
            _ if is_exact_number(token) => {}
            _ if token.bytes().any(|b| b.is_ascii_digit())
                && token.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) =>
            {
                self.edit(from, to, as_text(token), Repair::Number);
            }
            _ if to == self.text.len()
                && ["true", "false", "null"].iter().any(|word| word.starts_with(token)) =>
            {
                return Err(Flaw::EndsEarly);
            }
            _ => return Err(self.unexpected()),
        }
        self.at = to;
        Ok(())
    }
}

fn as_text(raw: &str) -> String {
    serde_json::Value::from(raw).to_string()
}

/// Whether a token is a number of JSON's grammar that 64 bits hold with all its digits.
fn is_exact_number(token: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let unsigned = token.strip_prefix('-').unwrap_or(token);
    let whole = digits(unsigned);
    if whole == 0 || (whole > 1 && unsigned.starts_with('0')) {
        return false;
    }
    let mut rest = &unsigned[whole..];
    if rest.is_empty() {
        return whole <= 18 || token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok();
    }
    let mut significant = whole;
    if let Some(fraction) = rest.strip_prefix('.') {
        let n = digits(fraction);
        if n == 0 {
            return false;
        }
        significant += n;
        rest = &fraction[n..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let n = digits(exponent);
        if n == 0 {
            return false;
        }
        rest = &exponent[n..];
    }
    let mantissa = &unsigned[..unsigned.find(['e', 'E']).unwrap_or(unsigned.len())];
    let is_zero = mantissa.bytes().all(|b| matches!(b, b'0' | b'.'));
    let fits = |n: f64| n.is_finite() && n.abs() < EXACT && (n != 0.0 || is_zero);
    rest.is_empty() && significant <= 17 && token.parse().is_ok_and(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn repaired(body: &[u8]) -> (String, Vec<(Repair, u64)>) {
        let (text, repairs) = repair(&Bytes::copy_from_slice(body)).unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        serde_json::from_str::<Value>(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        (text, repairs.iter().collect())
    }

    #[test]
    fn what_is_json_passes_as_it_is() {
        for text in [
            r#" {"a": [1, -0.5, 1e3, true, null, "\ud83d\ude00 \u0000 \/"], "b": {}} "#,
            "[]",
            "\"x\"",
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
        ] {
            assert_eq!(repaired(text.as_bytes()), (text.to_owned(), vec![]), "{text}");
        }
    }

    #[test]
    fn each_kind_of_repair_keeps_what_it_can() {
        use Repair::*;
        let cases: &[(&[u8], &str, Repair, u64)] = &[
            (b"\xef\xbb\xbf[1]", "[1]", ByteOrderMark, 1),
            (b"\xff\xfe[\x001\x00]\x00", "[1]", ByteOrderMark, 1),
            (b"[\"a\xff\xfeb\"]", "[\"a\u{fffd}\u{fffd}b\"]", Utf8, 2),
            (br#"["Revenue \ud83d"]"#, r#"["Revenue \ufffd"]"#, Surrogate, 1),
            (br#"["\ude00\ud83d\ud83d\ude00"]"#, r#"["\ufffd\ufffd\ud83d\ude00"]"#, Surrogate, 2),
            (b"[\"a\nb\0\"]", r#"["a\u000ab\u0000"]"#, Control, 2),
            (br#"["\x41 \u12"]"#, r#"["\\x41 \\u12"]"#, Escape, 2),
            (b"[NaN, -Infinity]", r#"["NaN", "-Infinity"]"#, Number, 2),
            (b"[18446744073709551616]", r#"["18446744073709551616"]"#, Number, 1),
            (
                b"[1e999, 1e-999, 9007199254740993.0]",
                r#"["1e999", "1e-999", "9007199254740993.0"]"#,
                Number,
                3,
            ),
            (b"[01, +1, .5, 1.]", r#"["01", "+1", ".5", "1."]"#, Number, 4),
            (br#"{"a": 1, "b": 2, "a": 3}"#, r#"{"b": 2, "a": 3}"#, DuplicateKey, 1),
            (br#"{"\u0061": "\ud83d", "a": 3}"#, r#"{"a": 3}"#, DuplicateKey, 1),
        ];
        for (body, text, repair, n) in cases {
            let (got, repairs) = repaired(body);
            assert_eq!(got, *text);
            assert!(repairs.contains(&(*repair, *n)), "{got}: {repairs:?}");
        }
    }

    #[test]
    fn a_value_that_is_too_deep_is_kept_as_text() {
        for depth in [63, 64, 65, 128, 5_000] {
            let deep = format!("{}\"\\ud83d\"{}", "[".repeat(depth), "]".repeat(depth));
            let (text, repairs) = repaired(format!(r#"{{"a": {deep}, "b": 1}}"#).as_bytes());
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["b"], 1);
            let kept_as_text = repairs.contains(&(Repair::Deep, 1));
            assert_eq!(kept_as_text, depth > 63, "{depth}");
            if kept_as_text {
                assert!(text.contains(r#"\\ud83d"#), "as it was sent: {text}");
            }
        }
    }

    #[test]
    fn many_keys_are_compared_as_well_as_few() {
        let members: Vec<String> = (0..100).map(|n| format!(r#""k{}": {n}"#, n % 40)).collect();
        let (text, repairs) = repaired(format!("{{{}}}", members.join(",")).as_bytes());
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 40);
        assert_eq!((&value["k39"], &value["k19"]), (&79.into(), &99.into()));
        assert_eq!(repairs, [(Repair::DuplicateKey, 60)]);
    }

    #[test]
    fn what_is_not_json_says_where_it_stops_being_it() {
        let flaw = |text: &str| repair(&Bytes::copy_from_slice(text.as_bytes())).unwrap_err();
        for text in ["", "{", "[1,", "{\"a\"", "\"abc", "\"\\", "tru", "{\"a\":", "[\"\\ud8"] {
            assert_eq!(flaw(text), Flaw::EndsEarly, "{text}");
        }
        assert_eq!(flaw("[1,]"), Flaw::Unexpected { at: 3, found: ']' });
        assert_eq!(flaw("{'a': 1}"), Flaw::Unexpected { at: 1, found: '\'' });
        assert_eq!(flaw("Ünauthorized"), Flaw::Unexpected { at: 0, found: 'Ü' });
        assert_eq!(flaw("{} {}"), Flaw::Trailing { at: 3 });
        assert_eq!(flaw(&"[".repeat(ABSURD_DEPTH + 1)), Flaw::Absurd);
    }
}
