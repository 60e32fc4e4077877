//! `hexport access`: who can reach what, and how that changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::diff::escaped;
use super::exit::{Code, Failure};
use super::settings::{Settings, StoreArgs};
use crate::access::{self, Access, Answer, Change, Expand, Question, Reach, Review};

/// Tables of a project that the tree names in addition to the sensitive ones.
const NAMED: usize = 5;

/// Arguments of `hexport access`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show who gained and lost access since an earlier snapshot
    Review(ReviewArgs),
}

#[derive(Debug, clap::Args)]
struct Ask {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST", required = true)]
    dest: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    about: About,
    /// List everyone who has access through a workspace grant or a role
    #[arg(long)]
    expand: bool,
    /// Snapshot: its name, a date such as 2026-11-24, or an age such as 7d [default: the newest]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Form::Tree)]
    output: Form,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct About {
    /// List what this person can reach (email address)
    #[arg(long, value_name = "EMAIL")]
    person: Option<String>,
    /// List who can open this project (identifier or title)
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// List who can reach this table through projects (its full name or the end of it)
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
}

#[derive(Debug, clap::Args)]
struct ReviewArgs {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Earlier snapshot: its name, a date such as 2026-11-24, or an age such as 7d
    #[arg(long, value_name = "SNAPSHOT")]
    since: String,
    /// Later snapshot, in the same notation [default: the newest]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// List everyone who has access through a workspace grant or a role
    #[arg(long)]
    expand: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Form::Tree)]
    output: Form,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    Tree,
    /// One JSON object.
    Json,
    /// CSV, one row per path.
    Csv,
    /// Markdown, to sign.
    Markdown,
}

/// Answers a question about access.
///
/// # Errors
/// If there is no snapshot, or nothing of the name that is asked about.
pub fn run(args: &Args, settings: &Settings) -> Result<Code, Failure> {
    if let Some(mistake) = settings.file.access.mistakes().into_iter().next() {
        return Err(Failure::new(Code::Usage, mistake));
    }
    match (&args.command, &args.ask.dest) {
        (Some(Command::Review(args)), _) => run_review(args, settings),
        (None, Some(dest)) => run_ask(&args.ask, dest, settings),
        (None, None) => Err(Failure::new(Code::Usage, "no data lake given").next("hexport access --help")),
    }
}

fn run_ask(args: &Ask, dest: &Path, settings: &Settings) -> Result<Code, Failure> {
    let lake = args.store.open(dest)?;
    let manifest = super::snapshots::one(&lake, args.snapshot.as_deref())?;
    let About { person, project, table } = &args.about;
    let question = match (person, project, table) {
        (Some(email), _, _) => Question::Person(email.clone()),
        (None, Some(name), _) => Question::Project(name.clone()),
        (None, None, name) => Question::Table(name.clone().unwrap_or_default()),
    };
    let file = &settings.file;
    let answer = access::ask(&lake, &manifest, &question, expand(args.expand), &file.access, &file.audit)?;
    match args.output {
        Form::Json => println!("{}", serde_json::to_string_pretty(&answer).unwrap_or_default()),
        Form::Csv => csv(answer.access.iter().map(|access| (None, access)))?,
        Form::Tree => print!("{}", tree(&question, &answer)),
        Form::Markdown => print!("{}", markdown(&answer)),
    }
    Ok(Code::Complete)
}

fn expand(is_wanted: bool) -> Expand {
    if is_wanted { Expand::Yes } else { Expand::No }
}

