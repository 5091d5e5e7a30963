//! Writes the man pages and the completions for bash, zsh and fish into a
//! directory, for the package: `cargo run --example pages -- target/pages`.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.ok_or_else(|| anyhow::anyhow!("name a directory to write to"))?;
    std::fs::create_dir_all(&directory)?;
    let mut command = pwd_edge::cli::Cli::command();
    clap_mangen::generate_to(command.clone(), &directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "pwd-edge", &directory)?;
    }
    Ok(())
}
