//! Exit codes, and errors as people read them: what failed, why, what to do next.

use std::io;
use std::process::ExitCode;

use polars::prelude::PolarsError;

use super::out::one_line;
use crate::handoff::openlineage::SendError;
use crate::{access, audit, client, crawl, export, history, journal, snapshot};

/// Exit code of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Complete.
    Complete = 0,
    /// Usage.
    Usage = 2,
    /// Authentication.
    Authentication = 3,
    /// Committed, with gaps.
    Incomplete = 4,
    /// Nothing committed; resumable.
    Nothing = 5,
    /// The destination.
    Destination = 6,
    /// Findings at or above the limit.
    Findings = 7,
    /// The run failed.
    RunErrored = 20,
    /// The run was cancelled.
    RunKilled = 21,
    /// The run got no kernel.
    RunNoKernel = 22,
    /// The run goes on after the time allowed.
    RunTimeout = 23,
    /// The run had ended before it could be cancelled.
    RunEnded = 24,
    /// Interrupted; resumable.
    Interrupted = 130,
}

impl Code {
    /// All codes, in order.
    pub const ALL: [Code; 13] = [
        Code::Complete,
        Code::Usage,
        Code::Authentication,
        Code::Incomplete,
        Code::Nothing,
        Code::Destination,
        Code::Findings,
        Code::RunErrored,
        Code::RunKilled,
        Code::RunNoKernel,
        Code::RunTimeout,
        Code::RunEnded,
        Code::Interrupted,
    ];

    /// Meaning, as `--help` and the documentation give it.
    pub fn meaning(self) -> &'static str {
        match self {
            Code::Complete => "complete",
            Code::Usage => "usage: a flag, a name, a setting or a URL is wrong",
            Code::Authentication => "authentication: no token, or one that the API refuses",
            Code::Incomplete => {
                "incomplete: a snapshot was committed; hexport why says what is missing or old"
            }
            Code::Nothing => "nothing was committed; run the same command again to resume",
            Code::Destination => "the destination can't be written, is damaged, or isn't hexport's",
            Code::Findings => "the audit, or hexport impact, found something at or above --fail-on",
            Code::RunErrored => "a run that was waited for failed (ERRORED)",
            Code::RunKilled => "a run that was waited for was cancelled (KILLED)",
            Code::RunNoKernel => "a run that was waited for got no kernel (UNABLE_TO_ALLOCATE_KERNEL)",
            Code::RunTimeout => "a run that was waited for is still running after --timeout",
            Code::RunEnded => "a run to be cancelled had already ended",
            Code::Interrupted => "interrupted; run the same command again to resume",
        }
    }
}

/// Footer of `--help`: the exit codes, and where settings come from.
pub fn help_footer() -> String {
    let codes: Vec<String> =
        Code::ALL.iter().map(|code| format!("  {:>3}  {}", *code as u8, code.meaning())).collect();
    format!(
        "Exit codes:\n{}\n\nThe token comes from HEX_API_TOKEN, or from the file named by HEX_API_TOKEN_FILE or --token-file.\n\
         Settings: flag, then environment, then hexport.toml, then default.",
        codes.join("\n")
    )
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code as u8)
    }
}

/// Error of a command, as the user sees it.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub code: Code,
    what: String,
    next: Option<String>,
}

impl Failure {
    /// A failure; `what` says what failed and why.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), next: None }
    }

    /// Adds what to do next.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

impl Failure {
    /// The failure and the next step, separately.
    pub fn parts(&self) -> (&str, Option<&str>) {
        (&self.what, self.next.as_deref())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What a server said must not look like more than one error.
        write!(f, "error: {}", one_line(&self.what))?;
        match &self.next {
            Some(next) => write!(f, ". {next}"),
            None => Ok(()),
        }
    }
}

const NEW_TOKEN: &str = "Create one in Hex under Settings > API keys, then put it in HEX_API_TOKEN, or in a file that \
                         --token-file names.";