fn run_review(args: &ReviewArgs, settings: &Settings) -> Result<Code, Failure> {
    let lake = args.store.open(&args.dest)?;
    let after = super::snapshots::one(&lake, args.snapshot.as_deref())?;
    let before = super::snapshots::one(&lake, Some(&args.since))?;
    let review = access::review(&lake, &before, &after, expand(args.expand), &settings.file.access)?;
    match args.output {
        Form::Json => println!("{}", serde_json::to_string_pretty(&review).unwrap_or_default()),
        Form::Csv => csv(review.changes.iter().map(|c| (Some(c), &c.access)))?,
        Form::Tree => print!("{}", review_tree(&review)),
        Form::Markdown => print!("{}", review_markdown(&review)),
    }
    Ok(Code::Complete)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The principal in words.
fn who(access: &Access) -> String {
    let role = access.role.as_ref().map_or(String::new(), |role| format!(" ({role})"));
    let external = if access.external { ", external" } else { "" };
    match access.principal_type.as_str() {
        "person" => format!("{}{role}{external}", access.principal),
        "workspace" => "everyone in the workspace".into(),
        "public" => "everyone on the web".into(),
        "group" => format!("the group {}, whose members aren't known", one_line(&access.principal)),
        "collection" => {
            format!("the collection {}, whose members aren't all known", one_line(&access.principal))
        }
        kind => kind.to_owned(),
    }
}

fn ways(paths: &[access::Path]) -> String {
    paths.iter().map(|path| one_line(&path.words())).collect::<Vec<_>>().join("; ")
}

/// Lines below a node, drawn as its branches.
fn branches(out: &mut String, indent: &str, lines: &[(String, Vec<String>)]) {
    for (i, (line, below)) in lines.iter().enumerate() {
        let is_last = i + 1 == lines.len();
        let (branch, rest) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        *out += &format!("{indent}{branch}{line}\n");
        let below: Vec<(String, Vec<String>)> = below.iter().map(|line| (line.clone(), Vec::new())).collect();
        branches(out, &format!("{indent}{rest}"), &below);
    }
}

/// Lines on what a project reads: one per connection.
fn reads(tables: &[Reach]) -> Vec<String> {
    let mut by_connection: BTreeMap<&str, Vec<&Reach>> = BTreeMap::new();
    for reach in tables {
        by_connection.entry(&reach.connection).or_default().push(reach);
    }
    let mut lines = Vec::new();
    for (connection, tables) in by_connection {
        let is_sensitive = |reach: &&&Reach| reach.sensitive || !reach.sensitive_columns.is_empty();
        let plain: Vec<&str> =
            tables.iter().filter(|reach| !is_sensitive(reach)).map(|reach| reach.table.as_str()).collect();
        let mut line = format!("reads through {}", one_line(connection));
        let sensitive: Vec<String> = tables
            .iter()
            .filter(is_sensitive)
            .map(|reach| match reach.sensitive_columns.is_empty() {
                true => format!("{} (sensitive)", reach.table),
                false => format!("{} (sensitive: {})", reach.table, reach.sensitive_columns.join(", ")),
            })
            .collect();
        let mut named = sensitive;
        named.extend(plain.iter().take(NAMED).map(|table| (*table).to_owned()));
        if plain.len() > NAMED {
            named.push(format!("and {} more", plain.len() - NAMED));
        }
        line += &format!(": {}", named.join(", "));
        lines.push(line);
    }
    lines
}

fn notes(assumptions: &[String], not_known: &[String]) -> String {
    let mut out = String::new();
    for (title, lines) in [
        ("Assumed, since the API doesn't say ([access] in hexport.toml)", assumptions),
        ("Not known", not_known),
    ] {
        if !lines.is_empty() {
            out += &format!("\n{title}:\n");
        }
        for line in lines {
            out += &format!("  - {}\n", one_line(line));
        }
    }
    out
}

fn tree(question: &Question, answer: &Answer) -> String {
    let mut out = String::new();
    let no_reads = Vec::new();
    let tables = |id: &str| reads(answer.reads.get(id).unwrap_or(&no_reads));
    if let Question::Person(email) = question {
        let role = answer
            .access
            .iter()
            .find_map(|a| a.role.clone())
            .map_or(String::new(), |role| format!(" ({role})"));
        out += &format!("{email}{role}: {} projects\n", answer.access.len());
        let lines: Vec<(String, Vec<String>)> = answer
            .access
            .iter()
            .map(|a| {
                (
                    format!("{} [{}]: {}", one_line(&a.project), a.project_id, ways(&a.paths)),
                    tables(&a.project_id),
                )
            })
            .collect();
        branches(&mut out, "", &lines);
    } else {
        let mut by_project: BTreeMap<&str, Vec<&Access>> = BTreeMap::new();
        for access in &answer.access {
            by_project.entry(&access.project_id).or_default().push(access);
        }
        for (id, access) in by_project {
            out += &format!("{} [{id}]\n", one_line(&access[0].project));
            let mut lines: Vec<(String, Vec<String>)> =
                tables(id).into_iter().map(|line| (line, Vec::new())).collect();
            lines.extend(access.iter().map(|a| (format!("{}: {}", who(a), ways(&a.paths)), Vec::new())));
            branches(&mut out, "", &lines);
        }
    }
    out + &notes(&answer.assumptions, &answer.not_known)
}

fn markdown(answer: &Answer) -> String {
    let mut out = format!(
        "# Access in {}\n\n| who | project | access | how |\n| --- | --- | --- | --- |\n",
        answer.snapshot_id
    );
    for a in &answer.access {
        out += &format!(
            "| {} | {} | {} | {} |\n",
            escaped(&who(a)),
            escaped(&one_line(&a.project)),
            a.access,
            escaped(&ways(&a.paths))
        );
    }
    out + &notes(&answer.assumptions, &answer.not_known)
}

fn review_lines(review: &Review) -> BTreeMap<String, Vec<String>> {
    let mut by_principal: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for change in &review.changes {
        let a = &change.access;
        let level = match &change.before {
            Some(before) if *before != a.access => format!("{before} → {}", ways(&a.paths)),
            _ => ways(&a.paths),
        };
        let perhaps = if change.sure { "" } else { "perhaps " };
        let kind = change.kind.name();
        let line = format!("{perhaps}{kind}: {} [{}]: {level}", one_line(&a.project), a.project_id);
        by_principal.entry(who(a)).or_default().push(line);
    }
    by_principal
}

fn counted(review: &Review) -> String {
    let unsure = review.changes.iter().filter(|change| !change.sure).count();
    let text = format!("{} changes", review.changes.len());
    if unsure == 0 { text } else { format!("{text}, of which {unsure} are not certain (see: Not known)") }
}

fn review_tree(review: &Review) -> String {
    let mut out = format!("{} → {}: {}\n", review.before, review.after, counted(review));
    let lines: Vec<(String, Vec<String>)> = review_lines(review).into_iter().collect();
    branches(&mut out, "", &lines);
    out + &notes(&review.assumptions, &review.not_known)
}

fn review_markdown(review: &Review) -> String {
    let mut out = format!("# Access review: {} → {}\n\n{}.\n", review.before, review.after, counted(review));
    for (who, lines) in review_lines(review) {
        out += &format!("\n## {}\n\n", escaped(&who));
        for line in lines {
            out += &format!("- [ ] {}\n", escaped(&line));
        }
    }
    out += &notes(&review.assumptions, &review.not_known);
    out + "\nReviewed by: ______________________  Date: ____________  Signature: ______________________\n"
}

fn csv<'a>(rows: impl Iterator<Item = (Option<&'a Change>, &'a Access)>) -> Result<(), Failure> {
    let failed = |e: csv::Error| Failure::new(Code::Nothing, format!("CSV can't be written: {e}"));
    let mut out = csv::Writer::from_writer(super::out::stream());
    out.write_record([
        "change",
        "before",
        "principal_type",
        "principal",
        "role",
        "external",
        "project_id",
        "project",
        "access",
        "path",
        "via_collection",
        "via_group",
        "path_access",
        "sure",
    ])
    .map_err(failed)?;
    for (change, a) in rows {
        let sure = change.map_or("", |change| if change.sure { "true" } else { "false" });
        for path in &a.paths {
            out.write_record([
                change.map_or("", |change| change.kind.name()),
                change.and_then(|change| change.before.as_deref()).unwrap_or(""),
                &a.principal_type,
                &a.principal,
                a.role.as_deref().unwrap_or(""),
                if a.external { "true" } else { "false" },
                &a.project_id,
                &a.project,
                &a.access,
                &path.path,
                path.via_collection.as_deref().unwrap_or(""),
                path.via_group.as_deref().unwrap_or(""),
                &path.access,
                sure,
            ])
            .map_err(failed)?;
        }
    }
    out.flush().map_err(|e| failed(e.into()))
}
