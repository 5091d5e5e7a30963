//! Names of things that cross module borders. A value that exists is well-formed.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A positive whole number as Laravel numbers its rows: `[1-9][0-9]{0,18}`.
///
/// The app's database reads `1abc`, `01`, `1;2` and `+1` as 1, so nothing but
/// this is ever put into a URL. Accepted as a JSON number or as a numeric
/// string, always written as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RowId(NonZeroU64);

impl RowId {
    /// The id that a JSON number stands for, if it is one.
    pub fn new(id: u64) -> Option<Self> {
        (id <= Self::MAX)
            .then(|| NonZeroU64::new(id))
            .flatten()
            .map(Self)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// Nineteen nines.
    const MAX: u64 = 9_999_999_999_999_999_999;
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not `[1-9][0-9]{0,18}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a positive whole number of at most 19 digits")]
pub struct NotARowId;

impl FromStr for RowId {
    type Err = NotARowId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        if !plain || text.len() > 19 {
            return Err(NotARowId);
        }
        text.parse().ok().and_then(Self::new).ok_or(NotARowId)
    }
}

impl<'de> Deserialize<'de> for RowId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowIdVisitor)
    }
}

struct RowIdVisitor;

impl de::Visitor<'_> for RowIdVisitor {
    type Value = RowId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a positive whole number of at most 19 digits")
    }

    fn visit_u64<E: de::Error>(self, id: u64) -> Result<RowId, E> {
        RowId::new(id).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(id), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RowId, E> {
        text.parse()
            .map_err(|_| E::invalid_value(de::Unexpected::Other("another string"), &self))
    }
}

/// The name of a room: one support ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoomName(RowId);

impl RoomName {
    /// The room of a ticket.
    pub fn ticket(id: RowId) -> Self {
        Self(id)
    }

    /// The ticket of this room.
    pub fn ticket_id(self) -> RowId {
        self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ticket/{}", self.0)
    }
}

/// A user's id as Laravel gives it: a number, or a text such as a UUID. A
/// numeric text is the number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UserId {
    /// An auto-increment key.
    Number(u64),
    /// Any other key.
    Text(Arc<str>),
}

impl UserId {
    /// The id in a JSON value, if the value can be one.
    pub fn from_json(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::Number(number) => number.as_u64().map(Self::Number),
            serde_json::Value::String(text) => Self::from_text(text),
            _ => None,
        }
    }

    /// The id in a text, if the text can be one: not empty, 64 bytes at most,
    /// no control characters.
    pub fn from_text(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > 64 || text.chars().any(char::is_control) {
            return None;
        }
        let number = text.parse::<u64>().ok();
        // Only the one way to write it: "007" is another user.
        let number = number.filter(|number| number.to_string() == text);
        Some(number.map_or_else(|| Self::Text(text.into()), Self::Number))
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(id) => id.fmt(f),
            Self::Text(id) => id.fmt(f),
        }
    }
}

impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(id) => serializer.serialize_u64(*id),
            Self::Text(id) => serializer.serialize_str(id),
        }
    }
}

/// One WebSocket session of this process. Written `17.4`, the form that
/// Laravel's `X-Socket-ID` header has; no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    process: u32,
    serial: u32,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.process, self.serial)
    }
}

/// The text is not two whole numbers with a dot between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a session id such as \"17.4\"")]
pub struct NotASessionId;

impl FromStr for SessionId {
    type Err = NotASessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (process, serial) = text.split_once('.').ok_or(NotASessionId)?;
        Ok(Self {
            process: process.parse().map_err(|_| NotASessionId)?,
            serial: serial.parse().map_err(|_| NotASessionId)?,
        })
    }
}

/// Hands out session ids, each once; ids of an earlier process do not return.
#[derive(Debug)]
pub struct SessionIds {
    process: u32,
    next: AtomicU32,
}

impl SessionIds {
    /// Starts a series of its own.
    pub fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any 32 of the random bits do"
        )]
        let process = RandomState::new().hash_one("session") as u32;
        Self {
            process,
            next: AtomicU32::new(1),
        }
    }

    /// The next id.
    pub fn issue(&self) -> SessionId {
        SessionId {
            process: self.process,
            serial: self.next.fetch_add(1, Relaxed),
        }
    }
}

impl Default for SessionIds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_positive_numbers_are_row_ids() {
        let parsed = |json: &str| serde_json::from_str::<RowId>(json).ok().map(RowId::get);
        assert_eq!(parsed("7"), Some(7));
        assert_eq!(parsed(r#""7""#), Some(7));
        assert_eq!(
            parsed("9999999999999999999"),
            Some(9_999_999_999_999_999_999)
        );
        for wrong in [
            "0",
            "-1",
            "1.0",
            "1e0",
            "10000000000000000000",
            "true",
            "null",
            "[1]",
            "{}",
            r#""""#,
            r#""01""#,
            r#""+1""#,
            r#""1abc""#,
            r#"" 1""#,
            r#""1;2""#,
            r#""archived""#,
            r#""10000000000000000000""#,
            r#""١""#,
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_numeric_text_is_the_same_user_as_the_number() {
        assert_eq!(UserId::from_text("3"), Some(UserId::Number(3)));
        assert_eq!(UserId::from_text("0"), Some(UserId::Number(0)));
        assert_eq!(UserId::from_text("03"), Some(UserId::Text("03".into())));
        assert_eq!(UserId::from_text(""), None);
        assert_eq!(UserId::from_text("a\nb"), None);
    }

    #[test]
    fn session_ids_survive_text() {
        let ids = SessionIds::new();
        let id = ids.issue();
        assert_ne!(id, ids.issue());
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}
