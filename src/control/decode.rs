//! Decoding of request bodies. A body is valid as a whole, or it yields its first error.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::core::ids::{ChannelName, NotAChannelName, RoomName, RowId, SessionId, UserId};
use crate::rooms::{Audience, Broadcast};

/// The events of a request body. The response has the same form: one report, or an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcasts {
    /// Each event, once for each of its rooms, in the order of the body.
    pub list: Vec<Broadcast>,
    /// The rooms of each event.
    pub(super) targets: Vec<Target>,
    /// Whether the body is an array.
    pub(super) is_array: bool,
}

/// The rooms of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The room of a ticket.
    Ticket,
    /// The rooms of these channels, never none.
    Channels(Vec<ChannelName>),
}

impl Broadcasts {
    /// Returns the rooms of all events, in the order of the body. A room may occur repeatedly.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        self.list.iter().map(|broadcast| &broadcast.room)
    }
}

impl Target {
    /// Returns the number of rooms.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::Ticket => 1,
            Self::Channels(names) => names.len(),
        }
    }
}

/// The first error in a request body, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The stable error code, for programs.
    pub(crate) code: &'static str,
    /// The description of the error, for developers.
    pub message: String,
    /// The index of the invalid event in its array, from 0.
    pub index: Option<usize>,
    /// The invalid field of the event, as a JSON pointer (RFC 6901).
    pub(crate) pointer: Option<&'static str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    except: Option<&'a RawValue>,
    #[serde(borrow, default)]
    except_user: Option<&'a RawValue>,
    #[serde(borrow, default)]
    to: Option<&'a RawValue>,
    #[serde(borrow, default)]
    channels: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default)]
    ticket_id: Option<&'a RawValue>,
}

/// Decodes one event, or an array of 1 to `max_events` events. An event counts once for each of
/// its channels. The bytes of `type` and `payload` stay as they are: decoding changes no number
/// and no character.
///
/// # Errors
/// Returns the first error: `invalid_json` if the body is not UTF-8 or not the expected JSON,
/// `wrong_count` if there are no events or too many, `invalid_event` if a field is missing or
/// invalid. One invalid event invalidates the whole body.
pub fn decode(body: &[u8], max_events: usize) -> Result<Broadcasts, DecodeError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| malformed(format!("byte {} is not UTF-8", error.valid_up_to())))?;
    let is_array = text.trim_start().starts_with('[');
    let events: Vec<&RawValue> = if is_array {
        serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?
    } else {
        Vec::new()
    };
    let mut broadcasts = Broadcasts {
        list: Vec::with_capacity(events.len().clamp(1, max_events)),
        targets: Vec::with_capacity(events.len().clamp(1, max_events)),
        is_array,
    };
    if is_array {
        check_count(events.len(), max_events)?;
        for (index, raw) in events.into_iter().enumerate() {
            broadcasts.add(raw.get()).map_err(|mistake| DecodeError {
                index: Some(index),
                ..mistake
            })?;
        }
    } else {
        broadcasts.add(text)?;
    }
    check_count(broadcasts.list.len(), max_events)?;
    Ok(broadcasts)
}

/// # Errors
/// `wrong_count` if `count` is 0 or more than `max_events`.
fn check_count(count: usize, max_events: usize) -> Result<(), DecodeError> {
    if (1..=max_events).contains(&count) {
        return Ok(());
    }
    Err(DecodeError {
        code: "wrong_count",
        message: format!(
            "expected 1 to {max_events} events, got {count}; an event counts once for each of its \
             channels"
        ),
        index: None,
        pointer: None,
    })
}

