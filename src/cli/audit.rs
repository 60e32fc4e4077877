//! `hexport audit`: findings over a committed snapshot.

use std::path::PathBuf;

use super::exit::{Code, Failure};
use super::render;
use super::settings::Settings;
use crate::audit::{Finding, RULES, Severity, audit};
use crate::snapshot::Lake;

/// Arguments of `hexport audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the data lake; without it the rules are listed
    #[arg(value_name = "DEST")]
    dest: Option<PathBuf>,
    /// Snapshot to look at [default: the last one]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// Only findings at least this severe
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "info")]
    severity: Severity,
    /// Only findings of these rules, separated by commas
    #[arg(long, value_name = "RULES", value_delimiter = ',')]
    rules: Vec<String>,
    /// End with exit code 7 if a finding is at least this severe
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
    /// A JSON array.
    Json,
    /// CSV.
    Csv,
    /// Markdown.
    Markdown,
}

/// Audits.
///
/// # Errors
/// If there is no snapshot, or the settings name a rule that there isn't.
pub fn run(args: &Args, settings: &Settings) -> Result<Code, Failure> {
    let Some(dest) = &args.dest else {
        list();
        return Ok(Code::Complete);
    };
    let config = &settings.file.audit;
    let unknown = args
        .rules
        .iter()
        .find(|rule| !RULES.iter().any(|r| r.id == *rule))
        .map(|r| format!("there is no rule '{r}'"));
    if let Some(mistake) = unknown.or_else(|| config.mistakes().into_iter().next()) {
        return Err(Failure::new(Code::Usage, mistake).next("hexport audit lists the rules."));
    }
    let lake = Lake::new(dest);
    let snapshots = lake.snapshots()?;
    let id =
        args.snapshot.as_ref().or(snapshots.last()).filter(|id| snapshots.contains(id)).ok_or_else(|| {
            Failure::new(Code::Usage, format!("{} holds no such snapshot", dest.display()))
                .next("Name a folder that hexport export wrote to, and one of its snapshots.")
        })?;
    let mut findings = audit(&lake, &lake.manifest(id)?, config)?;
    findings.retain(|f| {
        f.severity >= args.severity && (args.rules.is_empty() || args.rules.iter().any(|r| r == f.rule))
    });
    match args.output {
        Form::Json => println!("{}", serde_json::to_string_pretty(&findings).unwrap_or_default()),
        Form::Csv => print_csv(&findings)?,
        Form::Markdown => print_markdown(id, &findings),
        Form::Table => print_table(&findings),
    }
    let failed = args.fail_on.is_some_and(|least| findings.iter().any(|f| f.severity >= least));
    Ok(if failed { Code::Findings } else { Code::Complete })
}

fn list() {
    let mut table = render::table(&["Rule", "Severity", "Looks for", "What to do"], &[]);
    for rule in RULES {
        table.add_row([rule.id, rule.severity.name(), rule.looks_for, rule.action]);
    }
    println!(
        "{table}\n\nRun them: hexport audit DEST. Thresholds, severities and exceptions: [audit] in hexport.toml"
    );
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn print_table(findings: &[Finding]) {
    let mut table = render::table(&["Severity", "Rule", "What", "Owner", "Evidence", "Since"], &[]);
    for f in findings {
        let since = f.since.format("%Y-%m-%d").to_string();
        let owner = f.owner.as_deref().unwrap_or("");
        table.add_row([
            f.severity.name(),
            f.rule,
            &one_line(&f.entity),
            owner,
            &one_line(&f.evidence),
            &since,
        ]);
    }
    println!("{table}\n");
    let count = |severity| findings.iter().filter(|f| f.severity == severity).count();
    println!(
        "{} high, {} medium, {} low, {} info",
        count(Severity::High),
        count(Severity::Medium),
        count(Severity::Low),
        count(Severity::Info)
    );
}

fn print_csv(findings: &[Finding]) -> Result<(), Failure> {
    let failed = |e: csv::Error| Failure::new(Code::Nothing, format!("CSV can't be written: {e}"));
    let mut out = csv::Writer::from_writer(std::io::stdout().lock());
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
    ])
    .map_err(failed)?;
    for f in findings {
        let since = f.since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let (owner, url) = (f.owner.as_deref().unwrap_or(""), f.url.as_deref().unwrap_or(""));
        let row = [
            &f.id,
            f.severity.name(),
            f.rule,
            f.entity_type,
            &f.entity_id,
            &f.entity,
            owner,
            &f.evidence,
            &since,
            f.action,
            url,
        ];
        out.write_record(row).map_err(failed)?;
    }
    out.flush().map_err(|e| failed(e.into()))
}

fn print_markdown(snapshot: &str, findings: &[Finding]) {
    println!("# Audit of {snapshot}\n\n{} findings.\n", findings.len());
    println!("| severity | rule | what | owner | evidence | since |\n| --- | --- | --- | --- | --- | --- |");
    for f in findings {
        let cell = |text: &str| super::diff::escaped(&one_line(text));
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
            f.since.format("%Y-%m-%d")
        );
    }
}
