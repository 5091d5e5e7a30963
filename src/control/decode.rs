//! Decoding of request bodies. A body is valid as a whole, or it yields its first error.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::core::ids::{RoomName, RowId, SessionId, UserId};
use crate::rooms::{Audience, Broadcast};

/// The events of a request body. The response has the same form: one report, or an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broadcasts {
    /// A single event outside an array.
    One(Broadcast),
    /// An array of events, never empty.
    Many(Vec<Broadcast>),
}

impl Broadcasts {
    /// Returns the room of each event, in the order of the body. A room may occur repeatedly.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &RoomName> {
        let all = match self {
            Self::One(event) => std::slice::from_ref(event),
            Self::Many(events) => events,
        };
        all.iter().map(|event| &event.room)
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
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, default)]
    ticket_id: Option<&'a RawValue>,
}

/// Decodes one event, or an array of 1 to `max_events` events. The bytes of `type` and
/// `payload` stay as they are: decoding changes no number and no character.
///
/// # Errors
/// Returns the first error: `invalid_json` if the body is not UTF-8 or not the expected JSON,
/// `wrong_count` if the array is empty or too long, `invalid_event` if a field is missing or
/// invalid. One invalid event invalidates the whole body.
pub fn decode(body: &[u8], max_events: usize) -> Result<Broadcasts, DecodeError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| malformed(format!("byte {} is not UTF-8", error.valid_up_to())))?;
    if !text.trim_start().starts_with('[') {
        return event(text).map(Broadcasts::One);
    }
    let events: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    if events.is_empty() || events.len() > max_events {
        return Err(DecodeError {
            code: "wrong_count",
            message: format!("expected 1 to {max_events} events, got {}", events.len()),
            index: None,
            pointer: None,
        });
    }
    let numbered = events.iter().enumerate();
    let broadcasts = numbered.map(|(index, raw)| {
        event(raw.get()).map_err(|mistake| DecodeError {
            index: Some(index),
            ..mistake
        })
    });
    broadcasts.collect::<Result<_, _>>().map(Broadcasts::Many)
}

