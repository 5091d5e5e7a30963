//! The command `pwd-edge`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    pwd_edge::cli::Cli::parse().execute()
}
