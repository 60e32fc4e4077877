//! Everything that commands print goes through here.
//!
//! A reader that has seen enough (`| head`) is no failure: the rest is dropped. A full disk is one, and is reported
//! once, at the end of the process. What is printed for people has its control characters escaped, so
//! that a title can't move the cursor, ring the bell or turn a line around; the form of the escapes is JSON's, so that
//! JSON stays the same JSON. Streams of data, such as CSV, pass as they are.

use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use super::exit::{Code, Failure};

/// Reason to stop printing.
#[derive(Debug, Clone)]
enum Stopped {
    /// The reader has gone.
    Closed,
    /// The output can't be written, in words.
    Failed(String),
}

static STOPPED: Mutex<Option<Stopped>> = Mutex::new(None);

/// Prints to standard output for people, or JSON.
pub fn print(text: fmt::Arguments<'_>) {
    let _ = stream().write_all(escaped(&text.to_string(), Lines::Kept).as_bytes());
}

/// Whether standard error holds one JSON object a line.
static JSON_LOG: AtomicBool = AtomicBool::new(false);

/// Makes everything that goes to standard error a JSON object of its own, panics included.
pub fn log_as_json() {
    if !JSON_LOG.swap(true, Relaxed) {
        std::panic::set_hook(Box::new(|panic| event("ERROR", &panic.to_string(), Map::new())));
    }
}

/// Whether standard error holds JSON.
pub fn is_json_log() -> bool {
    JSON_LOG.load(Relaxed)
}

/// Writes one event in the form of the log's other JSON lines.
pub fn event(level: &str, message: &str, fields: Map<String, Value>) {
    let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let mut line = format!(
        "{{\"timestamp\":{},\"level\":{},\"message\":{}",
        Value::from(time),
        Value::from(level),
        Value::from(message)
    );
    for (name, value) in fields {
        let _ = write!(line, ",{}:{value}", Value::from(name));
    }
    let _ = io::stderr().lock().write_all((escaped(&line, Lines::Joined) + "}\n").as_bytes());
}

/// Prints to standard error for people, or as an event of a JSON log. Whether anyone reads it doesn't matter.
pub fn print_error(text: fmt::Arguments<'_>) {
    if is_json_log() {
        let text = text.to_string();
        let text = text.trim_end();
        let levels = [("error: ", "ERROR"), ("warning: ", "WARN"), ("note: ", "INFO")];
        let found = levels.iter().find_map(|(prefix, level)| Some((*level, text.strip_prefix(prefix)?)));
        let (level, message) = found.unwrap_or(("INFO", text));
        if !message.is_empty() {
            event(level, message, Map::new());
        }
        return;
    }
    let _ = io::stderr().lock().write_all(escaped(&text.to_string(), Lines::Kept).as_bytes());
}

/// Standard output for data, unchanged. Writing to it succeeds always; see [`finish`].
pub fn stream() -> impl Write {
    Stream
}

/// State of standard output.
///
/// # Errors
/// If something could not be written to it, other than because the reader has gone.
pub fn finish() -> Result<(), Failure> {
    let _ = Stream.flush();
    match &*STOPPED.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(Stopped::Failed(why)) => {
            Err(Failure::new(Code::Destination, format!("standard output can't be written: {why}"))
                .next("Make room on the disk, or write the output somewhere else."))
        }
        Some(Stopped::Closed) | None => Ok(()),
    }
}

struct Stream;

impl Stream {
    fn attempt(write: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>) {
        let mut stopped = STOPPED.lock().unwrap_or_else(PoisonError::into_inner);
        if stopped.is_some() {
            return;
        }
        let mut out = io::stdout().lock();
        *stopped = match write(&mut out).and_then(|()| out.flush()) {
            Ok(()) => None,
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Some(Stopped::Closed),
            Err(e) => Some(Stopped::Failed(e.to_string())),
        };
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::attempt(|out| out.write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::attempt(|out| out.flush());
        Ok(())
    }
}

/// Standard error for log lines: one event is one line, whatever is in it.
#[derive(Debug, Clone, Copy)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = escaped(text.trim_end_matches('\n'), Lines::Joined) + "\n";
        let _ = io::stderr().lock().write_all(line.as_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Treatment of line breaks and tabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    Kept,
    Joined,
}

/// A text as a cell of a table, or a line, can show it: on one line, and without a control character.
pub fn one_line(text: &str) -> String {
    escaped(text, Lines::Joined)
}

fn escaped(text: &str, lines: Lines) -> String {
    let is_kept = |c: char| lines == Lines::Kept && matches!(c, '\n' | '\t');
    if !text.chars().any(|c| controls(c) && !is_kept(c)) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !controls(c) || is_kept(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c => drop(write!(out, "\\u{:04x}", u32::from(c))),
        }
    }
    out
}

/// Whether a character does something to a terminal: C0 and C1 controls, marks and overrides of direction, and
/// separators of lines and paragraphs.
fn controls(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_a_terminal_is_escaped_and_json_stays_the_same() {
        let nasty = "a\u{1b}[31m\u{7}\0\u{9b}2J\u{202e}b\r\u{2028}\u{7f}";
        let shown = one_line(&format!("{nasty}\n\tc"));
        assert_eq!(shown, "a\\u001b[31m\\u0007\\u0000\\u009b2J\\u202eb\\r\\u2028\\u007f\\n\\tc");
        assert_eq!(escaped("a\n\tb\u{7}", Lines::Kept), "a\n\tb\\u0007");
        assert_eq!(one_line("Größe 📈 → ok"), "Größe 📈 → ok");
        let json = serde_json::json!({"title": nasty}).to_string();
        let printed: serde_json::Value = serde_json::from_str(&escaped(&json, Lines::Kept)).unwrap();
        assert_eq!(printed["title"], nasty);
    }
}
