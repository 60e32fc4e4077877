//! `hexport audit`: findings over a committed snapshot.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use serde_json::json;

use super::exit::{Code, Failure};
use super::render;
use super::settings::{Settings, StoreArgs};
use crate::audit::{Audit, Finding, OwnRule, Severity, audit, forms, is_rule, rules};
use crate::snapshot::Manifest;

/// Arguments of `hexport audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL; without it, the rules are listed
    #[arg(value_name = "DEST")]
    dest: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Snapshot: its name, a date such as 2026-11-24, or an age such as 7d [default: the newest]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// Only findings of at least this severity
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "info")]
    severity: Severity,
    /// Only findings of these rules, separated by commas
    #[arg(long, value_name = "RULES", value_delimiter = ',')]
    rules: Vec<String>,
    /// Folder of your own rules: SQL files of one SELECT each [default: rules of [audit] in hexport.toml]
    #[arg(long, value_name = "FOLDER")]
    own_rules: Option<PathBuf>,
    /// Exit with 7 if there is a finding of at least this severity
    #[arg(long, value_enum, value_name = "SEVERITY")]
    fail_on: Option<Severity>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    Table,
    /// One JSON object: findings, exceptions, and rules that could not be evaluated.
    Json,
    /// CSV; the status column tells open findings from exceptions and rules that could not be evaluated.
    Csv,
    /// Markdown.
    Markdown,
    /// SARIF 2.1.0, for code scanners.
    Sarif,
    /// JUnit XML, for CI servers.
    Junit,
    /// Annotations of a GitHub workflow.
    Github,
}

/// Audits a snapshot.
///
/// # Errors
/// If there is no snapshot, or the settings name a rule that there isn't.
pub fn run(args: &Args, settings: &Settings) -> Result<Code, Failure> {
    let config = &settings.file.audit;
    let folder = args.own_rules.as_ref().or(config.rules.as_ref());
    let own = folder.map_or(Ok(Vec::new()), |folder| OwnRule::in_folder(folder))?;
    let Some(dest) = &args.dest else {
        list(&own);
        return Ok(Code::Complete);
    };
    let is_known = |rule: &String| is_rule(rule) || own.iter().any(|r| r.id() == rule);
    let unknown = args.rules.iter().find(|rule| !is_known(rule)).map(|r| format!("there is no rule '{r}'"));
    if let Some(mistake) = unknown.or_else(|| config.mistakes(&own).into_iter().next()) {
        return Err(Failure::new(Code::Usage, mistake).next("hexport audit lists the rules."));
    }
    let lake = args.store.open(dest)?;
    let manifest = super::snapshots::one(&lake, args.snapshot.as_deref())?;
    super::lakes::require(&manifest, &["projects"])?;
    let mut found = audit(&lake, &manifest, config, &own)?;
    found.only(&args.rules, args.severity);
    print(args.output, &manifest, &found)?;
    let failed = args.fail_on.is_some_and(|least| found.findings.iter().any(|f| f.severity >= least));
    Ok(if failed { Code::Findings } else { Code::Complete })
}

fn print(form: Form, manifest: &Manifest, found: &Audit) -> Result<(), Failure> {
    match form {
        Form::Json => {
            let object = json!({
                "snapshot_id": manifest.snapshot_id,
                "snapshot_at": manifest.snapshot_at,
                "findings": found.findings,
                "excepted": found.excepted,
                "not_evaluated": found.not_evaluated,
                "exceptions": found.notices,
                "rules": found.rules,
            });
            println!("{}", serde_json::to_string_pretty(&object).unwrap_or_default());
        }
        Form::Csv => print_csv(found)?,
        Form::Markdown => print_markdown(&manifest.snapshot_id, found),
        Form::Table => print_table(found),
        Form::Sarif => {
            let log = forms::sarif(found, manifest.snapshot_at);
            println!("{}", serde_json::to_string_pretty(&log).unwrap_or_default());
        }
        Form::Junit => {
            let xml = forms::junit(found, manifest.snapshot_at);
            println!("{}", xml.map_err(|e| Failure::new(Code::Nothing, format!("no JUnit: {e}")))?);
        }
        Form::Github => print!("{}", forms::github(found)),
    }
    Ok(())
}

