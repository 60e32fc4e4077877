//! `hexport completions` and `hexport man`: made from the command line's own definition.

use std::path::Path;

use clap::CommandFactory;

use super::Cli;
use super::exit::{Code, Failure};

/// Prints a shell's completions.
///
/// # Errors
/// None; a result for the sake of the others.
pub fn print(shell: clap_complete::Shell) -> Result<Code, Failure> {
    clap_complete::generate(shell, &mut Cli::command(), "hexport", &mut super::out::stream());
    Ok(Code::Complete)
}

/// Writes one man page a command.
///
/// # Errors
/// If the folder can't be written to.
pub fn man(folder: &Path) -> Result<Code, Failure> {
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.map_err(|e| {
        Failure::new(Code::Destination, format!("man pages can't be written to {}: {e}", folder.display()))
            .next("Name a folder that this user may write to.")
    })?;
    Ok(Code::Complete)
}
