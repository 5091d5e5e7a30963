//! The command line.

mod args;
mod check;
mod control_client;
mod demo;
pub mod exit_code;
mod rooms_cmd;
mod run;
mod status;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use serde_json::Value;

pub use self::args::Cli;
use self::args::{Command, RoomKind};
use crate::core::bidi;
use crate::core::error_chain::error_chain;

/// Runs the command that the arguments of the process name, and returns its exit code.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.execute(),
        Err(error) => {
            // A reader that has left is no reason to panic.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() {
                exit_code::USAGE
            } else {
                exit_code::SUCCESS
            })
        }
    }
}

impl Cli {
    /// Runs the command, and reports a failure on standard error.
    fn execute(self) -> ExitCode {
        let result = match self.command {
            Command::Run { config } => run::run(&config.path()),
            Command::Check { config } => check::check(&config.path()),
            Command::Status {
                config,
                json,
                watch,
            } => status::status(&config.path(), json, watch),
            Command::Rooms { config } => rooms_cmd::rooms(&config.path()),
            Command::Room {
                kind: RoomKind::Ticket,
                id,
                config,
            } => rooms_cmd::room(&config.path(), id),
            Command::Why {
                user,
                ticket,
                config,
            } => rooms_cmd::why(&config.path(), &user, ticket),
            Command::Disconnect { user, config } => rooms_cmd::disconnect(&config.path(), &user),
            Command::Publish {
                ticket,
                kind,
                payload,
                config,
            } => rooms_cmd::publish(&config.path(), ticket, &kind, &payload),
            Command::Demo { port } => demo::demo(port),
        };
        match result {
            Ok(()) => ExitCode::from(exit_code::SUCCESS),
            Err(failure) => {
                if let Some(error) = &failure.error {
                    // A reader that has left is no reason to panic.
                    let _ = writeln!(io::stderr(), "{}", error_chain(&**error));
                }
                ExitCode::from(failure.code)
            }
        }
    }
}

/// Writes to standard output. `println!` would panic on a full disk.
fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(format!("{text}\n").as_bytes())
}

/// A value of the edge's answer, fit for a terminal: what would move the cursor
/// or turn the text around is shown as a question mark.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let moves = |c: char| c.is_control() || bidi::is_bidi_control(c);
    let shown = text.chars().map(|c| if moves(c) { '?' } else { c });
    shown.collect()
}

/// Why a command ends without success.
#[derive(Debug)]
struct Failure {
    /// One of [`exit_code`].
    code: u8,
    /// The cause; none if the command has printed it.
    error: Option<anyhow::Error>,
}

impl Failure {
    /// The command line or the configuration is wrong.
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::new(exit_code::USAGE, error)
    }

    /// The edge is unreachable, or did not do what the command asked for.
    fn unreachable(error: impl Into<anyhow::Error>) -> Self {
        Self::new(exit_code::UNREACHABLE, error)
    }

    /// The command failed for another reason.
    fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self::new(exit_code::FAILED, error)
    }

    /// The edge has problems, which the command has printed.
    fn degraded() -> Self {
        Self {
            code: exit_code::DEGRADED,
            error: None,
        }
    }

    fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: Some(error.into()),
        }
    }
}
