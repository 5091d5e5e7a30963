//! The command line.

mod check;
mod demo;
mod logging;
mod run;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// One binary in front of a Laravel site: TLS, reverse proxy, WebSocket rooms,
/// broadcasts over a Unix socket.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve, as the configuration says, until SIGTERM or SIGINT.
    Run {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Tell every mistake in the configuration, without serving.
    Check {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show the product at work on this machine, with a stand-in for Laravel.
    Demo {
        /// The port for https and wss.
        #[arg(long, default_value_t = 8443)]
        port: u16,
    },
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long = "config", short = 'c', default_value = "config.toml")]
    path: PathBuf,
}

impl Cli {
    /// Does what was asked. What goes wrong is told on standard error.
    pub fn execute(self) -> ExitCode {
        let done = match self.command {
            Command::Run { config } => run::run(&config.path),
            Command::Check { config } => check::check(&config.path),
            Command::Demo { port } => demo::demo(port),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                // Nobody left to read it is no reason to panic.
                let _ = writeln!(io::stderr(), "{}", failure.told());
                ExitCode::from(failure.code)
            }
        }
    }
}

/// Writes to standard output. `println!` would panic on a full disk.
fn say(text: &str) -> io::Result<()> {
    io::stdout().write_all(format!("{text}\n").as_bytes())
}

/// Writes a warning to standard error. Nobody left to read it is no reason to panic.
fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "warning: {text}");
}

/// Why a command ended without success.
#[derive(Debug)]
struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// The configuration must be mended first: 64, `EX_USAGE` of sysexits(3).
    fn config(error: impl Into<anyhow::Error>) -> Self {
        Self {
            code: 64,
            error: error.into(),
        }
    }

    /// Something else.
    fn other(error: impl Into<anyhow::Error>) -> Self {
        Self {
            code: 1,
            error: error.into(),
        }
    }

    fn told(&self) -> String {
        format!("{:#}", self.error)
    }
}