impl Broadcasts {
    /// Adds the event in `text`.
    fn add(&mut self, text: &str) -> Result<(), DecodeError> {
        if !text.trim_start().starts_with('{') {
            return Err(malformed("expected an event, a JSON object".to_owned()));
        }
        let event: Event<'_> =
            serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let kind = event.kind.filter(|kind| is_type(kind)).ok_or_else(|| {
            let expected = format!("expected a string of 1 to {MAX_TYPE_BYTES} bytes");
            invalid("/type", expected)
        })?;
        let payload = event
            .payload
            .filter(|payload| payload.get().starts_with('{'))
            .ok_or_else(|| invalid("/payload", "expected an object".to_owned()))?;
        let (kind, payload) = (kind.get(), payload.get());
        let channels = event.channels.map(channels).transpose()?;
        let ticket = match channels {
            Some(_) => None,
            None => Some(ticket_id(payload)?),
        };
        let user = event.except_user.map(user_id).transpose()?;
        let audience = match (event.except.map(session_id).transpose()?, user) {
            (None, _) => Audience::All,
            (Some(session), None) => Audience::AllBut(session),
            (Some(session), Some(user)) => Audience::AllButOwn(session, user),
        };
        let to = event.to.map(user_ids).transpose()?;
        let broadcast = |room, text| Broadcast {
            room,
            text,
            audience: audience.clone(),
            to: to.clone(),
        };
        if let Some(ticket) = ticket {
            let text = format!(r#"{{"type":{kind},"payload":{payload}}}"#);
            self.list.push(broadcast(RoomName::Ticket(ticket), text));
            self.targets.push(Target::Ticket);
        }
        if let Some(channels) = channels {
            self.list.extend(channels.iter().map(|name| {
                let text = format!(r#"{{"type":{kind},"payload":{payload},"channel":"{name}"}}"#);
                broadcast(RoomName::Channel(name.clone()), text)
            }));
            self.targets.push(Target::Channels(channels));
        }
        Ok(())
    }
}

fn is_type(kind: &RawValue) -> bool {
    let text = serde_json::from_str::<String>(kind.get());
    text.is_ok_and(|text| !text.is_empty() && text.len() <= MAX_TYPE_BYTES)
}

fn ticket_id(payload: &str) -> Result<RowId, DecodeError> {
    let payload: Payload<'_> =
        serde_json::from_str(payload).map_err(|error| invalid("/payload", error.to_string()))?;
    let wanted = "expected a positive whole number of at most 19 digits";
    payload
        .ticket_id
        .and_then(|id| serde_json::from_str(id.get()).ok())
        .ok_or_else(|| invalid("/payload/ticket_id", wanted.to_owned()))
}

/// Returns the channels in their order, each once.
fn channels(channels: &RawValue) -> Result<Vec<ChannelName>, DecodeError> {
    let texts: Option<Vec<String>> = serde_json::from_str(channels.get()).ok();
    let texts = texts
        .filter(|texts| !texts.is_empty())
        .ok_or_else(|| invalid("/channels", "expected an array of names".to_owned()))?;
    let mut names = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let name: ChannelName = text.parse().map_err(|error: NotAChannelName| {
            invalid("/channels", format!("the name at index {index}: {error}"))
        })?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn session_id(session: &RawValue) -> Result<SessionId, DecodeError> {
    let text: Option<String> = serde_json::from_str(session.get()).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        invalid(
            "/except",
            "expected a session id such as \"17.4\"".to_owned(),
        )
    })
}

fn user_id(user: &RawValue) -> Result<UserId, DecodeError> {
    let value = serde_json::from_str(user.get()).ok();
    let user = value.and_then(|value| UserId::from_json(&value));
    user.ok_or_else(|| invalid("/except_user", "expected a user's id".to_owned()))
}

fn user_ids(users: &RawValue) -> Result<Vec<UserId>, DecodeError> {
    let values: Option<Vec<serde_json::Value>> = serde_json::from_str(users.get()).ok();
    let users = values
        .filter(|values| values.len() <= MAX_USERS)
        .and_then(|values| {
            values
                .iter()
                .map(UserId::from_json)
                .collect::<Option<Vec<_>>>()
        });
    users.ok_or_else(|| {
        let expected = format!("expected an array of at most {MAX_USERS} users' ids");
        invalid("/to", expected)
    })
}

fn malformed(message: String) -> DecodeError {
    DecodeError {
        code: "invalid_json",
        // The parser's message may quote the body, so its length is bounded.
        message: message.chars().take(300).collect(),
        index: None,
        pointer: None,
    }
}

fn invalid(pointer: &'static str, message: String) -> DecodeError {
    DecodeError {
        code: "invalid_event",
        message,
        index: None,
        pointer: Some(pointer),
    }
}

const MAX_TYPE_BYTES: usize = 200;
/// The maximum number of users in `to`.
const MAX_USERS: usize = 100;

#[cfg(test)]
mod tests;
