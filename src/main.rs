//! The `hexport` command.

/// Exports allocate and free much on many threads; this allocator gives what is free back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    hexport::cli::main()
}