const AGAIN: &str = "Responses so far are kept: run the same command again to resume.";

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        use client::Error as E;
        let text = error.to_string();
        match error {
            E::Token(_) => Failure::new(Code::Authentication, text).next(NEW_TOKEN),
            E::BaseUrl { .. } => Failure::new(Code::Usage, text)
                .next("Set HEX_API_URL or --url to your workspace's address, such as https://app.hex.tech."),
            E::Api { status: 401, .. } => Failure::new(
                Code::Authentication,
                format!("{text}: the token is unknown, revoked or expired"),
            )
            .next(NEW_TOKEN),
            E::Api { status: 403, .. } => Failure::new(Code::Authentication, text).next(
                "The token's user isn't allowed to do this: use another user's token, or ask a workspace admin.",
            ),
            E::Api { status: 400 | 404 | 409 | 422, .. } => {
                Failure::new(Code::Usage, text).next("Check the names and values you gave; nothing was changed.")
            }
            E::Api { status: 429, .. } => Failure::new(Code::Nothing, text)
                .next("The rate limit is used up: wait a minute, then try again."),
            E::Api { status: 503, .. } => Failure::new(Code::Nothing, text)
                .next("Hex is busy (for runs: no kernel is free). Try again later."),
            E::Api { .. } => Failure::new(Code::Nothing, text),
            E::Transport { .. } | E::Silent { .. } => Failure::new(Code::Nothing, text)
                .next("Check the URL (HEX_API_URL), the network and Hex's status page."),
            E::Malformed { .. } => Failure::new(Code::Nothing, text).next(
                "Check that HEX_API_URL points to a Hex workspace, not to a proxy's login page.",
            ),
        }
    }
}

impl From<crawl::Error> for Failure {
    fn from(error: crawl::Error) -> Self {
        use crawl::Error as E;
        match error {
            E::Interrupted => {
                Failure::new(Code::Interrupted, "interrupted before the snapshot was committed").next(AGAIN)
            }
            E::Refused(inner) => inner.into(),
            E::Api(inner) => {
                let failure = Failure::from(inner);
                let next = [failure.next.as_deref().unwrap_or(""), AGAIN].join(" ");
                failure.next(next.trim().to_owned())
            }
            E::Forbidden { .. } => Failure::new(Code::Authentication, error.to_string())
                .next("Use a token whose scope includes reading projects."),
            E::List { .. } => Failure::new(Code::Nothing, error.to_string())
                .next(format!("Check the URL (HEX_API_URL), the network and Hex's status page. {AGAIN}")),
            E::NoProjects { .. } => Failure::new(Code::Nothing, error.to_string()).next(
                "Nothing was committed; the last snapshot is unchanged. Check whose token it is. If the workspace really is empty, accept that with --accept-shrink=projects.",
            ),
            E::OtherProjects { .. } => Failure::new(Code::Destination, error.to_string()).next(
                "The API doesn't say which workspace the token reads. If it is the right one, name it with --workspace-id (or HEX_WORKSPACE_ID); otherwise give each workspace its own DEST.",
            ),
            E::OutOfTime { .. } => Failure::new(Code::Nothing, error.to_string())
                .next(format!("Give it more time (--budget), or run it when Hex answers again. {AGAIN}")),
            E::Journal(inner) => inner.into(),
        }
    }
}

impl From<journal::Error> for Failure {
    fn from(error: journal::Error) -> Self {
        let next = match &error {
            journal::Error::Io { source, .. } => disk_advice(source),
            journal::Error::Foreign { .. } => {
                "Finish it with the version of hexport that wrote it, or remove the file."
            }
        };
        Failure::new(Code::Destination, error.to_string()).next(next)
    }
}

impl From<snapshot::Error> for Failure {
    fn from(error: snapshot::Error) -> Self {
        use snapshot::Error as E;
        if matches!(error, E::Pseudonyms(_)) {
            return Failure::new(Code::Usage, error.to_string());
        }
        let next = match &error {
            E::Io { source, .. } => disk_advice(source),
            E::Pseudonyms(_) => "",
            E::Busy(_) => "Run the same command again once that has ended.",
            E::Store { .. } => {
                "Check the URL, the store's settings (--option, or the environment) and its credentials' permissions."
            }
            E::Delta { .. } => {
                "The snapshot itself is committed. Fix the table, or remove its folder: the next export catches up."
            }
            E::Taken { .. } => {
                "A snapshot in an object store is never replaced: export again, or rebuild to another DEST."
            }
            E::Foreign { .. } => "Name an empty or new folder, or a lake that hexport wrote.",
            E::Locked { .. } => {
                "Wait for it to finish, or stop it. The lock of a dead process is taken over automatically."
            }
            E::Damaged { .. } => {
                "hexport snapshots verify DEST names what is damaged, and hexport snapshots prune DEST --damaged removes it."
            }
            E::Table { .. } => {
                "This is a bug in hexport: please report it, with the version and the table's name."
            }
        };
        Failure::new(Code::Destination, error.to_string()).next(next)
    }
}

