//! `hexport cells`.

use super::resolve::resolve;
use super::shape::CELLS;
use super::{ListArgs, ReadArgs};
use crate::cli::Ui;
use crate::cli::exit::{Code, Failure};
use crate::cli::settings::Settings;
use crate::client::List;
use crate::client::cells::ListCells;

/// Commands on cells.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List the cells of a project's draft
    List {
        /// Project: identifier, title or page in Hex
        #[arg(value_name = "PROJECT")]
        project: String,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one cell
    Get {
        /// Cell's identifier
        #[arg(value_name = "CELL")]
        cell: String,
        #[command(flatten)]
        read: ReadArgs,
    },
}

/// Runs the command.
///
/// # Errors
/// If the API refuses it.
pub async fn run(command: Command, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    match command {
        Command::List { project, list } => {
            let session = list.read.open(settings, ui)?;
            let project_id = resolve(&session.client, &project).await?;
            let request = ListCells { project_id, page_size: None }.request();
            session.list(request, list.limit, &CELLS).await
        }
        Command::Get { cell, read } => {
            let session = read.open(settings, ui)?;
            session.get(session.client.get_cell(&cell.into()), &CELLS).await
        }
    }
}
