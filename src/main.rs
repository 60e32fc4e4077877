//! The `hexport` command.

use std::process::ExitCode;

/// Exports allocate and free much on many threads; this allocator gives what is free back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    give_back_at_once();
    hexport::cli::main()
}

/// Has the allocator give free memory back at once. By itself it waits for ten milliseconds and then for the thread that
/// freed it to come by again, which threads of a crawl that has ended never do: a third of an export's peak was free.
#[allow(unsafe_code)]
fn give_back_at_once() {
    /// `mi_option_purge_delay` of mimalloc 2, which libmimalloc-sys has no name for.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: it sets a number that the allocator reads when memory is freed, and no other thread runs yet.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) }
    }
}
