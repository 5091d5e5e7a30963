//! The command line.

mod args;
mod check;
mod control_client;
mod demo;
pub mod exit_code;
mod help;
mod rooms_cmd;
mod run;
mod status;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use serde_json::Value;

pub use self::args::Cli;
use self::args::{Command, RoomKind};
use crate::core::error_chain::error_chain;
use crate::core::invisible_chars;

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
            Command::Run(config) => run::run(config.path()),
            Command::Check(config) => check::check(config.path()),
            Command::Status { edge, watch } => status::status(&edge, watch),
            Command::Rooms(edge) => rooms_cmd::rooms(&edge),
            Command::Room {
                kind: RoomKind::Ticket,
                id,
                edge,
            } => rooms_cmd::room(&edge, id),
            Command::Explain { user, ticket, edge } => rooms_cmd::explain(&edge, &user, ticket),
            Command::Disconnect { user, edge } => rooms_cmd::disconnect(&edge, &user),
            Command::Publish {
                ticket,
                kind,
                payload,
                edge,
            } => rooms_cmd::publish(&edge, ticket, &kind, &payload),
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

/// Returns a value of the edge's JSON as text for a terminal. Characters that move the
/// cursor or turn the text around become question marks.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let moves = |c: char| c.is_control() || invisible_chars::is_bidi_control(c);
    let shown = text.chars().map(|c| if moves(c) { '?' } else { c });
    shown.collect()
}

/// Returns a number of the edge's JSON and its noun, such as "2 sessions".
fn counted(number: &Value, noun: &str) -> String {
    let plural = if *number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", plain(number))
}

/// Returns the elements of an array of the edge's JSON; none if it is something else.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
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

    /// A value in the configuration `file`, or a file that it names, is wrong.
    fn configuration(file: &Path, error: impl Into<anyhow::Error>) -> Self {
        Self::usage(error.into().context(file.display().to_string()))
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