fn event(text: &str) -> Result<Broadcast, DecodeError> {
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
    let ticket = ticket_id(payload)?;
    let user = event.except_user.map(user_id).transpose()?;
    let audience = match (event.except.map(session_id).transpose()?, user) {
        (None, _) => Audience::All,
        (Some(session), None) => Audience::AllBut(session),
        (Some(session), Some(user)) => Audience::AllButOwn(session, user),
    };
    Ok(Broadcast {
        room: RoomName::ticket(ticket),
        text: format!(r#"{{"type":{},"payload":{}}}"#, kind.get(), payload.get()),
        audience,
        to: event.to.map(user_ids).transpose()?,
    })
}

fn is_type(kind: &RawValue) -> bool {
    let text = serde_json::from_str::<String>(kind.get());
    text.is_ok_and(|text| !text.is_empty() && text.len() <= MAX_TYPE_BYTES)
}

fn ticket_id(payload: &RawValue) -> Result<RowId, DecodeError> {
    let payload: Payload<'_> = serde_json::from_str(payload.get())
        .map_err(|error| invalid("/payload", error.to_string()))?;
    let wanted = "expected a positive whole number of at most 19 digits";
    payload
        .ticket_id
        .and_then(|id| serde_json::from_str(id.get()).ok())
        .ok_or_else(|| invalid("/payload/ticket_id", wanted.to_owned()))
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(body: &str) -> Result<Broadcast, DecodeError> {
        match decode(body.as_bytes(), 100)? {
            Broadcasts::One(broadcast) => Ok(broadcast),
            Broadcasts::Many(_) => panic!("not one"),
        }
    }

    #[test]
    fn payload_bytes_are_passed_unchanged() {
        let payload =
            r#"{"ticket_id":123, "n":1.10e2,"big":12345678901234567890123,"s":"\u00e9 é \/"}"#;
        let body = format!(r#"{{ "payload" : {payload}, "type":"new_message" }}"#);
        let broadcast = one(&body).unwrap();
        assert_eq!(
            broadcast.text,
            format!(r#"{{"type":"new_message","payload":{payload}}}"#)
        );
        assert_eq!(broadcast.room.to_string(), "ticket/123");
        assert_eq!(broadcast.audience, Audience::All);
    }

    /// A body, the code of its error, and the pointer to its field.
    const MISTAKES: &[(&str, &str, Option<&str>)] = &[
        ("", "invalid_json", None),
        ("7", "invalid_json", None),
        ("{", "invalid_json", None),
        (
            r#"{"type":"a","payload":{"ticket_id":1}} x"#,
            "invalid_json",
            None,
        ),
        (
            r#"{"type":"a","payload":{"ticket_id":1},"for":"all"}"#,
            "invalid_json",
            None,
        ),
        (
            r#"{"type":"a","payload":{"ticket_id":1},"to":"all"}"#,
            "invalid_event",
            Some("/to"),
        ),
        (
            r#"{"payload":{"ticket_id":1}}"#,
            "invalid_event",
            Some("/type"),
        ),
        (
            r#"{"type":"","payload":{"ticket_id":1}}"#,
            "invalid_event",
            Some("/type"),
        ),
        (
            r#"{"type":7,"payload":{"ticket_id":1}}"#,
            "invalid_event",
            Some("/type"),
        ),
        (r#"{"type":"a"}"#, "invalid_event", Some("/payload")),
        (
            r#"{"type":"a","payload":[]}"#,
            "invalid_event",
            Some("/payload"),
        ),
        (
            r#"{"type":"a","payload":{}}"#,
            "invalid_event",
            Some("/payload/ticket_id"),
        ),
        (
            r#"{"type":"a","payload":{"ticket_id":0}}"#,
            "invalid_event",
            Some("/payload/ticket_id"),
        ),
        (
            r#"{"type":"a","payload":{"ticket_id":"1;2"}}"#,
            "invalid_event",
            Some("/payload/ticket_id"),
        ),
        (
            r#"{"type":"a","payload":{"ticket_id":1,"ticket_id":2}}"#,
            "invalid_event",
            Some("/payload"),
        ),
        (
            r#"{"type":"a","payload":{"ticket_id":1},"except":"x"}"#,
            "invalid_event",
            Some("/except"),
        ),
        (
            r#"{"type":"a","payload":{"ticket_id":1},"except":7}"#,
            "invalid_event",
            Some("/except"),
        ),
        (
            r#"{"type":"a","payload":{"ticket_id":1},"except":"1.2","except_user":[3]}"#,
            "invalid_event",
            Some("/except_user"),
        ),
    ];

    #[test]
    fn decode_error_names_its_code_and_field() {
        for &(body, code, pointer) in MISTAKES {
            let mistake = one(body).unwrap_err();
            assert_eq!((mistake.code, mistake.pointer), (code, pointer), "{body}");
        }
        assert_eq!(decode(b"\xff", 100).unwrap_err().code, "invalid_json");
    }

    #[test]
    fn batch_with_an_invalid_event_is_rejected_whole() {
        let good = r#"{"type":"a","payload":{"ticket_id":1}}"#;
        let mistake = decode(format!("[{good},{{}}]").as_bytes(), 100).unwrap_err();
        assert_eq!((mistake.index, mistake.pointer), (Some(1), Some("/type")));
        assert!(
            matches!(decode(format!("[{good},{good}]").as_bytes(), 2), Ok(Broadcasts::Many(b)) if b.len() == 2)
        );
        for wrong in ["[]".to_owned(), format!("[{good},{good},{good}]")] {
            assert_eq!(decode(wrong.as_bytes(), 2).unwrap_err().code, "wrong_count");
        }
    }

    proptest! {
        #[test]
        fn decode_of_arbitrary_bytes_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&body, 100);
        }
    }
}
