//! `[broadcast]` of `config.toml`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::core::units::{ByteSize, PositiveCount};

/// Where Laravel speaks to the edge, and how much at once.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The Unix socket.
    pub socket: PathBuf,
    /// Who may open it, as file permissions.
    pub socket_mode: Mode,
    /// The users (by number) that are served; empty for all whom `socket_mode` lets in.
    pub allowed_uids: Vec<u32>,
    /// The longest request body.
    pub max_body_size: ByteSize,
    /// The most events in one request.
    pub max_events: PositiveCount,
    /// Connections at once; PHP workers keep theirs open.
    pub max_connections: PositiveCount,
}

impl Default for Settings {
    fn default() -> Self {
        let count = PositiveCount::new;
        Self {
            socket: "/run/pwd-edge/broadcast.sock".into(),
            socket_mode: Mode(0o660),
            allowed_uids: Vec::new(),
            max_body_size: ByteSize::kib(1024),
            max_events: count(100),
            max_connections: count(1024),
        }
    }
}

/// File permissions, written in octal: `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mode(u32);

impl Mode {
    /// The permission bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o777 && text.len() >= 3 => Ok(Self(mode)),
            _ => Err(format!(
                r#"{text:?} is not a file mode; expected octal digits such as "0660""#
            )),
        }
    }
}