fn list(own: &[OwnRule]) {
    let mut table = render::table(&["Rule", "Severity", "Looks for", "What to do"], &[]);
    table.keep_whole(&[0, 1]);
    for rule in rules() {
        table.add_row([rule.id, rule.severity.name(), rule.looks_for, rule.action]);
    }
    for rule in own {
        table.add_row([rule.id(), rule.severity().name(), rule.looks_for(), rule.action()]);
    }
    println!(
        "{table}\n\nRun them: hexport audit DEST. Thresholds, severities and exceptions: [audit] in hexport.toml"
    );
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn day(at: Option<chrono::DateTime<chrono::Utc>>) -> String {
    at.map_or("unknown".into(), |at| at.format("%Y-%m-%d").to_string())
}

/// Titles that findings of several entities have.
fn shared_titles(found: &Audit) -> HashSet<&str> {
    let mut first: HashMap<&str, &str> = HashMap::new();
    let mut shared = HashSet::new();
    for f in &found.findings {
        if *first.entry(&f.entity).or_insert(&f.entity_id) != &*f.entity_id {
            shared.insert(&*f.entity);
        }
    }
    shared
}

/// Entity of a finding: its title, plus its identifier where another finding has the same title.
fn entity(f: &Finding, shared: &HashSet<&str>) -> String {
    let title = one_line(&f.entity);
    match shared.contains(&*f.entity) && !f.entity_id.is_empty() {
        true => format!("{title} ({})", f.entity_id),
        false => title,
    }
}

fn print_table(found: &Audit) {
    let mut table = render::table(&["Severity", "Rule", "What", "Owner", "Evidence", "Since"], &[]);
    table.keep_whole(&[0, 1, 5]);
    let shared = shared_titles(found);
    for f in &found.findings {
        let owner = f.owner.as_deref().unwrap_or("");
        table.add_row([
            f.severity.name(),
            &f.rule,
            &entity(f, &shared),
            owner,
            &one_line(&f.evidence),
            &day(f.since),
        ]);
    }
    println!("{table}\n");
    for note in &found.not_evaluated {
        println!("{}: {}", note.rule, one_line(&forms::not_evaluated(note)));
    }
    for notice in &found.notices {
        println!("{}: {}: {}", notice.kind, notice.exception, notice.what);
    }
    for (reason, n) in found.excepted_by_reason() {
        println!("excepted: {n}: {}", one_line(reason));
    }
    println!("{}", summary(found));
}

/// The counts of an audit in one line.
fn summary(found: &Audit) -> String {
    let count = |severity| found.findings.iter().filter(|f| f.severity == severity).count();
    let mut text = format!(
        "{} high, {} medium, {} low, {} info",
        count(Severity::High),
        count(Severity::Medium),
        count(Severity::Low),
        count(Severity::Info)
    );
    if !found.excepted.is_empty() {
        text += &format!("; {} excepted", found.excepted.len());
    }
    let skipped = found.rules.iter().filter(|rule| rule.why_not.is_some()).count();
    if skipped > 0 {
        text += &format!("; {skipped} of {} rules not evaluated", found.rules.len());
    }
    text
}

fn print_csv(found: &Audit) -> Result<(), Failure> {
    let failed = |e: csv::Error| Failure::new(Code::Nothing, format!("CSV can't be written: {e}"));
    let mut out = csv::Writer::from_writer(super::out::stream());
    out.write_record([
        "id",
        "severity",
        "rule",
        "entity_type",
        "entity_id",
        "entity",
        "owner",
        "evidence",
        "since",
        "action",
        "url",
        "status",
        "reason",
    ])
    .map_err(failed)?;
    let row = |f: &Finding, status: &str, reason: &str| {
        let since = f.since.map_or(String::new(), |at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
        let owner = f.owner.as_deref().unwrap_or("");
        let url = f.url.as_ref().map(ToString::to_string).unwrap_or_default();
        let text = [
            f.id.as_str(),
            f.severity.name(),
            &f.rule,
            &f.entity_type,
            &f.entity_id,
            &f.entity,
            owner,
            &f.evidence,
            &since,
            &f.action,
            &url,
            status,
            reason,
        ];
        text.map(str::to_owned)
    };
    for f in &found.findings {
        out.write_record(row(f, "open", "")).map_err(failed)?;
    }
    for e in &found.excepted {
        let reason = format!("{} (until {})", e.reason, e.until);
        out.write_record(row(&e.finding, "excepted", &reason)).map_err(failed)?;
    }
    for note in &found.not_evaluated {
        let status = if note.entities.is_none() { "not evaluated" } else { "partly evaluated" };
        let text =
            ["", "", &note.rule, "rule", &note.rule, &note.rule, "", "", "", "", "", status, &note.why];
        out.write_record(text).map_err(failed)?;
    }
    for n in &found.notices {
        let status = format!("{} exception", n.kind);
        let text = ["", "", "", "exception", "", &n.exception, "", "", "", "", "", &status, &n.what];
        out.write_record(text).map_err(failed)?;
    }
    out.flush().map_err(|e| failed(e.into()))
}

fn print_markdown(snapshot: &str, found: &Audit) {
    let cell = |text: &str| super::diff::escaped(&one_line(text));
    println!("# Audit of {snapshot}\n\n{}.\n", summary(found));
    println!("| severity | rule | what | owner | evidence | since |\n| --- | --- | --- | --- | --- | --- |");
    for f in &found.findings {
        let what = match &f.url {
            Some(url) => format!("[{}]({url})", cell(&f.entity)),
            None => cell(&f.entity),
        };
        let owner = f.owner.as_deref().map(cell).unwrap_or_default();
        println!(
            "| {} | {} | {what} | {owner} | {} | {} |",
            f.severity.name(),
            f.rule,
            cell(&f.evidence),
            day(f.since)
        );
    }
    let section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            println!("\n## {title}\n");
        }
        for line in lines {
            println!("- {line}");
        }
    };
    let notes = found.not_evaluated.iter().map(|n| format!("{}: {}", n.rule, cell(&forms::not_evaluated(n))));
    section("Not evaluated", notes.collect());
    let excepted = found.excepted.iter().map(|e| {
        let f = &e.finding;
        format!(
            "{} {}, {}: {} (until {})",
            f.severity.name(),
            f.rule,
            cell(&f.entity),
            cell(&e.reason),
            cell(&e.until)
        )
    });
    section("Excepted", excepted.collect());
    let notices =
        found.notices.iter().map(|n| format!("{}: {}: {}", n.kind, cell(&n.exception), cell(&n.what)));
    section("Exceptions to review", notices.collect());
}
