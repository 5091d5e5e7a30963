//! Encodes the events from a session to its own client. As the protocol has it, the data of
//! most is a string of JSON, and that of errors an object.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::core::ids::SessionId;
use crate::rooms::PresentUser;

/// An event from a session to its own client.
#[derive(Debug)]
pub(in crate::ws::pusher) enum Event<'a> {
    /// The session is open. Nothing may come before it.
    ConnectionEstablished {
        /// The id that Laravel signs, and that the client sends as `X-Socket-ID`.
        socket: SessionId,
        /// The time in seconds without a message after which the client sends a ping.
        activity_timeout: u64,
    },
    /// The response to a ping.
    Pong,
    /// The session is in a channel; with the users of a presence channel.
    SubscriptionSucceeded {
        channel: &'a str,
        users: Option<&'a [PresentUser]>,
    },
    /// The session is not in a channel.
    SubscriptionError {
        channel: &'a str,
        /// A word for programs.
        kind: &'static str,
        /// A text for developers.
        message: &'a str,
        /// An HTTP status.
        status: u16,
    },
    /// A message of the client is not accepted, or the session ends with this code.
    Error { code: Option<u16>, message: &'a str },
}

#[derive(Serialize)]
struct Envelope<'a, D> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    data: D,
}

#[derive(Serialize)]
struct Established {
    socket_id: String,
    activity_timeout: u64,
}

#[derive(Serialize)]
struct PresenceList<'a> {
    presence: Presence<'a>,
}

/// The users of a presence channel. The key of a user in `hash` is their id as text.
#[derive(Serialize)]
struct Presence<'a> {
    count: usize,
    ids: Vec<Arc<RawValue>>,
    hash: BTreeMap<String, Option<&'a RawValue>>,
}

#[derive(Serialize)]
struct SubscriptionFailure<'a> {
    r#type: &'static str,
    error: &'a str,
    status: u16,
}

#[derive(Serialize)]
struct Failure<'a> {
    code: Option<u16>,
    message: &'a str,
}

impl Event<'_> {
    /// Returns the event's name in the protocol.
    pub(in crate::ws::pusher) fn name(&self) -> &'static str {
        match self {
            Self::ConnectionEstablished { .. } => "pusher:connection_established",
            Self::Pong => "pusher:pong",
            Self::SubscriptionSucceeded { .. } => "pusher_internal:subscription_succeeded",
            Self::SubscriptionError { .. } => "pusher:subscription_error",
            Self::Error { .. } => "pusher:error",
        }
    }

    /// Returns the JSON text of this event.
    pub(in crate::ws::pusher) fn text(&self) -> Utf8Bytes {
        match *self {
            Self::ConnectionEstablished {
                socket,
                activity_timeout,
            } => {
                let socket_id = socket.to_string();
                self.envelope(
                    None,
                    to_text(&Established {
                        socket_id,
                        activity_timeout,
                    }),
                )
            }
            Self::Pong => self.envelope(None, "{}"),
            Self::SubscriptionSucceeded { channel, users } => {
                let data = users.map_or_else(|| "{}".to_owned(), |users| to_text(&list(users)));
                self.envelope(Some(channel), data)
            }
            Self::SubscriptionError {
                channel,
                kind,
                message,
                status,
            } => {
                let failure = SubscriptionFailure {
                    r#type: kind,
                    error: message,
                    status,
                };
                self.envelope(Some(channel), failure)
            }
            Self::Error { code, message } => self.envelope(None, Failure { code, message }),
        }
    }

    fn envelope(&self, channel: Option<&str>, data: impl Serialize) -> Utf8Bytes {
        let event = self.name();
        to_text(&Envelope {
            event,
            channel,
            data,
        })
        .into()
    }
}

fn list(users: &[PresentUser]) -> PresenceList<'_> {
    PresenceList {
        presence: Presence {
            count: users.len(),
            ids: users.iter().map(PresentUser::id_json).collect(),
            hash: users
                .iter()
                .map(|user| (user.id().to_string(), user.info().map(|info| &**info)))
                .collect(),
        },
    }
}

/// Serializes the text of a frame, or of the data in it.
pub(super) fn to_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("events have string keys only, so their JSON never fails")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_encoded_as_pusher_js_reads_them() {
        let established = Event::ConnectionEstablished {
            socket: "17.4".parse().unwrap(),
            activity_timeout: 60,
        };
        assert_eq!(
            established.text().as_str(),
            r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"17.4\",\"activity_timeout\":60}"}"#
        );
        assert_eq!(
            Event::Pong.text().as_str(),
            r#"{"event":"pusher:pong","data":"{}"}"#
        );
        let succeeded = |users| Event::SubscriptionSucceeded {
            channel: "presence-a",
            users,
        };
        assert_eq!(
            succeeded(None).text().as_str(),
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"presence-a","data":"{}"}"#
        );
        let users = [
            PresentUser::signed(r#"{"user_id":42,"user_info":{"n":1.10}}"#),
            PresentUser::signed(r#"{"user_id":"ab\"c"}"#),
        ];
        assert_eq!(
            succeeded(Some(&users)).text().as_str(),
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"presence-a","data":"{\"presence\":{\"count\":2,\"ids\":[42,\"ab\\\"c\"],\"hash\":{\"42\":{\"n\":1.10},\"ab\\\"c\":null}}}"}"#
        );
        let failed = Event::SubscriptionError {
            channel: "private-a",
            kind: "AuthError",
            message: "no",
            status: 403,
        };
        assert_eq!(
            failed.text().as_str(),
            r#"{"event":"pusher:subscription_error","channel":"private-a","data":{"type":"AuthError","error":"no","status":403}}"#
        );
        let error = Event::Error {
            code: None,
            message: "no",
        };
        assert_eq!(
            error.text().as_str(),
            r#"{"event":"pusher:error","data":{"code":null,"message":"no"}}"#
        );
    }
}
