//! `hexport groups`.

use super::connections::Order;
use super::resolve::resolve;
use super::shape::{GROUPS, PLAIN};
use super::{ListArgs, ReadArgs, Session, WriteArgs};
use crate::cli::Ui;
use crate::cli::exit::{Code, Failure};
use crate::cli::settings::Settings;
use crate::client::groups::{GroupEdit, ListGroups};
use crate::client::{List, UserId};

/// Commands on groups.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List groups; hexport users list --group lists a group's members
    List {
        #[command(flatten)]
        order: Order,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one group
    Get {
        /// Group: identifier, name or page in Hex
        #[arg(value_name = "GROUP")]
        group: String,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Create a group
    Create {
        /// Name
        #[arg(long)]
        name: String,
        /// A member: email or identifier; may be given more than once
        #[arg(long, value_name = "USER")]
        user: Vec<String>,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Rename a group, add and remove members
    Edit {
        /// Group: identifier, name or page in Hex
        #[arg(value_name = "GROUP")]
        group: String,
        /// New name
        #[arg(long)]
        name: Option<String>,
        /// A user to add: email or identifier; may be given more than once
        #[arg(long, value_name = "USER")]
        add: Vec<String>,
        /// A user to remove: email or identifier; may be given more than once
        #[arg(long, value_name = "USER")]
        remove: Vec<String>,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Delete a group
    Delete {
        /// Group: identifier, name or page in Hex
        #[arg(value_name = "GROUP")]
        group: String,
        #[command(flatten)]
        write: WriteArgs,
    },
}

async fn users(session: &Session, names: &[String]) -> Result<Vec<UserId>, Failure> {
    let mut ids = Vec::new();
    for name in names {
        ids.push(resolve(&session.client, name).await?);
    }
    Ok(ids)
}

/// Runs the command.
///
/// # Errors
/// If the API refuses it.
pub async fn run(command: Command, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    match command {
        Command::List { order, list } => {
            let session = list.read.open(settings, ui)?;
            let (sort_by, sort_direction) = order.of_api();
            let request = ListGroups { sort_by, sort_direction, page_size: None }.request();
            session.list(request, list.limit, &GROUPS).await
        }
        Command::Get { group, read } => {
            let session = read.open(settings, ui)?;
            let id = resolve(&session.client, &group).await?;
            session.get(session.client.get_group(&id), &GROUPS).await
        }
        Command::Create { name, user, write } => {
            let (read, writing) = write.split();
            let session = read.open(settings, ui)?;
            let members = users(&session, &user).await?;
            session.write(session.client.create_group(&name, &members), &writing, None, &GROUPS).await
        }
        Command::Edit { group, name, add, remove, write } => {
            if name.is_none() && add.is_empty() && remove.is_empty() {
                return Err(Failure::new(Code::Usage, "there is nothing to change")
                    .next("Give --name, --add or --remove."));
            }
            let (read, writing) = write.split();
            let session = read.open(settings, ui)?;
            let id = resolve(&session.client, &group).await?;
            let edit = GroupEdit {
                name,
                add: users(&session, &add).await?,
                remove: users(&session, &remove).await?,
            };
            session.write(session.client.edit_group(&id, &edit), &writing, None, &GROUPS).await
        }
        Command::Delete { group, write } => {
            let (read, writing) = write.split();
            let session = read.open(settings, ui)?;
            let id = resolve(&session.client, &group).await?;
            let what = format!("Deleting the group {group}");
            session.write(session.client.delete_group(&id), &writing, Some(&what), &PLAIN).await
        }
    }
}
