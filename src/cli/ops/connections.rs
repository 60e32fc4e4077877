//! `hexport connections`.

use super::projects::Direction;
use super::resolve::{Kind, resolve};
use super::{ListArgs, ReadArgs};
use crate::cli::Ui;
use crate::cli::exit::{Code, Failure};
use crate::cli::settings::Settings;
use crate::client::connections::ListDataConnections;
use crate::client::groups::NameOrCreated;
use crate::client::operation::GET_DATA_CONNECTION;
use crate::client::{ApiRequest, List};

/// What is done about data connections.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List data connections
    List {
        /// Sort by
        #[arg(long, value_enum, value_name = "BY")]
        sort: Option<SortBy>,
        /// Sort direction
        #[arg(long, value_enum, value_name = "DIRECTION")]
        direction: Option<Direction>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one data connection
    Get {
        /// Data connection: identifier, name or page in Hex
        #[arg(value_name = "CONNECTION")]
        connection: String,
        #[command(flatten)]
        read: ReadArgs,
    },
}

/// What connections and groups are sorted by.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum SortBy {
    /// Creation.
    Created,
    /// Name.
    Name,
}

impl From<SortBy> for NameOrCreated {
    fn from(by: SortBy) -> Self {
        match by {
            SortBy::Created => NameOrCreated::CreatedAt,
            SortBy::Name => NameOrCreated::Name,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// If the API refuses it.
pub async fn run(command: Command, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    match command {
        Command::List { sort, direction, list } => {
            let session = list.read.open(settings, ui)?;
            let (sort_by, sort_direction) = (sort.map(Into::into), direction.map(Into::into));
            let request = ListDataConnections { sort_by, sort_direction, page_size: None }.request();
            session
                .list(request, list.limit, &["id", "name", "type", "allowWritebackCells", "description"])
                .await
        }
        Command::Get { connection, read } => {
            let session = read.open(settings, ui)?;
            let id = resolve(&session.client, Kind::Connection, &connection).await?;
            session.get(ApiRequest::new(&GET_DATA_CONNECTION, &[&id])).await
        }
    }
}
