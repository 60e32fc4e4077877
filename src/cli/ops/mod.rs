//! The API's day-to-day operations: one module a resource.
//!
//! Answers are passed on as the API gives them, so that nothing that a newer server says is lost.
//!
//! Left out on purpose:
//! - `CreatePresignedUrl`: for servers that embed apps, which hold the secret that it needs.
//! - `CreateDataConnection`, `EditDataConnection`, `UpdateDataConnectionSchema`: they take warehouse
//!   credentials or long-running jobs, which belong in infrastructure code, not in a shell's history.
//! - `IngestSemanticProject`, `UpdateSemanticProject`, guides: uploads of files that their own tools make.
//! - `CreateCell`, `UpdateCell`, `DeleteCell`, cell outputs and images: writing notebooks is not operating them.
//! - Threads' messages, `CreateThread`, `ContinueThread`: people's words, and prompts that cost credits. Threads
//!   themselves are exported.

pub mod cells;
pub mod collections;
pub mod connections;
pub mod groups;
pub mod once;
pub mod output;
pub mod projects;
pub mod resolve;
pub mod runs;
pub mod shape;
pub mod users;
pub mod wait;
pub mod watch;

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;

use futures::TryStreamExt;
use serde_json::{Value, json};

use super::Ui;
use super::exit::{Code, Failure};
use super::progress::Reporter;
use super::settings::{ApiArgs, Settings};
use crate::client::{ApiRequest, Call, Client, Page, split_page};

use output::OutputArgs;
use shape::Shape;

/// Flags of a command that reads.
#[derive(Debug, clap::Args)]
pub struct ReadArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    api: ApiArgs,
}

/// Flags of a command that lists.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Maximum number of items to list [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    read: ReadArgs,
}

/// Flags of a command that writes.
#[derive(Debug, clap::Args)]
pub struct WriteArgs {
    /// Show the request instead of sending it
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    read: ReadArgs,
}

/// A connected command.
pub struct Session {
    client: Client,
    output: OutputArgs,
}

impl ReadArgs {
    /// Connects.
    ///
    /// # Errors
    /// If there is no token, or a setting is wrong.
    pub fn open(self, settings: &Settings, ui: &Ui) -> Result<Session, Failure> {
        let api = self.api.connect(settings, Arc::new(Reporter::new(ui)))?;
        Ok(Session { client: api.client, output: self.output })
    }
}

impl Session {
    /// Prints the items of a list, up to a limit.
    ///
    /// # Errors
    /// If the API can't be read.
    pub async fn list(&self, first: ApiRequest, limit: Option<u32>, shape: &Shape) -> Result<Code, Failure> {
        self.list_some(first, limit, shape, |_| true).await.map(|_| Code::Complete)
    }

    /// Prints the wanted items of a list, up to a limit. Gives their number.
    ///
    /// # Errors
    /// If the API can't be read.
    pub async fn list_some(
        &self,
        first: ApiRequest,
        limit: Option<u32>,
        shape: &Shape,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<usize, Failure> {
        let wraps = self.output.wraps()?;
        // A short list needs no long page.
        let listing = first.operation().listing;
        let largest = listing.map_or(100, |listing| listing.max_page);
        let first = first.with_query("limit", limit.unwrap_or(largest).min(largest));
        let most = limit.map_or(usize::MAX, |n| n as usize);
        let mut trace_id = Value::Null;
        let mut all = Vec::new();
        let mut printed = 0;
        let mut pages = std::pin::pin!(self.client.pages(first));
        'pages: while let Some(page) = pages.try_next().await? {
            let (items, trace) = page_values(&page)?;
            trace_id = trace.unwrap_or(trace_id);
            for item in items.into_iter().filter(&wanted) {
                if printed == most {
                    break 'pages;
                }
                printed += 1;
                let item = shape.complete(item);
                if self.output.streams() {
                    self.output.print_line(&item)?;
                } else {
                    all.push(item);
                }
            }
            if printed == most {
                break;
            }
        }
        if wraps {
            self.output.print_wrapped(shape.many, &all, &trace_id)?;
        } else if !self.output.streams() {
            self.output.print_all(&all, shape.columns)?;
        }
        Ok(printed)
    }

