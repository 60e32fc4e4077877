//! Exit codes, and errors as people read them: what failed, why, what to do next.

use std::process::ExitCode;

use super::out::one_line;
use crate::handoff::openlineage::SendError;
use crate::{access, audit, client, crawl, export, journal, snapshot};

/// Exit code of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Complete.
    Complete = 0,
    /// A flag, a setting or a URL is wrong.
    Usage = 2,
    /// No token, or one that the API refuses.
    Authentication = 3,
    /// Committed, with gaps.
    Incomplete = 4,
    /// Nothing committed; resumable.
    Nothing = 5,
    /// The destination.
    Destination = 6,
    /// An audit found something that is not accepted.
    Findings = 7,
    /// A run that was waited for failed.
    RunErrored = 20,
    /// A run that was waited for was cancelled.
    RunKilled = 21,
    /// A run that was waited for got no kernel.
    RunNoKernel = 22,
    /// A run that was waited for has not ended in the time allowed.
    RunTimeout = 23,
    /// A run that was to be cancelled had ended before.
    RunEnded = 24,
    /// Interrupted; resumable.
    Interrupted = 130,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code as u8)
    }
}

/// Why a command ended without its result.
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

const NEW_TOKEN: &str =
    "Make a token in Hex under Settings > API keys, and set HEX_API_TOKEN or --token-file to it.";
const AGAIN: &str = "What was answered is kept: the same command goes on where it ended.";

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        use client::Error as E;
        let text = error.to_string();
        match error {
            E::Token(_) => Failure::new(Code::Authentication, text).next(NEW_TOKEN),
            E::BaseUrl(_) => Failure::new(Code::Usage, text)
                .next("Set HEX_API_URL or --url to your workspace's address, such as https://app.hex.tech."),
            E::Api { status: 401, .. } => Failure::new(
                Code::Authentication,
                format!("{text}: the token is unknown, revoked or expired"),
            )
            .next(NEW_TOKEN),
            E::Api { status: 403, .. } => Failure::new(Code::Authentication, text).next(
                "The token's user may not do this: use a token of one who may, or ask a workspace admin.",
            ),
            E::Api { status: 400 | 404 | 409 | 422, .. } => {
                Failure::new(Code::Usage, text).next("Check the names and values given; nothing was changed.")
            }
            E::Api { status: 429, .. } => Failure::new(Code::Nothing, text)
                .next("Hex takes no more for now: wait a minute, then try again."),
            E::Api { status: 503, .. } => Failure::new(Code::Nothing, text)
                .next("Hex is busy (of runs: no kernel is free). Try again when some have ended."),
            E::Api { .. } => Failure::new(Code::Nothing, text),
            E::Transport { .. } | E::Silent { .. } => Failure::new(Code::Nothing, text)
                .next("Check the URL (HEX_API_URL), the network and Hex's status page."),
            E::Malformed { .. } => Failure::new(Code::Nothing, text).next(
                "Check that HEX_API_URL is the address of a Hex workspace and not of a proxy's login page.",
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
                "Nothing was committed, and the last snapshot is as it was. Check whose token it is; if the workspace really is empty, accept it with --accept-shrink=projects.",
            ),
            E::OtherProjects { .. } => Failure::new(Code::Destination, error.to_string()).next(
                "The API doesn't tell which workspace the token reads. If it is the right one, name it with --workspace-id (or HEX_WORKSPACE_ID); else give each workspace a DEST of its own.",
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
            journal::Error::Io { .. } => {
                "Make room or set the rights, then run the same command again: it goes on where it ended."
            }
            journal::Error::Foreign { .. } => "Finish it with the version that wrote it, or remove the file.",
        };
        Failure::new(Code::Destination, error.to_string()).next(next)
    }
}

impl From<snapshot::Error> for Failure {
    fn from(error: snapshot::Error) -> Self {
        use snapshot::Error as E;
        let next = match &error {
            E::Io { .. } => {
                "Make sure that DEST is a folder that this user may write to and that the disk is not full."
            }
            E::Store { .. } => {
                "Check the URL, the store's settings (--option, or the environment) and what its credentials allow."
            }
            E::Delta { .. } => {
                "The snapshot itself is committed. Mend the table, or remove its folder: the next export catches up."
            }
            E::Taken { .. } => {
                "A snapshot in an object store is never replaced: export again, or name another DEST to rebuild to."
            }
            E::Foreign { .. } => "Name an empty or new folder, or one that hexport made.",
            E::Locked { .. } => {
                "Wait until it ends, or stop it; a lock of a process that died is taken over by itself."
            }
            E::Damaged { .. } => "Remove the damaged snapshot's folder, or name another DEST.",
            E::Table { .. } => {
                "This is a fault of hexport: please report it with the version and the table's name."
            }
        };
        Failure::new(Code::Destination, error.to_string()).next(next)
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
                "A rule is one SELECT of entity_type, entity_id, entity and evidence (and owner, severity).",
            ),
            audit::Error::NoDuckDb => Failure::new(Code::Usage, text)
                .next("Install DuckDB (https://duckdb.org, or pip install duckdb-cli)."),
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
            E::Derive(_) => Failure::new(Code::Nothing, text)
                .next("This is a fault of hexport: please report it. --tables without the derived tables still works."),
            E::OtherWorkspace { .. } => {
                Failure::new(Code::Destination, text).next("Give each workspace a DEST of its own.")
            }
            E::Worse { .. } => Failure::new(Code::Destination, text)
                .next("Nothing was replaced. To look at what the journal holds all the same, copy _journal to a new folder and rebuild there."),
            E::NoJournal(_) => Failure::new(Code::Usage, text).next("Journals are kept by hexport export --keep-journal."),
        }
    }
}
