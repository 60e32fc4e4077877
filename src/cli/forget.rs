//! `hexport forget`: replaces a person's address with a pseudonym in everything that a lake holds.

use std::path::PathBuf;

use chrono::Utc;
use serde_json::json;

use super::exit::{Code, Failure};
use super::settings::StoreArgs;
use super::{Output, lakes, render};
use crate::registry;
use crate::snapshot::{Forgotten, Key, PSEUDONYM_KEY};

/// Arguments of `hexport forget`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Email address of the person, in any case
    #[arg(value_name = "EMAIL", value_parser = address)]
    address: String,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Reads an address.
///
/// # Errors
/// If it isn't exactly one address.
pub fn address(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_one = text.split_once('@').is_some_and(|(local, domain)| {
        let wrong =
            |c: char| c.is_whitespace() || c.is_control() || matches!(c, '@' | '"' | '<' | '>' | '\\');
        !local.is_empty() && domain.contains('.') && !text.replacen('@', "", 1).contains(wrong)
    });
    match is_one {
        true => Ok(text.to_owned()),
        false => Err("give one email address, such as ann@example.com".into()),
    }
}

/// Forgets.
///
/// # Errors
/// Without a key; if the lake can't be read or written, or something in it can't be read.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let lake = args.store.open(&args.dest)?;
    lakes::known(&lake)?;
    let key = std::env::var(PSEUDONYM_KEY).unwrap_or_default();
    let key = match key.is_empty() {
        true => Err(format!("{PSEUDONYM_KEY} isn't set")),
        false => Key::new(&key).map_err(|flaw| flaw.to_string()),
    };
    let key = key.map_err(|why| {
        Failure::new(Code::Usage, why).next(format!(
            "Create a key once (openssl rand -hex 32), keep it secret, and set {PSEUDONYM_KEY} for every export, \
             import and forget on this lake: without it, nothing can write to the lake."
        ))
    })?;
    let lock = lake.lock()?;
    let done = lake.forget(&args.address, &key, Utc::now(), registry::by_name);
    lake.tidy(lock);
    let done = done?;
    match args.output {
        Output::Json => print_json(&done),
        Output::Table => print_table(&done),
    }
    if done.left.is_empty() {
        return Ok(Code::Complete);
    }
    let left = render::counted(done.left.len() as u64, "file");
    Err(Failure::new(Code::Destination, format!("{left} can't be read, and may still name the person")).next(
        "Restore or remove the damaged files (hexport snapshots verify lists them), then run this again.",
    ))
}

fn print_json(done: &Forgotten) {
    let whole = json!({
        "pseudonym": done.pseudonym,
        "snapshots": done.snapshots,
        "delta": done.delta,
        "journals": done.journals,
        "notes": done.notes,
        "left": done.left,
    });
    println!("{}", serde_json::to_string_pretty(&whole).unwrap_or_default());
}

fn print_table(done: &Forgotten) {
    for (snapshot, tables) in &done.snapshots {
        let tables = if tables.is_empty() { "manifest".to_owned() } else { tables.join(", ") };
        println!("{snapshot}: {tables}");
    }
    for (what, names) in [("Delta tables", &done.delta), ("journals", &done.journals), ("notes", &done.notes)]
    {
        if !names.is_empty() {
            println!("{what}: {}", names.join(", "));
        }
    }
    for left in &done.left {
        println!("not read: {left}");
    }
    println!(
        "The address is now {}, in later exports and imports too, and so is the name next to it.",
        done.pseudonym
    );
}
