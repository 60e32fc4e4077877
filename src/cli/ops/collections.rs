//! `hexport collections`.

use super::resolve::{Kind, resolve};
use super::shape::COLLECTIONS;
use super::{ListArgs, ReadArgs, WriteArgs, grant};
use crate::cli::Ui;
use crate::cli::exit::{Code, Failure};
use crate::cli::settings::Settings;
use crate::client::ApiRequest;
use crate::client::operation::{CREATE_COLLECTION, EDIT_COLLECTION, GET_COLLECTION, LIST_COLLECTIONS};

/// Commands on collections.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List collections, by name
    List {
        /// Sort by; Hex knows name alone
        #[arg(long, value_enum, value_name = "BY", ignore_case = true, default_value = "name")]
        sort: SortBy,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one collection
    Get {
        /// Collection: identifier, name or page in Hex
        #[arg(value_name = "COLLECTION")]
        collection: String,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Create a collection
    Create {
        /// Name
        #[arg(long)]
        name: String,
        /// Description
        #[arg(long)]
        description: Option<String>,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Rename a collection, describe it, or grant access to it (levels: NONE, MEMBER, MANAGER)
    Edit {
        /// Collection: identifier, name or page in Hex
        #[arg(value_name = "COLLECTION")]
        collection: String,
        /// New name
        #[arg(long)]
        name: Option<String>,
        /// New description
        #[arg(long)]
        description: Option<String>,
        /// A user's access: EMAIL=LEVEL; may be given more than once
        #[arg(long, value_name = "USER=LEVEL", value_parser = grant)]
        user: Vec<(String, String)>,
        /// A group's access: NAME=LEVEL; may be given more than once
        #[arg(long, value_name = "GROUP=LEVEL", value_parser = grant)]
        group: Vec<(String, String)>,
        /// Access of the workspace's members
        #[arg(long, value_name = "LEVEL")]
        workspace: Option<String>,
        #[command(flatten)]
        write: WriteArgs,
    },
}

/// Sort keys of collections.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum SortBy {
    /// Name.
    Name,
}

/// Runs the command.
///
/// # Errors
/// If the API refuses it.
pub async fn run(command: Command, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    match command {
        Command::List { sort: SortBy::Name, list } => {
            let session = list.read.open(settings, ui)?;
            let request = ApiRequest::new(&LIST_COLLECTIONS, &[]).query("sortBy", "NAME");
            session.list(request, list.limit, &COLLECTIONS).await
        }
        Command::Get { collection, read } => {
            let session = read.open(settings, ui)?;
            let id = resolve(&session.client, Kind::Collection, &collection).await?;
            session.get(ApiRequest::new(&GET_COLLECTION, &[&id]), &COLLECTIONS).await
        }
        Command::Create { name, description, write } => {
            let (read, writing) = write.split();
            let session = read.open(settings, ui)?;
            let mut body = serde_json::json!({ "name": name });
            if let Some(description) = description {
                body["description"] = description.into();
            }
            session
                .write(ApiRequest::new(&CREATE_COLLECTION, &[]).body(body), &writing, None, &COLLECTIONS)
                .await
        }
        Command::Edit { collection, name, description, user, group, workspace, write } => {
            let (read, writing) = write.split();
            let session = read.open(settings, ui)?;
            let id = resolve(&session.client, Kind::Collection, &collection).await?;
            let mut body = serde_json::json!({});
            if let Some(name) = name {
                body["name"] = name.into();
            }
            if let Some(description) = description {
                body["description"] = description.into();
            }
            for (kind, many, grants) in [(Kind::User, "users", user), (Kind::Group, "groups", group)] {
                for (who, access) in grants {
                    let id = resolve(&session.client, kind, &who).await?;
                    let grant = serde_json::json!({ "access": access, "id": id });
                    let list = &mut body["sharing"]["upsert"][many];
                    match list.as_array_mut() {
                        Some(list) => list.push(grant),
                        None => *list = serde_json::json!([grant]),
                    }
                }
            }
            if let Some(access) = workspace {
                body["sharing"]["upsert"]["workspace"]["members"] = access.to_uppercase().into();
            }
            if body.as_object().is_some_and(serde_json::Map::is_empty) {
                return Err(Failure::new(Code::Usage, "there is nothing to change")
                    .next("Give --name, --description, --user, --group or --workspace."));
            }
            session
                .write(ApiRequest::new(&EDIT_COLLECTION, &[&id]).body(body), &writing, None, &COLLECTIONS)
                .await
        }
    }
}
