//! `hexport projects`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use futures::TryStreamExt;
use serde_json::Value;

use super::resolve::{Named, resolve};
use super::shape::{PROJECTS, TABLES};
use super::{ListArgs, ReadArgs, Session, WriteArgs, grant};
use crate::cli::Ui;
use crate::cli::exit::{Code, Failure};
use crate::cli::settings::Settings;
use crate::client::projects::{Include, ListProjects, ListQueriedTables, Principal, ProjectSort, Version};
use crate::client::{CollectionId, Error, GroupId, List, ProjectId, SortDirection, UserId};

/// Commands on projects.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List projects
    List(Listing),
    /// Show one project
    Get {
        /// Project: identifier, title or page in Hex
        #[arg(value_name = "PROJECT")]
        project: String,
        /// Show its sharing
        #[arg(long)]
        sharing: bool,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Create an empty project
    Create {
        /// Title
        #[arg(long)]
        title: String,
        /// Description
        #[arg(long)]
        description: Option<String>,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Set or clear a project's status label
    Update {
        /// Project: identifier, title or page in Hex
        #[arg(value_name = "PROJECT")]
        project: String,
        #[command(flatten)]
        status: StatusArgs,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Grant access to a project
    Share(Sharing),
    /// Fetch a project as a YAML file (a read, although the API takes it as a POST)
    Export {
        /// Project: identifier, title or page in Hex
        #[arg(value_name = "PROJECT")]
        project: String,
        /// draft, latest, or a number
        #[arg(long, default_value = "draft", value_parser = version)]
        version: Version,
        /// File to write [default: standard output]
        #[arg(short = 'o', long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        read: ReadArgs,
    },
}

/// A status label to set, or to clear.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct StatusArgs {
    /// Status label to set
    #[arg(long, value_name = "LABEL")]
    status: Option<String>,
    /// Remove the status label
    #[arg(long)]
    clear_status: bool,
}

/// Filters and order of projects.
#[derive(Debug, clap::Args)]
pub struct Listing {
    /// Include archived projects
    #[arg(long)]
    archived: bool,
    /// Include components
    #[arg(long)]
    components: bool,
    /// Include projects in the trash
    #[arg(long)]
    trashed: bool,
    /// Show each project's sharing
    #[arg(long)]
    sharing: bool,
    /// Only with this status label; or PUBLISHED, DRAFT (never published) or ALL, where the workspace has no label
    /// of that name. May be given more than once
    #[arg(long, value_name = "LABEL")]
    status: Vec<String>,
    /// Only in this category; may be given more than once
    #[arg(long, value_name = "CATEGORY")]
    category: Vec<String>,
    /// Only projects that this person created
    #[arg(long, value_name = "EMAIL")]
    creator: Option<String>,
    /// Only projects that this person owns
    #[arg(long, value_name = "EMAIL")]
    owner: Option<String>,
    /// Only projects in this collection: identifier or name
    #[arg(long, value_name = "COLLECTION")]
    collection: Option<String>,
    /// Sort by
    #[arg(long, value_enum, value_name = "BY")]
    sort: Option<SortBy>,
    /// Sort direction [default: desc]
    #[arg(long, value_enum, value_name = "DIRECTION")]
    direction: Option<Direction>,
    #[command(flatten)]
    list: ListArgs,
}

/// Sort keys of projects.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SortBy {
    /// Creation.
    Created,
    /// Last edit.
    Edited,
    /// Last publication.
    Published,
}

/// A sort direction.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Direction {
    /// Ascending.
    Asc,
    /// Descending.
    Desc,
}

impl From<Direction> for SortDirection {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Asc => SortDirection::Asc,
            Direction::Desc => SortDirection::Desc,
        }
    }
}

/// Who gets which access. Levels: none, app-only, can-view, can-edit, full-access.
#[derive(Debug, clap::Args)]
pub struct Sharing {
    /// Project: identifier, title or page in Hex
    #[arg(value_name = "PROJECT")]
    project: String,
    /// A user's access: EMAIL=LEVEL; may be given more than once
    #[arg(long, value_name = "USER=LEVEL", value_parser = grant)]
    user: Vec<(String, String)>,
    /// A group's access: NAME=LEVEL; may be given more than once
    #[arg(long, value_name = "GROUP=LEVEL", value_parser = grant)]
    group: Vec<(String, String)>,
    /// A collection's access: NAME=LEVEL; may be given more than once
    #[arg(long, value_name = "COLLECTION=LEVEL", value_parser = grant)]
    collection: Vec<(String, String)>,
    /// The workspace's access
    #[arg(long, value_name = "LEVEL")]
    workspace: Option<String>,
    /// The access of everyone on the web
    #[arg(long, value_name = "LEVEL")]
    public_web: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "draft" => Ok(Version::Draft),
        "latest" => Ok(Version::Latest),
        _ => match text.parse() {
            Ok(number) if number > 0 => Ok(Version::Number(number)),
            _ => Err("a version is draft, latest or a number from 1".into()),
        },
    }
}

