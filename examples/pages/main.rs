//! Writes the man pages, the Markdown pages and the completions for bash, zsh and fish into a
//! directory, for the package: `cargo run --example pages -- target/pages`.

mod commands;
mod configuration;
mod docs;
mod roff;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::CommandFactory;
use clap_complete::Shell;

fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.context("name a directory to write to")?;
    fs::create_dir_all(&directory)?;
    let mut command = pwd_edge::cli::Cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "pwd-edge", &directory)?;
    }
    command.build();
    let program = fill(
        include_str!("../../docs/man/pwd-edge.8"),
        &[
            ("@COMMANDS@", commands::commands(&command)),
            ("@OPTIONS@", commands::options(&command)),
        ],
    )?;
    fs::write(directory.join("pwd-edge.8"), program)?;
    let file = configuration::parse(include_str!("../../config.toml"));
    let configuration = fill(
        include_str!("../../docs/man/pwd-edge-config.toml.5"),
        &[("@SECTIONS@", configuration::render(&file))],
    )?;
    fs::write(directory.join("pwd-edge-config.toml.5"), configuration)?;
    docs::write(Path::new(env!("CARGO_MANIFEST_DIR")), &directory)
}

/// Returns the page with each placeholder, and that of the version, replaced.
///
/// # Errors
/// A placeholder is not a line of the page.
fn fill(page: &str, values: &[(&str, String)]) -> anyhow::Result<String> {
    let version = roff::escape(env!("CARGO_PKG_VERSION"));
    let mut filled = page.replace("@VERSION@", &version);
    for (name, value) in values {
        let line = format!("\n{name}\n");
        ensure!(filled.contains(&line), "the page has no line {name}");
        filled = filled.replace(&line, &format!("\n{value}"));
    }
    Ok(filled)
}
