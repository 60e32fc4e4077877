//! `hexport notify`: sends people what the audit found since their last message.

use std::path::PathBuf;

use super::exit::{Code, Failure};
use super::settings::{Settings, StoreArgs};
use crate::audit::{OwnRule, Severity, audit};
use crate::notify::{self, Mode, To};
use crate::snapshot::{Lake, Manifest};

/// Arguments of `hexport notify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Receivers, separated by commas [default: 'to' under [notify] in hexport.toml]
    #[arg(long, value_enum, value_name = "RECEIVER", value_delimiter = ',')]
    to: Vec<To>,
    /// Only findings of at least this severity [default: 'severity' under [notify] in hexport.toml, or medium]
    #[arg(long, value_enum, value_name = "SEVERITY")]
    severity: Option<Severity>,
    /// Print the messages without sending them
    #[arg(long)]
    dry_run: bool,
}

/// Notifies.
///
/// # Errors
/// If there is no snapshot, no receiver, or a receiver doesn't take the message.
pub async fn run(args: Args, settings: &Settings) -> Result<Code, Failure> {
    let mut config = settings.file.notify.clone();
    if !args.to.is_empty() {
        config.to.clone_from(&args.to);
    }
    config.severity = args.severity.unwrap_or(config.severity);
    if config.to.is_empty() {
        return Err(Failure::new(Code::Usage, "no receiver given")
            .next("Pass --to slack, teams, webhook or email, or set 'to' under [notify] in hexport.toml."));
    }
    let lake = args.store.open(&args.dest)?;
    let manifest = super::snapshots::one(&lake, None)?;
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Send };
    let failures = tell(&lake, &manifest, settings, &config, mode).await?;
    match failures.into_iter().next() {
        None => Ok(Code::Complete),
        Some(error @ notify::Error::Address { .. }) => Err(Failure::new(Code::Usage, error.to_string())),
        Some(error) => Err(Failure::new(Code::Destination, super::exit::causes(&error))
            .next("Run the same command again: it sends only what wasn't delivered.")),
    }
}

/// Notifies all receivers. Returns the failures.
///
/// # Errors
/// If the snapshot can't be audited.
pub async fn tell(
    lake: &Lake,
    manifest: &Manifest,
    settings: &Settings,
    config: &notify::Config,
    mode: Mode,
) -> Result<Vec<notify::Error>, Failure> {
    let rules = &settings.file.audit;
    let own = rules.rules.as_deref().map_or(Ok(Vec::new()), OwnRule::in_folder)?;
    let found = audit(lake, manifest, rules, &own)?;
    let mut failures = Vec::new();
    for to in &config.to {
        match notify::tell(lake, manifest, &found, *to, config, mode).await {
            Ok(outcome) => {
                if mode == Mode::DryRun {
                    for (to, message) in &outcome.messages {
                        println!("--- {}\n{}", to.name(), message.show());
                    }
                }
                tracing::info!(
                    to = to.name(),
                    messages = outcome.messages.len(),
                    quiet = outcome.quiet,
                    "notified"
                );
                failures.extend(outcome.failures);
            }
            Err(error) => failures.push(error),
        }
    }
    Ok(failures)
}
