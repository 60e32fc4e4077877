//! `hexport cost`: what projects, owners, schedules, cells, tables, users and runs cost.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::exit::{Code, Failure};
use super::settings::{Settings, StoreArgs};
use super::{lakes, out, render};
use crate::cost::{Answer, By, Line, find};
use crate::units::parse_duration;

/// Lines that a table shows by default.
const SHOWN: usize = 20;

/// Arguments of `hexport cost`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Dimension to group costs by
    #[arg(long, value_enum, value_name = "WHAT", default_value = "project")]
    by: By,
    /// Only queries since a date (UTC), such as 2026-11-01, or within a duration before the snapshot, such as 7d
    #[arg(long, value_name = "DATE|DURATION", value_parser = parse_since)]
    since: Option<Since>,
    /// Maximum number of lines [default: 20 in a table, otherwise all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Snapshot to read [default: the newest of each table]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

/// Start of the period.
#[derive(Debug, Clone, Copy)]
enum Since {
    Day(NaiveDate),
    Before(TimeDelta),
}

fn parse_since(text: &str) -> Result<Since, String> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(Since::Day(day));
    }
    let duration =
        parse_duration(text).map_err(|_| format!("'{text}' is neither a date nor a duration such as 7d"))?;
    TimeDelta::from_std(duration).map(Since::Before).map_err(|_| "that is too long".to_owned())
}

impl Since {
    fn day(self, now: DateTime<Utc>) -> NaiveDate {
        match self {
            Since::Day(day) => day,
            Since::Before(time) => (now - time).date_naive(),
        }
    }
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    Table,
    /// A JSON object.
    Json,
    /// CSV.
    Csv,
}

/// Answers.
///
/// # Errors
/// If there is no lake, or no query history was imported into it.
pub fn run(args: &Args, settings: &Settings) -> Result<Code, Failure> {
    let lake = args.store.open(&args.dest)?;
    let manifest = lakes::newest(&lake, args.snapshot.as_deref())?;
    let since = args.since.map(|since| since.day(manifest.snapshot_at));
    let answer = find(&lake, &manifest, args.by, since, &settings.file.cost)?;
    let mut answer = answer.ok_or_else(|| {
        Failure::new(Code::Usage, format!("no query history was imported into {}", lake.name())).next(
            "Extract one with the SQL that hexport import query-history --sql KIND prints, then import it.",
        )
    })?;
    let all = answer.lines.len();
    let most = args.limit.unwrap_or(if args.output == Form::Table { SHOWN } else { all });
    answer.lines.truncate(most);
    match args.output {
        Form::Json => print_json(args.by, since, &answer),
        Form::Csv => print_csv(args.by, &answer)?,
        Form::Table => print_table(args.by, &answer, all),
    }
    Ok(Code::Complete)
}

/// Usage of a line, by name.
fn figures(line: &Line) -> [(&'static str, Value); 9] {
    let usage = &line.spent.usage;
    [
        ("queries", json!(usage.queries)),
        ("failures", json!(line.spent.failures)),
        ("cached", json!(usage.cached)),
        ("seconds", json!(usage.seconds)),
        ("bytes_scanned", json!(usage.bytes_scanned)),
        ("credits", json!(usage.credits)),
        ("slot_seconds", json!(usage.slot_seconds)),
        ("cost", json!(line.spent.cost)),
        ("failed_cost", json!(line.spent.failed_cost)),
    ]
}

fn print_json(by: By, since: Option<NaiveDate>, answer: &Answer) {
    let line = |line: &Line| {
        let labels = by.labels().iter().copied().zip(line.labels.iter().cloned());
        let members = labels.chain(figures(line)).map(|(name, value)| (name.to_owned(), value));
        Value::Object(members.collect::<Map<_, _>>())
    };
    let joined = answer.joined.map(
        |joined| json!({"by_trace": joined.by_trace, "by_time": joined.by_time, "unknown": joined.unknown}),
    );
    let (first, last) = answer.covers.unzip();
    let whole = json!({
        "by": by.name(),
        "since": since,
        "first_day": first,
        "last_day": last,
        "currency": answer.currency,
        "queries_joined_to_runs": joined,
        "lines": answer.lines.iter().map(line).collect::<Vec<_>>(),
    });
    println!("{}", serde_json::to_string_pretty(&whole).unwrap_or_default());
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn print_csv(by: By, answer: &Answer) -> Result<(), Failure> {
    let failed = |e: csv::Error| Failure::new(Code::Nothing, format!("CSV can't be written: {e}"));
    let mut csv = csv::Writer::from_writer(out::stream());
    let names = figures(&Line { labels: Vec::new(), spent: Default::default() }).map(|(name, _)| name);
    csv.write_record(by.labels().iter().copied().chain(names)).map_err(failed)?;
    for line in &answer.lines {
        let figures = figures(line);
        let values = line.labels.iter().chain(figures.iter().map(|(_, value)| value));
        csv.write_record(values.map(plain)).map_err(failed)?;
    }
    csv.flush().map_err(|e| failed(e.into()))
}

fn print_table(by: By, answer: &Answer, all: usize) {
    let usages = || answer.lines.iter().map(|line| &line.spent.usage);
    let (credits, slots) = (usages().any(|u| u.credits > 0.0), usages().any(|u| u.slot_seconds > 0.0));
    let (bytes, costs) =
        (usages().any(|u| u.bytes_scanned > 0), answer.lines.iter().any(|l| l.spent.cost.is_some()));
    let labels = by.labels();
    let cost = match &answer.currency {
        Some(currency) => format!("cost {currency}"),
        None => "cost".to_owned(),
    };
    let mut header: Vec<&str> = labels.to_vec();
    let optional = [(bytes, "scanned"), (credits, "credits"), (slots, "slot time"), (costs, cost.as_str())];
    header.extend(["queries", "failed", "time"]);
    header.extend(optional.iter().filter(|(is, _)| *is).map(|(_, name)| *name));
    let right: Vec<usize> = (labels.len()..header.len()).collect();
    let mut table = render::table(&header, &right);
    for line in &answer.lines {
        let usage = &line.spent.usage;
        let mut row: Vec<String> = line.labels.iter().map(plain).collect();
        row.push(render::count(usage.queries.unsigned_abs()));
        row.push(render::count(line.spent.failures.unsigned_abs()));
        row.push(render::seconds(usage.seconds));
        let optional = [
            (bytes, render::bytes(usage.bytes_scanned.unsigned_abs())),
            (credits, format!("{:.2}", usage.credits)),
            (slots, render::seconds(usage.slot_seconds)),
            (costs, line.spent.cost.map_or(String::new(), |cost| format!("{cost:.2}"))),
        ];
        row.extend(optional.into_iter().filter(|(is, _)| *is).map(|(_, text)| text));
        table.add_row(row);
    }
    println!("{table}");
    if all > answer.lines.len() {
        println!("... and {} more (--limit)", render::count((all - answer.lines.len()) as u64));
    }
    if let Some((first, last)) = answer.covers {
        println!("\nQuery histories from {first} to {last} (UTC).");
    }
    if let Some(joined) = answer.joined {
        let total = (joined.by_trace + joined.by_time + joined.unknown).max(1) as f64;
        let share = |n: i64| 100.0 * n as f64 / total;
        println!(
            "{:.0} % of the queries belong to a known run by its trace ID, {:.0} % by project and time; \
             {:.0} % have no known run.",
            share(joined.by_trace),
            share(joined.by_time),
            share(joined.unknown)
        );
    }
    if !costs {
        println!("No prices are set: add them under [cost.warehouses] in hexport.toml.");
    }
}
