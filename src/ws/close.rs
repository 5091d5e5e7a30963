//! The reasons for the end of a session, and their close codes.
//!
//! The rule for clients: after 1001, 1012, 1013 and 4000–4499 reconnect, with jitter; after
//! 1008 and 4500–4999 do not. RFC 6455 §7.4 defines 1000–1015 and leaves 4000–4999 for private
//! use.

use crate::rooms::Eviction;

/// The reason for the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client closed the session.
    Client,
    /// The connection was lost.
    Lost,
    /// No token came with the upgrade.
    NoToken,
    /// Laravel rejected the token.
    AuthenticationFailed,
    /// Laravel was unavailable, or did not confirm a login that is in doubt.
    Unavailable,
    /// The token was revoked.
    Revoked,
    /// Laravel disconnected the user.
    Disconnected,
    /// The user has too many sessions, and this was the oldest.
    Superseded,
    /// The client stayed over its rate for too long.
    TooManyMessages,
    /// A message was longer than allowed.
    TooLarge,
    /// A Pusher client must reconnect, so that Laravel decides about its channels again.
    Reauthorize,
    /// The URL of a Pusher client names no application of this edge.
    UnknownKey,
    /// The URL of a Pusher client has no version of the protocol.
    NoProtocol,
    /// The version in the URL of a Pusher client is no number.
    InvalidProtocol,
    /// The version in the URL of a Pusher client is not spoken here.
    UnsupportedProtocol,
    /// The client violated RFC 6455.
    Protocol,
    /// The client sent text that is not UTF-8.
    InvalidText,
    /// The client did not read fast enough.
    Slow,
    /// The client sent nothing for too long, not even a pong.
    Silent,
    /// The edge stops, usually for a restart.
    Restart,
}

impl CloseReason {
    /// Returns the code and the text of the close frame; none if the connection is lost.
    pub(crate) fn frame(self) -> Option<(u16, &'static str)> {
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
            Self::Reauthorize
            | Self::UnknownKey
            | Self::NoProtocol
            | Self::InvalidProtocol
            | Self::UnsupportedProtocol => return self.pusher_frame(),
        })
    }

    /// Returns the code and the text of the close frame for a Pusher client; none if the
    /// connection is lost. pusher-js reconnects a second later, unless the code is from 4001 to
    /// 4099 or from 4300 on. After 4200 to 4299 it would reconnect at once, all clients
    /// together.
    pub(super) fn pusher_frame(self) -> Option<(u16, &'static str)> {
        Some(match self {
            Self::Client => (1000, ""),
            Self::Lost => return None,
            Self::Protocol => (1002, "protocol error"),
            Self::InvalidText => (1007, "text is not UTF-8"),
            Self::TooLarge => (1009, "message too large"),
            Self::UnknownKey => (4001, "no application has this key"),
            Self::InvalidProtocol => (4006, "invalid protocol version"),
            Self::UnsupportedProtocol => (4007, "unsupported protocol version"),
            Self::NoProtocol => (4008, "no protocol version"),
            Self::NoToken
            | Self::AuthenticationFailed
            | Self::Revoked
            | Self::Superseded
            | Self::Disconnected => (4009, "disconnected by the application"),
            Self::TooManyMessages
            | Self::Restart
            | Self::Unavailable
            | Self::Slow
            | Self::Silent
            | Self::Reauthorize => (4100, "come back"),
        })
    }

    /// Returns whether the connection is lost, or the edge has closed it for a reason after
    /// which the same client returns. An unknown right is none: the client may have lost it.
    pub(crate) fn is_resumable(self) -> bool {
        matches!(self, Self::Lost | Self::Silent | Self::Slow | Self::Restart)
    }

    /// Returns whether the session ends without sending what is queued for the client.
    pub(crate) fn is_at_once(self) -> bool {
        use CloseReason::{Disconnected, Reauthorize, Revoked, Slow, Superseded, Unavailable};
        matches!(
            self,
            Slow | Revoked | Disconnected | Superseded | Unavailable | Reauthorize
        )
    }

    /// Returns the likeliest cause and the key for the log, if someone may have to act.
    pub(super) fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::Superseded => {
                "the user has a newer session, and more than websocket.max_sessions_per_user: many \
                 tabs or devices, or a page that opens sessions without closing them"
            }
            Self::Slow => {
                "the client's network is slow or gone; the queue holds websocket.max_queued_events \
                 and websocket.max_queued_size"
            }
            Self::Silent => {
                "the device sleeps or has lost its network, or a proxy holds back pings; see \
                 websocket.pong_timeout"
            }
            Self::TooManyMessages => {
                "over websocket.messages_per_second, bytes_per_second or joins_per_minute for \
                 websocket.throttle_timeout: often a loop in the page"
            }
            Self::TooLarge => "a message over websocket.max_message_size; files need uploads",
            Self::Unavailable => {
                "Laravel did not confirm the token in time: see the warnings about its requests"
            }
            Self::UnknownKey => {
                "the page uses another key than pusher.key; compare it with REVERB_APP_KEY and \
                 VITE_REVERB_APP_KEY of the application, and build the page again"
            }
            _ => return None,
        })
    }

    /// Returns the reason's code, for the log, the metrics and the `error` event.
    pub(crate) fn name(self) -> &'static str {
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
            Self::Reauthorize => "reauthorize",
            Self::UnknownKey => "unknown_key",
            Self::NoProtocol => "no_protocol",
            Self::InvalidProtocol => "invalid_protocol",
            Self::UnsupportedProtocol => "unsupported_protocol",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_that_a_setting_causes_names_its_key() {
        for (reason, key) in [
            (CloseReason::Superseded, "websocket.max_sessions_per_user"),
            (CloseReason::Slow, "websocket.max_queued_events"),
            (CloseReason::Silent, "websocket.pong_timeout"),
            (CloseReason::TooManyMessages, "websocket.throttle_timeout"),
            (CloseReason::TooLarge, "websocket.max_message_size"),
        ] {
            let hint = reason.hint().unwrap_or_default();
            assert!(hint.contains(key), "{reason:?}: {hint}");
        }
        assert_eq!(CloseReason::Client.hint(), None);
    }
}
