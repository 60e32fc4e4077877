//! `hexport audit`: findings over a committed snapshot.

use std::path::PathBuf;

use super::exit::{Code, Failure};
use super::render;
use super::settings::{Settings, StoreArgs};
use crate::audit::{Finding, OwnRule, RULES, Severity, audit, forms};

/// Arguments of `hexport audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake, a folder or a URL; without it the rules are listed
    #[arg(value_name = "DEST")]
    dest: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Snapshot to look at [default: the last one]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// Only findings at least this severe
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "info")]
    severity: Severity,
    /// Only findings of these rules, separated by commas
    #[arg(long, value_name = "RULES", value_delimiter = ',')]
    rules: Vec<String>,
    /// Folder of your own rules: SQL files of one SELECT each [default: rules of [audit] in hexport.toml]
    #[arg(long, value_name = "FOLDER")]
    own_rules: Option<PathBuf>,
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
    /// SARIF 2.1.0, for code scanners.
    Sarif,
    /// JUnit XML, for CI servers.
    Junit,
}

/// Audits.
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
    let is_known = |rule: &String| RULES.iter().any(|r| r.id == *rule) || own.iter().any(|r| r.id() == rule);
    let unknown = args.rules.iter().find(|rule| !is_known(rule)).map(|r| format!("there is no rule '{r}'"));
    if let Some(mistake) = unknown.or_else(|| config.mistakes(&own).into_iter().next()) {
        return Err(Failure::new(Code::Usage, mistake).next("hexport audit lists the rules."));
    }
    let lake = args.store.open(dest)?;
    let manifest = super::snapshots::one(&lake, args.snapshot.as_deref())?;
    let mut findings = audit(&lake, &manifest, config, &own)?;
    findings
        .retain(|f| f.severity >= args.severity && (args.rules.is_empty() || args.rules.contains(&f.rule)));
    match args.output {
        Form::Json => println!("{}", serde_json::to_string_pretty(&findings).unwrap_or_default()),
        Form::Csv => print_csv(&findings)?,
        Form::Markdown => print_markdown(&manifest.snapshot_id, &findings),
        Form::Table => print_table(&findings),
        Form::Sarif => {
            let log = forms::sarif(&findings, &own, manifest.snapshot_at);
            println!("{}", serde_json::to_string_pretty(&log).unwrap_or_default());
        }
        Form::Junit => {
            let xml = forms::junit(&findings, &own, manifest.snapshot_at);
            println!("{}", xml.map_err(|e| Failure::new(Code::Nothing, format!("no JUnit: {e}")))?);
        }
    }
    let failed = args.fail_on.is_some_and(|least| findings.iter().any(|f| f.severity >= least));
    Ok(if failed { Code::Findings } else { Code::Complete })
}

fn list(own: &[OwnRule]) {
    let mut table = render::table(&["Rule", "Severity", "Looks for", "What to do"], &[]);
    for rule in RULES {
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

fn print_table(findings: &[Finding]) {
    let mut table = render::table(&["Severity", "Rule", "What", "Owner", "Evidence", "Since"], &[]);
    for f in findings {
        let since = f.since.format("%Y-%m-%d").to_string();
        let owner = f.owner.as_deref().unwrap_or("");
        table.add_row([
            f.severity.name(),
            &f.rule,
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
            &f.rule,
            &f.entity_type,
            &f.entity_id,
            &f.entity,
            owner,
            &f.evidence,
            &since,
            &f.action,
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
