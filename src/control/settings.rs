//! The `[broadcast]` table of `config.toml`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::core::units::{ByteSize, PositiveCount};

/// The address, access rights and limits of the broadcast socket.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The path of the Unix socket.
    pub socket: PathBuf,
    /// The file permissions of the socket.
    pub(crate) socket_mode: Mode,
    /// The numeric IDs of the Unix users that may send requests; others get 403. Empty allows
    /// every user that `socket_mode` admits.
    pub(crate) allowed_uids: Vec<u32>,
    /// The maximum size of a request body. The edge rejects longer ones with 413.
    pub(crate) max_body_size: ByteSize,
    /// The maximum number of events in one request. The edge rejects larger ones with 400.
    pub(crate) max_events: PositiveCount,
    /// The maximum number of open connections; further ones wait. PHP workers keep theirs open.
    /// A reload does not change it.
    pub(crate) max_connections: PositiveCount,
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

impl Settings {
    /// Returns the file of the event log's watermark, which belongs to the socket: all events
    /// of Laravel come through it, whichever log is in use.
    pub(crate) fn watermark(&self) -> PathBuf {
        let mut path = self.socket.clone().into_os_string();
        path.push(".watermark");
        path.into()
    }
}

/// File permissions, configured as octal digits such as `"0660"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Mode(u32);

impl Mode {
    /// Returns the permission bits, at most `0o777`.
    pub(crate) fn bits(self) -> u32 {
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
