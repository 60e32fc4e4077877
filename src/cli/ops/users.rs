//! `hexport users`.

use super::projects::Direction;
use super::resolve::resolve;
use super::shape::{PLAIN, USERS};
use super::{ListArgs, ReadArgs, WriteArgs};
use crate::cli::Ui;
use crate::cli::exit::{Code, Failure};
use crate::cli::settings::Settings;
use crate::client::List;
use crate::client::users::{ListUsers, UserSort};

/// Commands on users.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List users
    List {
        /// Only members of this group: identifier, name or page in Hex
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        /// Only this user, by identifier; may be given more than once
        #[arg(long, value_name = "USER")]
        id: Vec<String>,
        /// Sort by
        #[arg(long, value_enum, value_name = "BY")]
        sort: Option<SortBy>,
        /// Sort direction [default: asc]
        #[arg(long, value_enum, value_name = "DIRECTION")]
        direction: Option<Direction>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show who the token acts as
    Me {
        #[command(flatten)]
        read: ReadArgs,
    },
    /// Deactivate a user
    Deactivate {
        /// User: identifier, email or name
        #[arg(value_name = "USER")]
        user: String,
        #[command(flatten)]
        write: WriteArgs,
    },
}

/// Sort keys of users.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum SortBy {
    /// Name.
    Name,
    /// Email address.
    Email,
}

/// Runs the command.
///
/// # Errors
/// If the API refuses it.
pub async fn run(command: Command, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    match command {
        Command::List { group, id, sort, direction, list } => {
            let session = list.read.open(settings, ui)?;
            let group_id = match &group {
                Some(group) => Some(resolve(&session.client, group).await?),
                None => None,
            };
            let sort_by = sort.map(|by| match by {
                SortBy::Name => UserSort::Name,
                SortBy::Email => UserSort::Email,
            });
            let request = ListUsers {
                group_id,
                user_ids: id.into_iter().map(Into::into).collect(),
                sort_by,
                sort_direction: direction.map(Into::into),
                page_size: None,
            };
            session.list(request.request(), list.limit, &USERS).await
        }
        Command::Me { read } => {
            let session = read.open(settings, ui)?;
            session.get(session.client.me(), &PLAIN).await
        }
        Command::Deactivate { user, write } => {
            let (read, writing) = write.split();
            let session = read.open(settings, ui)?;
            let id = resolve(&session.client, &user).await?;
            let what = format!("Deactivating {user}");
            session.write(session.client.deactivate_user(&id), &writing, Some(&what), &PLAIN).await
        }
    }
}
