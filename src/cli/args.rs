//! The command-line arguments. Doc comments on clap items are the `--help` text.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

use super::help;
use crate::core::ids::{ChannelName, RoomName, RowId, UserId};

/// Edge server in front of a Laravel site: TLS, reverse proxy, WebSocket rooms, and
/// broadcasts over a Unix socket.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = help::pwd_edge())]
pub struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve the site until SIGTERM or SIGINT
    ///
    /// SIGHUP reloads the configuration and the certificates. Open connections stay.
    #[command(after_help = help::run())]
    Run(ConfigFile),
    /// Check the configuration and the files that it names, without serving
    ///
    /// Reports all mistakes of the configuration at once, each with its line. If its keys are
    /// valid, it also reads the certificates, keys, error pages and directories that it names,
    /// checks that `tls.acme.storage` is writable, and reports each that is unusable. An expired
    /// certificate is a warning, because the edge serves it. Creates nothing, does not open
    /// ports or the socket, and sends nothing to Laravel or a CA.
    #[command(after_help = help::check())]
    Check(ConfigFile),
    /// Report the health of the running edge
    ///
    /// The first line says `healthy`, `DEGRADED`, `unreachable` or, if the edge rejects the
    /// request, `health unknown`. Each line with `!` is one problem. The exit code is the one that a Nagios plug-in returns.
    #[command(after_help = help::status())]
    Status {
        #[command(flatten)]
        edge: Edge,
        /// Repeat every two seconds until interrupted, as JSON every second
        #[arg(long)]
        watch: bool,
    },
    /// List the rooms that have sessions, the largest first
    #[command(after_help = help::rooms())]
    Rooms(Edge),
    /// List the users in one room
    #[command(after_help = help::room())]
    Room {
        /// Kind of the room
        kind: RoomKind,
        /// Number of the ticket, or name of the channel
        name: String,
        #[command(flatten)]
        edge: Edge,
    },
    /// Explain why a user is, or is not, in the room of a ticket or a channel
    ///
    /// Shows the user's sessions, what Laravel last decided, and the last denial. Sends
    /// nothing to Laravel.
    #[command(visible_alias = "why", after_help = help::explain())]
    Explain {
        /// The user's id in Laravel
        #[arg(long, value_name = "ID", value_parser = user_id)]
        user: UserId,
        #[command(flatten)]
        room: RoomOption,
        #[command(flatten)]
        edge: Edge,
    },
    /// Close all WebSocket sessions of a user
    ///
    /// The clients do not reconnect by themselves. The user's token stays valid.
    #[command(after_help = help::disconnect())]
    Disconnect {
        /// The user's id in Laravel
        #[arg(long, value_name = "ID", value_parser = user_id)]
        user: UserId,
        #[command(flatten)]
        edge: Edge,
    },
    /// Send an event to all sessions in the room of a ticket or a channel
    #[command(after_help = help::publish())]
    Publish {
        #[command(flatten)]
        room: RoomOption,
        /// Type of the event, such as new_message
        #[arg(long = "type", value_name = "TYPE")]
        kind: String,
        /// JSON object with the event's fields; for a ticket, `ticket_id` is added
        #[arg(long, value_name = "JSON", default_value = "{}")]
        payload: String,
        #[command(flatten)]
        edge: Edge,
    },
    /// Run the edge on this machine, with a small stand-in for Laravel
    ///
    /// Needs no configuration and no certificate. Prints an address to open, accounts to
    /// log in with, and commands to try.
    #[command(after_help = help::demo())]
    Demo {
        /// Port for HTTPS and WebSockets; 0 takes a free one
        #[arg(long, default_value_t = 8443)]
        port: u16,
    },
}

/// The configuration file that a command reads.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigFile {
    /// Configuration file [default: ./config.toml if it exists, else
    /// /etc/pwd-edge/config.toml]
    #[arg(long = "config", short = 'c', value_name = "FILE")]
    path: Option<PathBuf>,
}

impl ConfigFile {
    /// Returns the path from `--config`; otherwise `config.toml` of the working directory if
    /// it exists, else `/etc/pwd-edge/config.toml`.
    pub(super) fn path(&self) -> &Path {
        let here = Path::new("config.toml");
        match &self.path {
            Some(path) => path,
            None if here.exists() => here,
            None => Path::new("/etc/pwd-edge/config.toml"),
        }
    }
}

/// How to reach the running edge, and how to print its response.
#[derive(Debug, clap::Args)]
pub(super) struct Edge {
    #[command(flatten)]
    pub(super) config: ConfigFile,
    /// Unix socket of the running edge [default: `broadcast.socket` of the configuration]
    #[arg(long, value_name = "PATH", conflicts_with = "path")]
    pub(super) socket: Option<PathBuf>,
    /// Print the response of the edge, or the error, as one line of JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The kinds of rooms.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum RoomKind {
    /// The room of a support ticket
    Ticket,
    /// The room of a channel of Laravel's broadcasting
    Channel,
}

impl RoomKind {
    /// Returns the room of this kind.
    ///
    /// # Errors
    /// `name` is not the number of a ticket, or not the name of a channel.
    pub(super) fn room(self, name: &str) -> anyhow::Result<RoomName> {
        Ok(match self {
            Self::Ticket => RoomName::Ticket(name.parse()?),
            Self::Channel => RoomName::Channel(name.parse()?),
        })
    }
}

/// The room that a command is about.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct RoomOption {
    /// Number of the ticket
    #[arg(long, value_name = "ID")]
    ticket: Option<RowId>,
    /// Name of the channel, such as private-desk
    #[arg(long, value_name = "NAME")]
    channel: Option<ChannelName>,
}

impl RoomOption {
    /// Returns the room.
    pub(super) fn room(self) -> RoomName {
        match (self.ticket, self.channel) {
            (Some(id), _) => RoomName::Ticket(id),
            (None, Some(name)) => RoomName::Channel(name),
            (None, None) => unreachable!("clap requires one of the options"),
        }
    }
}

/// Parses a user id for clap.
///
/// # Errors
/// `text` is not a valid user id.
fn user_id(text: &str) -> Result<UserId, String> {
    UserId::from_text(text).ok_or_else(|| "expected a user's id".to_owned())
}
