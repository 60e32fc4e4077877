//! `hexport connections`.

use super::projects::Direction;
use super::resolve::resolve;
use super::shape::CONNECTIONS;
use super::{ListArgs, ReadArgs};
use crate::cli::Ui;
use crate::cli::exit::{Code, Failure};
use crate::cli::settings::Settings;
use crate::client::connections::ListDataConnections;
use crate::client::groups::NameOrCreated;
use crate::client::{List, SortDirection};

/// Commands on data connections.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List data connections
    List {
        #[command(flatten)]
        order: Order,
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

/// The order of a list of connections or groups.
#[derive(Debug, clap::Args)]
pub struct Order {
    /// Sort by
    #[arg(long, value_enum, value_name = "BY")]
    sort: Option<SortBy>,
    /// Sort direction
    #[arg(long, value_enum, value_name = "DIRECTION")]
    direction: Option<Direction>,
}

impl Order {
    /// In the API's terms.
    pub fn of_api(&self) -> (Option<NameOrCreated>, Option<SortDirection>) {
        (self.sort.map(Into::into), self.direction.map(Into::into))
    }
}

/// Sort keys of connections and groups.
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
        Command::List { order, list } => {
            let session = list.read.open(settings, ui)?;
            let (sort_by, sort_direction) = order.of_api();
            let request = ListDataConnections { sort_by, sort_direction, page_size: None }.request();
            session.list(request, list.limit, &CONNECTIONS).await
        }
        Command::Get { connection, read } => {
            let session = read.open(settings, ui)?;
            let id = resolve(&session.client, &connection).await?;
            session.get(session.client.get_data_connection(&id), &CONNECTIONS).await
        }
    }
}
