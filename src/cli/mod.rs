//! The command line.

mod args;
mod check;
mod control_client;
mod demo;
mod rooms_cmd;
mod run;
mod status;

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::Value;

pub use self::args::Cli;
use self::args::{Command, RoomKind};
use crate::core::bidi;
use crate::core::error_chain::error_chain;

impl Cli {
    /// Does what was asked. What goes wrong is told on standard error.
    pub fn execute(self) -> ExitCode {
        let done = match self.command {
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
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                // Nobody left to read it is no reason to panic.
                let told = failure.already_reported();
                if !told.is_empty() {
                    let _ = writeln!(io::stderr(), "{told}");
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

    /// The edge runs, but somebody should look after it; that has been said.
    fn unhealthy() -> Self {
        Self {
            code: 1,
            error: anyhow::anyhow!(""),
        }
    }

    fn already_reported(&self) -> String {
        error_chain(&*self.error)
    }
}
