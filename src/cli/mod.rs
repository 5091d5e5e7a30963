//! The command line: parses arguments, runs commands and returns exit codes.

mod args;
mod check;
mod control_client;
mod demo;
pub(crate) mod exit_code;
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
use self::args::Command;
use crate::core::error_chain::error_chain;
use crate::core::invisible_chars;

/// Runs the command that the arguments of the process name, and returns its exit code.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.execute(),
        Err(error) => {
            // Ignored: a closed pipe must not cause a panic.
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
    /// Runs the command, reports a failure on standard error, and returns the exit code.
    fn execute(self) -> ExitCode {
        let result = match self.command {
            Command::Run(config) => run::run(config.path()),
            Command::Check(config) => check::check(config.path()),
            Command::Status { edge, watch } => status::status(&edge, watch),
            Command::Rooms(edge) => rooms_cmd::rooms(&edge),
            Command::Room { kind, name, edge } => rooms_cmd::room(&edge, kind, &name),
            Command::Explain { user, room, edge } => rooms_cmd::explain(&edge, &user, &room.room()),
            Command::Disconnect { user, edge } => rooms_cmd::disconnect(&edge, &user),
            Command::Publish {
                room,
                kind,
                payload,
                edge,
            } => rooms_cmd::publish(&edge, &room.room(), &kind, &payload),
            Command::Demo { port } => demo::demo(port),
        };
        match result {
            Ok(()) => ExitCode::from(exit_code::SUCCESS),
            Err(failure) => {
                if let Some(error) = &failure.error {
                    // Ignored: a closed pipe must not cause a panic.
                    let _ = writeln!(io::stderr(), "{}", error_chain(&**error));
                }
                ExitCode::from(failure.code)
            }
        }
    }
}

/// Writes `text` and a line feed to standard output. `println!` would panic on a full disk
/// or a closed pipe.
///
/// # Errors
/// Standard output cannot be written.
fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(format!("{text}\n").as_bytes())
}

/// Returns a value of the edge's JSON as text that is safe on a terminal. Control and
/// bidirectional formatting characters become question marks; null becomes `-`.
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

/// Returns the elements of an array of the edge's JSON; an empty slice for other values.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A command's failure: its exit code and cause.
#[derive(Debug)]
struct Failure {
    /// The exit code, a constant of [`exit_code`].
    code: u8,
    /// The cause; `None` if the command has already printed it.
    error: Option<anyhow::Error>,
}

impl Failure {
    /// Returns a failure due to a wrong command line or configuration.
    fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self::new(exit_code::USAGE, error)
    }

    /// Returns a failure due to a wrong value in the configuration `file`, or in a file that
    /// it names.
    fn configuration(file: &Path, error: impl Into<anyhow::Error>) -> Self {
        Self::usage(error.into().context(file.display().to_string()))
    }

    /// Returns a failure due to an unreachable edge or a failed request to it.
    fn unreachable(error: impl Into<anyhow::Error>) -> Self {
        Self::new(exit_code::UNREACHABLE, error)
    }

    /// Returns a failure for any other reason, such as a port in use.
    fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self::new(exit_code::FAILED, error)
    }

    /// Returns the failure for an edge with problems, which the command has already printed.
    fn degraded() -> Self {
        Self {
            code: exit_code::DEGRADED,
            error: None,
        }
    }

    /// Moves the cause out of the failure, for a command that prints it itself.
    fn take_cause(mut self) -> (String, Self) {
        let error = self.error.take();
        let cause = error.map_or_else(String::new, |error| error_chain(&*error));
        (cause, self)
    }

    /// Returns a failure with `code` and a cause that is still to be printed.
    fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: Some(error.into()),
        }
    }
}