fn include(flag: bool) -> Include {
    if flag { Include::Yes } else { Include::No }
}

/// Runs the command.
///
/// # Errors
/// If the API refuses it.
pub async fn run(command: Command, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    match command {
        Command::List(listing) => list(listing, settings, ui).await,
        Command::Get { project, sharing, read } => {
            let session = read.open(settings, ui)?;
            let id = resolve(&session.client, &project).await?;
            session.get(session.client.get_project(&id, include(sharing)), &PROJECTS).await
        }
        Command::Create { title, description, write } => {
            let (read, writing) = write.split();
            let session = read.open(settings, ui)?;
            let call = session.client.create_project(&title, description.as_deref());
            session.write(call, &writing, None, &PROJECTS).await
        }
        Command::Update { project, status, write } => {
            let (read, writing) = write.split();
            let session = read.open(settings, ui)?;
            let id = resolve(&session.client, &project).await?;
            let call = session.client.update_project(&id, status.status.as_deref());
            let written = session.write(call, &writing, None, &PROJECTS).await;
            match (written, status.status) {
                (Err(failure), Some(label)) if failure.code == Code::Usage => {
                    Err(with_labels(failure, &session, &label).await)
                }
                (written, _) => written,
            }
        }
        Command::Share(sharing) => share(sharing, settings, ui).await,
        Command::Export { project, version, file, read } => {
            let session = read.open(settings, ui)?;
            let id = resolve(&session.client, &project).await?;
            let exported = session.client.export_project(&id, version).await?;
            write_file(file, &exported.content)
        }
    }
}

fn write_file(file: Option<PathBuf>, content: &str) -> Result<Code, Failure> {
    match file {
        None => print!("{content}"),
        Some(path) => std::fs::write(&path, content).map_err(|e| {
            Failure::new(Code::Destination, format!("{} can't be written: {e}", path.display()))
                .next("Name a file in a folder that this user may write to.")
        })?,
    }
    Ok(Code::Complete)
}

/// Whether a project is published: what people mean by some words for a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Published {
    Yes,
    No,
    Either,
}

impl Published {
    fn of(word: &str) -> Option<Self> {
        match word.to_uppercase().as_str() {
            "PUBLISHED" => Some(Self::Yes),
            "DRAFT" => Some(Self::No),
            "ALL" => Some(Self::Either),
            _ => None,
        }
    }

    fn fits(self, project: &Value) -> bool {
        match self {
            Self::Yes => !project["lastPublishedAt"].is_null(),
            Self::No => project["lastPublishedAt"].is_null(),
            Self::Either => true,
        }
    }
}

async fn list(listing: Listing, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let session = listing.list.read.open(settings, ui)?;
    let collection_id = match &listing.collection {
        Some(collection) => Some(resolve(&session.client, collection).await?),
        None => None,
    };
    let (mut states, mut labels) = (Vec::new(), Vec::new());
    for status in listing.status {
        match Published::of(&status) {
            // A label of the workspace wins.
            Some(state) if !is_label(&session, &status).await? => states.push(state),
            _ => labels.push(status),
        }
    }
    // Hex filters by labels; by publication we do, and then by labels as well: any one of them is enough.
    let asked = if states.is_empty() { labels.clone() } else { Vec::new() };
    let request = ListProjects {
        archived: include(listing.archived),
        components: include(listing.components),
        trashed: include(listing.trashed),
        sharing: include(listing.sharing),
        statuses: asked,
        categories: listing.category,
        creator_email: listing.creator,
        owner_email: listing.owner,
        collection_id,
        sort_by: listing.sort.map(|by| match by {
            SortBy::Created => ProjectSort::CreatedAt,
            SortBy::Edited => ProjectSort::LastEditedAt,
            SortBy::Published => ProjectSort::LastPublishedAt,
        }),
        sort_direction: listing.direction.map(Into::into),
        page_size: None,
    };
    let wanted = |project: &Value| {
        let label = project["status"]["name"].as_str();
        states.is_empty()
            || states.iter().any(|state| state.fits(project))
            || labels.iter().any(|wanted| Some(wanted.as_str()) == label)
    };
    let listed = session.list_some(request.request(), listing.list.limit, &PROJECTS, wanted).await?;
    if listed == 0
        && let Some(label) = labels.first()
    {
        let seen = labels_in_use(&session).await?;
        if !seen.contains(label) {
            eprintln!("note: no project has the status label '{label}'. {}", labels_hint(&seen));
        }
    }
    Ok(Code::Complete)
}

