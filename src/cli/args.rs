//! The arguments of the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::core::ids::{RowId, UserId};

/// One binary in front of a Laravel site: TLS, reverse proxy, WebSocket rooms,
/// broadcasts over a Unix socket.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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
        kind: RoomKind,
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
pub(super) struct ConfigFile {
    /// The configuration file; without it ./config.toml, or else
    /// /etc/pwd-edge/config.toml.
    #[arg(long = "config", short = 'c', value_name = "FILE")]
    path: Option<PathBuf>,
}

impl ConfigFile {
    pub(super) fn path(self) -> PathBuf {
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
pub(super) enum RoomKind {
    /// The room of a support ticket.
    Ticket,
}

fn user_id(text: &str) -> Result<UserId, String> {
    UserId::from_text(text).ok_or_else(|| "expected a user's id".to_owned())
}