/// Advice about a disk error. By then every response is in the journal.
fn disk_advice(error: &io::Error) -> &'static str {
    use io::ErrorKind as K;
    match error.kind() {
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => {
            "Free some space, then run the same command again: it resumes where it stopped."
        }
        K::ReadOnlyFilesystem => {
            "The file system is mounted read-only. Remount it for writing, or name another DEST."
        }
        K::PermissionDenied => {
            "Give this user the right to write there, or name another DEST, then run the same command again."
        }
        K::NotFound => "Check that the path exists and is spelled correctly.",
        K::NotADirectory | K::AlreadyExists => "Name a folder; a file of that name is in the way.",
        _ => "Check the disk and its mount, then run the same command again: it resumes where it stopped.",
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let text = error.to_string();
        match error {
            SendError::Url(_) => Failure::new(Code::Usage, text),
            SendError::Refused { status, .. } if matches!(status.as_u16(), 401 | 403) => {
                Failure::new(Code::Authentication, text)
            }
            SendError::Refused { .. } | SendError::Unreachable { .. } => {
                Failure::new(Code::Destination, text)
            }
        }
    }
}

/// An error and its causes, in one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

impl From<access::Failure> for Failure {
    fn from(error: access::Failure) -> Self {
        let text = error.to_string();
        match error {
            access::Failure::Snapshot(inner) => inner.into(),
            access::Failure::NoTable(_) => Failure::new(Code::Usage, text)
                .next("Export it: hexport export DEST, or --tables effective_access, lineage."),
            access::Failure::Unknown { .. } => Failure::new(Code::Usage, text),
        }
    }
}

impl From<audit::Error> for Failure {
    fn from(error: audit::Error) -> Self {
        let text = error.to_string();
        match error {
            audit::Error::Snapshot(inner) => inner.into(),
            audit::Error::OwnRule { .. } => Failure::new(Code::Usage, text).next(
                "A rule is one SELECT of entity_type, entity_id, entity and evidence (optionally owner and severity).",
            ),
            audit::Error::NoDuckDb => Failure::new(Code::Usage, text)
                .next("Install DuckDB (https://duckdb.org, or pip install duckdb-cli)."),
        }
    }
}

impl From<history::Error> for Failure {
    fn from(error: history::Error) -> Self {
        use history::Error as E;
        let text = causes(&error);
        match error {
            E::Snapshot(inner) => inner.into(),
            E::Derive(inner) => export::Error::from(inner).into(),
            E::File { .. } => Failure::new(Code::Usage, text),
            E::Damaged { .. } => Failure::new(Code::Usage, text)
                .next("Nothing was committed. Extract it again, or leave it out."),
            E::Columns { .. } => Failure::new(Code::Usage, text).next(
                "Name the warehouse with --warehouse, or columns with --map; hexport import query-history --sql KIND \
                 prints an extraction that needs neither.",
            ),
            E::OtherKind { .. } => Failure::new(Code::Usage, text).next("Name its kind with --warehouse."),
            E::Mapped { .. } => Failure::new(Code::Usage, text),
            E::Connection { .. } => Failure::new(Code::Usage, text),
            E::NoSnapshot { .. } => {
                Failure::new(Code::Usage, text).next("Name a folder that hexport export wrote to.")
            }
            E::Scratch { .. } => Failure::new(Code::Destination, text).next("Make room, or set TMPDIR."),
        }
    }
}

impl From<export::Error> for Failure {
    fn from(error: export::Error) -> Self {
        use export::Error as E;
        let text = error.to_string();
        match error {
            E::Crawl(inner) => inner.into(),
            E::Snapshot(inner) => inner.into(),
            E::Journal(inner) => inner.into(),
            E::Derive(crate::derive::Error::Snapshot(inner)) => inner.into(),
            E::Derive(crate::derive::Error::Compute { source: PolarsError::IO { error, .. }, .. }) => {
                Failure::new(Code::Destination, text).next(disk_advice(&error))
            }
            E::Derive(_) => Failure::new(Code::Nothing, text)
                .next("This is a bug in hexport: please report it. --tables without the derived tables still works."),
            E::OtherWorkspace { .. } => {
                Failure::new(Code::Destination, text).next("Give each workspace its own DEST.")
            }
            E::Worse { .. } => Failure::new(Code::Destination, text)
                .next("Nothing was replaced. To see what the journal holds, copy _journal to a new folder and rebuild there."),
            E::NoJournal(_) => Failure::new(Code::Usage, text).next("hexport export --keep-journal keeps journals."),
        }
    }
}