/// Whether a project has this status label.
async fn is_label(session: &Session, label: &str) -> Result<bool, Failure> {
    let list =
        ListProjects { statuses: vec![label.to_owned()], page_size: Some(1), ..ListProjects::everything() };
    let mut items = std::pin::pin!(session.client.list_json(list.request()));
    match items.try_next().await {
        Ok(project) => Ok(project.is_some_and(|project| project["status"]["name"] == label)),
        Err(Error::Api { status: 400 | 404 | 422, .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// The status labels that projects have.
async fn labels_in_use(session: &Session) -> Result<BTreeSet<String>, Failure> {
    let everything = ListProjects { sharing: Include::No, ..ListProjects::everything() };
    let projects: Vec<Value> = session.client.list_json(everything.request()).try_collect().await?;
    Ok(projects.iter().filter_map(|p| p["status"]["name"].as_str().map(str::to_owned)).collect())
}

fn labels_hint(seen: &BTreeSet<String>) -> String {
    if seen.is_empty() {
        return "No project has a status label.".to_owned();
    }
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    format!("Labels in use: {}.", seen.join(", "))
}

/// A refusal of a status label, with the labels that there are.
async fn with_labels(failure: Failure, session: &Session, label: &str) -> Failure {
    match labels_in_use(session).await {
        Ok(seen) if !seen.contains(label) => failure.next(labels_hint(&seen)),
        _ => failure,
    }
}

/// Grants with the identifiers of those who are named.
async fn resolved<'a, I: Named + Into<String>>(
    session: &Session,
    grants: &'a [(String, String)],
) -> Result<Vec<(String, &'a str)>, Failure> {
    let mut found = Vec::new();
    for (who, level) in grants {
        found.push((resolve::<I>(&session.client, who).await?.into(), level.as_str()));
    }
    Ok(found)
}

async fn share(sharing: Sharing, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let (read, writing) = sharing.write.split();
    let session = read.open(settings, ui)?;
    let id: ProjectId = resolve(&session.client, &sharing.project).await?;
    let mut calls = Vec::new();
    for (principal, grants) in [
        (Principal::Users, resolved::<UserId>(&session, &sharing.user).await?),
        (Principal::Groups, resolved::<GroupId>(&session, &sharing.group).await?),
        (Principal::Collections, resolved::<CollectionId>(&session, &sharing.collection).await?),
    ] {
        let pairs: Vec<(&str, &str)> = grants.iter().map(|(id, level)| (id.as_str(), *level)).collect();
        // The API takes 25 grants a call.
        calls.extend(pairs.chunks(25).map(|chunk| session.client.share_project(&id, principal, chunk)));
    }
    let level = |text: &String| text.to_uppercase().replace('-', "_");
    let (workspace, public) = (sharing.workspace.as_ref().map(level), sharing.public_web.as_ref().map(level));
    if workspace.is_some() || public.is_some() {
        calls.push(session.client.share_project_widely(&id, workspace.as_deref(), public.as_deref()));
    }
    if calls.is_empty() {
        return Err(Failure::new(Code::Usage, "there is nobody to share with")
            .next("Name someone with --user, --group, --collection, --workspace or --public-web."));
    }
    let opens = public
        .is_some_and(|access| access != "NONE")
        .then_some("Everyone on the web will see the project, which");
    if writing.dry_run {
        for call in &calls {
            session.show(call.request())?;
        }
        return Ok(Code::Complete);
    }
    if let Some(what) = opens {
        writing.confirm(what)?;
    }
    let mut refused = Vec::new();
    for call in calls {
        let answer = call.json().await?;
        refused.extend(answer["errors"].as_array().into_iter().flatten().map(Value::to_string));
        session.output.print_one(&answer)?;
    }
    if refused.is_empty() {
        return Ok(Code::Complete);
    }
    Err(Failure::new(Code::Usage, format!("Hex refused a part of it: {}", refused.join("; ")))
        .next("The response above shows what it accepted."))
}

/// Arguments of `hexport tables`.
#[derive(Debug, clap::Args)]
pub struct TablesArgs {
    /// Project: identifier, title or page in Hex
    #[arg(value_name = "PROJECT")]
    project: String,
    #[command(flatten)]
    list: ListArgs,
}

/// Lists the warehouse tables that a project's published runs have queried.
///
/// # Errors
/// If the API refuses it.
pub async fn tables(args: TablesArgs, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let session = args.list.read.open(settings, ui)?;
    let project_id = resolve(&session.client, &args.project).await?;
    let request = ListQueriedTables { project_id, page_size: None }.request();
    session.list(request, args.list.limit, &TABLES).await
}
