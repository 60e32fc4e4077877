//! The `hexport` command.

fn main() -> std::process::ExitCode {
    hexport::cli::main()
}
