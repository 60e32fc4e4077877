//! `hexport collections`.

use super::resolve::resolve;
use super::shape::COLLECTIONS;
use super::{ListArgs, ReadArgs, WriteArgs, grant};
use crate::cli::Ui;
use crate::cli::exit::{Code, Failure};
use crate::cli::settings::Settings;
use crate::client::collections::{
    CollectionEdit, CollectionSharing, IdGrant, ListCollections, MembersAccess, SharingEdit,
};
use crate::client::{GroupId, List, UserId};

/// Commands on collections.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List collections, by name
    List {
        /// Sort by; Hex supports only name
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
            let request = ListCollections { by_name: true, page_size: None }.request();
            session.list(request, list.limit, &COLLECTIONS).await
        }
        Command::Get { collection, read } => {
            let session = read.open(settings, ui)?;
            let id = resolve(&session.client, &collection).await?;
            session.get(session.client.get_collection(&id), &COLLECTIONS).await
        }
        Command::Create { name, description, write } => {
            let (read, writing) = write.split();
            let session = read.open(settings, ui)?;
            let call = session.client.create_collection(&name, description.as_deref());
            session.write(call, &writing, None, &COLLECTIONS).await
        }
        Command::Edit { collection, name, description, user, group, workspace, write } => {
            let (read, writing) = write.split();
            let session = read.open(settings, ui)?;
            let id = resolve(&session.client, &collection).await?;
            let mut upsert = CollectionSharing::default();
            for (who, access) in user {
                let id: UserId = resolve(&session.client, &who).await?;
                upsert.users.get_or_insert_default().push(IdGrant { access, id: id.into() });
            }
            for (who, access) in group {
                let id: GroupId = resolve(&session.client, &who).await?;
                upsert.groups.get_or_insert_default().push(IdGrant { access, id: id.into() });
            }
            upsert.workspace = workspace.map(|access| MembersAccess { members: Some(access.to_uppercase()) });
            let sharing = (upsert != CollectionSharing::default()).then_some(SharingEdit { upsert });
            let edit = CollectionEdit { name, description, sharing };
            if edit == CollectionEdit::default() {
                return Err(Failure::new(Code::Usage, "there is nothing to change")
                    .next("Give --name, --description, --user, --group or --workspace."));
            }
            session.write(session.client.edit_collection(&id, &edit), &writing, None, &COLLECTIONS).await
        }
    }
}