    /// Prints the answer to a call.
    ///
    /// # Errors
    /// If the API refuses it.
    pub async fn get<T>(&self, call: Call<T>, shape: &Shape) -> Result<Code, Failure> {
        let answer = call.json().await?;
        self.output.print_one(&shape.complete(answer))?;
        Ok(Code::Complete)
    }

    /// Sends a write, once, and prints the answer; or shows it, if that is what is wanted. `undo` says what
    /// can't be taken back and must be confirmed.
    ///
    /// # Errors
    /// If it is not confirmed, or the API refuses it.
    pub async fn write<T>(
        &self,
        call: Call<T>,
        write: &Writing,
        undo: Option<&str>,
        shape: &Shape,
    ) -> Result<Code, Failure> {
        if write.dry_run {
            return self.show(call.request());
        }
        if let Some(what) = undo {
            write.confirm(what)?;
        }
        let answer = call.json().await?;
        if !answer.is_null() {
            self.output.print_one(&shape.complete(answer))?;
        }
        Ok(Code::Complete)
    }

    /// Shows a request.
    ///
    /// # Errors
    /// If it can't be printed.
    pub fn show(&self, request: &ApiRequest) -> Result<Code, Failure> {
        let (method, url) =
            (request.operation().method.as_str(), format!("{}{}", self.client.base_url(), request.path()));
        self.output.print_one(&json!({"method": method, "url": url, "body": request.json_body()}))?;
        Ok(Code::Complete)
    }
}

/// The items of a page, and its trace id.
fn page_values(page: &Page) -> Result<(Vec<Value>, Option<Value>), Failure> {
    let operation = page.request.operation();
    let malformed = |why: String| {
        Failure::new(Code::Nothing, format!("{operation} returned something other than Hex's JSON: {why}"))
            .next("Check HEX_API_URL.")
    };
    let listing = operation.listing.ok_or_else(|| malformed("it is no list".into()))?;
    let split = split_page(&listing, &page.response.body).map_err(|e| malformed(e.to_string()))?;
    let items: Result<Vec<Value>, _> =
        split.items.iter().map(|item| serde_json::from_str(item.get())).collect();
    let whole: Value = serde_json::from_slice(&page.response.body).unwrap_or_default();
    let trace = whole.get("traceId").cloned();
    Ok((items.map_err(|e| malformed(e.to_string()))?, trace))
}

/// Safeguards for a write.
#[derive(Debug, Clone, Copy)]
pub struct Writing {
    dry_run: bool,
    yes: bool,
}

impl WriteArgs {
    /// Takes the flags apart.
    pub fn split(self) -> (ReadArgs, Writing) {
        (self.read, Writing { dry_run: self.dry_run, yes: self.yes })
    }
}

impl Writing {
    /// Asks a person for confirmation; a script must have confirmed beforehand.
    ///
    /// # Errors
    /// If nobody is there to ask, or the answer is no.
    pub fn confirm(self, what: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::new(
                Code::Usage,
                format!("{what} can't be undone, and nobody is there to ask"),
            )
            .next("Say --yes if it is meant, or --dry-run to see the request."));
        }
        if ask(&format!("{what}. Go on?")) {
            Ok(())
        } else {
            Err(Failure::new(Code::Usage, "not confirmed; nothing was changed"))
        }
    }
}

/// Asks a yes-or-no question on the terminal.
fn ask(question: &str) -> bool {
    eprint!("{question} [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// A grant as people write it: `WHO=LEVEL`.
fn grant(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((who, level)) if !who.is_empty() && !level.is_empty() => {
            Ok((who.to_owned(), level.to_uppercase().replace('-', "_")))
        }
        _ => Err("a grant is WHO=LEVEL, such as ada@acme.example=CAN_VIEW".into()),
    }
}
