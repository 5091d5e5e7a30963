//! Decodes the text of a Pusher client into a command.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ws::pusher) enum Command {
    /// Asks for a pong.
    Ping,
    /// Responds to a ping. The edge sends none, but clients may send it at any time.
    Pong,
    /// Joins a channel.
    Subscribe(SubscribeRequest),
    /// Leaves the channel of this name, which may be none.
    Unsubscribe(String),
    /// Publishes an event to the other members of a channel.
    Client(ClientEvent),
}

/// An event that a client publishes.
#[derive(Clone, Debug)]
pub(in crate::ws::pusher) struct ClientEvent {
    /// The name of the event, which begins with `client-`.
    pub(in crate::ws::pusher) event: String,
    /// The name of the channel, which may be none.
    pub(in crate::ws::pusher) channel: String,
    /// The JSON of the data, if there is any.
    pub(in crate::ws::pusher) data: Option<Box<RawValue>>,
}

impl PartialEq for ClientEvent {
    fn eq(&self, other: &Self) -> bool {
        let data = |event: &Self| event.data.as_ref().map(|data| data.get().to_owned());
        (&self.event, &self.channel) == (&other.event, &other.channel) && data(self) == data(other)
    }
}

impl Eq for ClientEvent {}

/// The content of `pusher:subscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(in crate::ws::pusher) struct SubscribeRequest {
    /// The name of the channel, which may be none.
    pub(in crate::ws::pusher) channel: String,
    /// The `auth` of Laravel's response.
    #[serde(default)]
    pub(in crate::ws::pusher) auth: Option<String>,
    /// The `channel_data` of Laravel's response.
    #[serde(default)]
    pub(in crate::ws::pusher) channel_data: Option<String>,
}

/// The mistake in a client's text. `Display` is for the developer of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::ws::pusher) enum CommandError {
    /// The text is no JSON object with an event.
    #[error("expected a JSON object such as {{\"event\":\"pusher:ping\",\"data\":{{}}}}")]
    NotAnEvent,
    /// The event is unknown.
    #[error(
        "unknown event; expected pusher:subscribe, pusher:unsubscribe, pusher:ping, or one that \
         begins with client-"
    )]
    UnknownEvent,
    /// A client event has no channel, or too long a name.
    #[error("a client event has a \"channel\", a string, and a name of 200 bytes at most")]
    InvalidClientEvent,
    /// The data does not fit the event.
    #[error("the data of this event must be an object with \"channel\", a string")]
    InvalidData,
}

impl Command {
    /// Returns the command's event, for the metrics.
    pub(in crate::ws::pusher) fn name(&self) -> &'static str {
        match self {
            Self::Ping => "pusher:ping",
            Self::Pong => "pusher:pong",
            Self::Subscribe(_) => "pusher:subscribe",
            Self::Unsubscribe(_) => "pusher:unsubscribe",
            Self::Client(_) => "client_event",
        }
    }
}

impl CommandError {
    /// Returns the mistake's code, for the metrics.
    pub(in crate::ws::pusher) fn name(self) -> &'static str {
        match self {
            Self::NotAnEvent => "invalid_json",
            Self::UnknownEvent => "unknown_type",
            Self::InvalidData | Self::InvalidClientEvent => "invalid_payload",
        }
    }
}

/// A message of a client; other fields are ignored.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    channel: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Unsubscribe {
    channel: String,
}

/// Decodes one text frame. Unknown fields are ignored.
///
/// # Errors
/// Any variant of [`CommandError`].
pub(in crate::ws::pusher) fn decode(text: &str) -> Result<Command, CommandError> {
    let envelope: Envelope<'_> = read_object(text).ok_or(CommandError::NotAnEvent)?;
    let data = envelope.data.map_or("null", RawValue::get);
    match &*envelope.event {
        "pusher:ping" => Ok(Command::Ping),
        "pusher:pong" => Ok(Command::Pong),
        "pusher:subscribe" => read_object(data)
            .map(Command::Subscribe)
            .ok_or(CommandError::InvalidData),
        "pusher:unsubscribe" => read_object(data)
            .map(|Unsubscribe { channel }| Command::Unsubscribe(channel))
            .ok_or(CommandError::InvalidData),
        event if event.starts_with("client-") => client_event(event, &envelope),
        _ => Err(CommandError::UnknownEvent),
    }
}

