//! Why a session ends, and the code that tells the client what to do.
//!
//! One rule for clients: 1001, 1012, 1013 and 4000–4499 mean come back (with
//! jitter), 1008 and 4500–4999 mean do not. RFC 6455 §7.4 names 1000–1015,
//! 4000–4999 are for private use.

use crate::rooms::Eviction;

/// The ends of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said good-bye.
    Client,
    /// The connection broke.
    Lost,
    /// No token came with the upgrade.
    NoToken,
    /// Laravel refuses the token.
    AuthenticationFailed,
    /// Laravel could not be asked, or did not confirm a log-in that is in doubt.
    Unavailable,
    /// The token is no longer good.
    Revoked,
    /// Laravel asked for the end.
    Disconnected,
    /// The user opened too many; this was the oldest.
    Superseded,
    /// The client sends too much.
    TooManyMessages,
    /// A message is longer than allowed.
    TooLarge,
    /// The client broke the protocol (RFC 6455).
    Protocol,
    /// The client sent text that is not UTF-8.
    InvalidText,
    /// The client does not read fast enough.
    Slow,
    /// The client was silent and answered no ping.
    Silent,
    /// The edge restarts.
    Restart,
}

impl CloseReason {
    /// The code and reason of the close frame; none where there is nobody left
    /// to read it.
    pub fn frame(self) -> Option<(u16, &'static str)> {
        Some(match self {
            Self::Client => (1000, ""),
            Self::Lost => return None,
            Self::Protocol => (1002, "protocol error"),
            Self::InvalidText => (1007, "text is not UTF-8"),
            Self::TooManyMessages => (1008, "too many messages"),
            Self::TooLarge => (1009, "message too large"),
            Self::Restart => (1012, "service restart"),
            Self::Unavailable => (1013, "try again later"),
            Self::Slow => (4008, "too slow, come back"),
            Self::Silent => (4009, "no sign of life"),
            Self::NoToken => (4501, "no token"),
            Self::AuthenticationFailed => (4502, "authentication failed"),
            Self::Revoked => (4503, "token revoked"),
            Self::Disconnected => (4504, "disconnected by the application"),
            Self::Superseded => (4505, "too many sessions, the oldest is closed"),
        })
    }

    /// Whether what still waits for the client is not sent.
    pub fn is_at_once(self) -> bool {
        use CloseReason::{Disconnected, Revoked, Slow, Superseded, Unavailable};
        matches!(
            self,
            Slow | Revoked | Disconnected | Superseded | Unavailable
        )
    }

    /// The word for it in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Lost => "lost",
            Self::NoToken => "no_token",
            Self::AuthenticationFailed => "authentication_failed",
            Self::Unavailable => "unavailable",
            Self::Revoked => "revoked",
            Self::Disconnected => "disconnected",
            Self::Superseded => "superseded",
            Self::TooManyMessages => "too_many_messages",
            Self::TooLarge => "too_large",
            Self::Protocol => "protocol",
            Self::InvalidText => "invalid_text",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Restart => "restart",
        }
    }
}

impl From<Eviction> for CloseReason {
    fn from(eviction: Eviction) -> Self {
        match eviction {
            Eviction::Slow => Self::Slow,
            Eviction::Revoked => Self::Revoked,
            Eviction::Disconnected => Self::Disconnected,
            Eviction::Superseded => Self::Superseded,
        }
    }
}
