//! The command line.

mod check;
mod control_client;
mod demo;
mod rooms_cmd;
mod run;
mod status;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::Value;

use crate::core::bidi;
use crate::core::error_chain::error_chain;
use crate::core::ids::{RowId, UserId};

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
    /// Tell on one screen whether the edge that runs is well; if not, exit with 1.
    Status {
        #[command(flatten)]
        config: ConfigFile,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Again every other second, until interrupted.
        #[arg(long)]
        watch: bool,
    },
    /// List the rooms with somebody in them.
    Rooms {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Tell who is in a room, such as `ticket 123`.
    Room {
        /// The kind of room.
        kind: Kind,
        /// Its number.
        id: RowId,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Tell why a user is, or is not, in a ticket's room.
    Why {
        /// The user's id in Laravel.
        #[arg(long, value_parser = user_id)]
        user: UserId,
        /// The ticket's number.
        #[arg(long)]
        ticket: RowId,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Close all WebSocket sessions of a user.
    Disconnect {
        /// The user's id in Laravel.
        #[arg(long, value_parser = user_id)]
        user: UserId,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Send an event to everybody in a ticket's room.
    Publish {
        /// The ticket's number.
        #[arg(long)]
        ticket: RowId,
        /// The event's type, such as `new_message`.
        #[arg(long = "type")]
        kind: String,
        /// What it carries besides the ticket's number, a JSON object.
        #[arg(long, default_value = "{}")]
        payload: String,
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
    /// The configuration file; without it ./config.toml, or else
    /// /etc/pwd-edge/config.toml.
    #[arg(long = "config", short = 'c', value_name = "FILE")]
    path: Option<PathBuf>,
}

impl ConfigFile {
    fn path(self) -> PathBuf {
        let here = PathBuf::from("config.toml");
        self.path.unwrap_or_else(|| {
            if here.exists() {
                here
            } else {
                "/etc/pwd-edge/config.toml".into()
            }
        })
    }
}

/// The kinds of rooms.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// The room of a support ticket.
    Ticket,
}

fn user_id(text: &str) -> Result<UserId, String> {
    UserId::from_text(text).ok_or_else(|| "expected a user's id".to_owned())
}

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
                kind: Kind::Ticket,
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