fn client_event(event: &str, envelope: &Envelope<'_>) -> Result<Command, CommandError> {
    let channel = envelope.channel.map(RawValue::get).unwrap_or_default();
    let channel = serde_json::from_str(channel).ok();
    let channel = channel.filter(|_| event.len() <= MAX_CLIENT_EVENT_BYTES);
    Ok(Command::Client(ClientEvent {
        event: event.to_owned(),
        channel: channel.ok_or(CommandError::InvalidClientEvent)?,
        data: envelope.data.map(ToOwned::to_owned),
    }))
}

/// Reads a struct from an object: serde reads it from an array, too.
fn read_object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// The longest name of a client event.
const MAX_CLIENT_EVENT_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The texts are those of pusher-js 8.6.0.
    #[test]
    fn commands_of_pusher_js_are_decoded() {
        let ping = r#"{"event":"pusher:ping","data":{}}"#;
        assert_eq!(decode(ping), Ok(Command::Ping));
        let public = r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"news"}}"#;
        let subscribe = |channel: &str, auth: &str, data: Option<&str>| {
            Ok(Command::Subscribe(SubscribeRequest {
                channel: channel.to_owned(),
                auth: Some(auth.to_owned()),
                channel_data: data.map(str::to_owned),
            }))
        };
        assert_eq!(decode(public), subscribe("news", "", None));
        let presence = r#"{"event":"pusher:subscribe","data":{"auth":"key:ab","channel_data":"{\"user_id\":42,\"user_info\":{\"name\":\"\u00f1\"}}","channel":"presence-a"}}"#;
        let data = r#"{"user_id":42,"user_info":{"name":"ñ"}}"#;
        assert_eq!(
            decode(presence),
            subscribe("presence-a", "key:ab", Some(data))
        );
        let leave = r#"{"event":"pusher:unsubscribe","data":{"channel":"news"}}"#;
        assert_eq!(decode(leave), Ok(Command::Unsubscribe("news".to_owned())));
        let whisper =
            r#"{"event":"client-typing","data":{"n":1.10},"channel":"private-a","user_id":"9"}"#;
        let event = ClientEvent {
            event: "client-typing".to_owned(),
            channel: "private-a".to_owned(),
            data: Some(RawValue::from_string(r#"{"n":1.10}"#.to_owned()).unwrap()),
        };
        assert_eq!(decode(whisper), Ok(Command::Client(event)));
    }

    #[test]
    fn invalid_command_has_its_error() {
        for (text, error) in [
            ("", CommandError::NotAnEvent),
            ("null", CommandError::NotAnEvent),
            ("[\"pusher:ping\"]", CommandError::NotAnEvent),
            ("{}", CommandError::NotAnEvent),
            (r#"{"event":7}"#, CommandError::NotAnEvent),
            (r#"{"event":"pusher:dance"}"#, CommandError::UnknownEvent),
            (r#"{"event":"client-a"}"#, CommandError::InvalidClientEvent),
            (
                r#"{"event":"client-a","channel":["a"]}"#,
                CommandError::InvalidClientEvent,
            ),
            (r#"{"event":"pusher:subscribe"}"#, CommandError::InvalidData),
            (
                r#"{"event":"pusher:subscribe","data":["news"]}"#,
                CommandError::InvalidData,
            ),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":1}}"#,
                CommandError::InvalidData,
            ),
            (
                r#"{"event":"pusher:unsubscribe","data":{}}"#,
                CommandError::InvalidData,
            ),
        ] {
            assert_eq!(decode(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn decode_of_arbitrary_text_never_panics(text in ".{0,200}") {
            let _ = decode(&text);
        }
    }
}
