//! The command `pwd-edge`.

use std::process::ExitCode;

/// Chosen by measurement (`bench/README.md`): glibc's takes more time for what a
/// request needs, and gives less back of what a connection at rest does not.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pwd_edge::cli::main()
}
