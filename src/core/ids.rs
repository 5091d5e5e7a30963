//! Identifiers of tickets, channels, rooms, users and WebSocket sessions. Each type checks its form
//! when it is parsed, so a value that exists is well-formed.

mod room_name;

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub(crate) use self::room_name::ChannelKind;
pub use self::room_name::{ChannelName, NotAChannelName, RoomName};
use super::random::RandomSource;

/// The id of a database row in Laravel: `[1-9][0-9]{0,18}`.
///
/// The application's database may read `1abc`, `01`, `1;2` and `+1` as 1, so the edge puts
/// only this form into a URL. It is accepted as a JSON number or a numeric string, and
/// always serialized as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RowId(NonZeroU64);

impl RowId {
    /// Returns the id, or `None` if `id` is 0 or has more than 19 digits.
    pub fn new(id: u64) -> Option<Self> {
        (id <= Self::MAX)
            .then(|| NonZeroU64::new(id))
            .flatten()
            .map(Self)
    }

    /// Returns the id as a number of 1 to 19 digits.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The largest number of 19 digits.
    const MAX: u64 = 9_999_999_999_999_999_999;
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The error for a text that is not `[1-9][0-9]{0,18}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a positive whole number of at most 19 digits")]
pub struct NotARowId;

impl FromStr for RowId {
    type Err = NotARowId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        if !is_plain || text.len() > 19 {
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

/// The id of a user in Laravel: a number, or a text such as a UUID. A text that is a
/// decimal number is the same id as that number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UserId {
    /// The auto-increment key of a table.
    Number(u64),
    /// Any other key, such as a UUID or ULID.
    Text(Arc<str>),
}

impl UserId {
    /// Returns the id in a JSON number or string; `None` for any other value, a negative
    /// or fractional number, or a text that [`from_text`](Self::from_text) rejects.
    pub(crate) fn from_json(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::Number(number) => number.as_u64().map(Self::Number),
            serde_json::Value::String(text) => Self::from_text(text),
            _ => None,
        }
    }

    /// Returns the id in `text`; `None` if the text is empty, longer than 64 bytes, or
    /// contains control characters.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > 64 || text.chars().any(char::is_control) {
            return None;
        }
        // Only the canonical form is a number: "007" is another user than 7.
        let number = text
            .parse::<u64>()
            .ok()
            .filter(|number| number.to_string() == text);
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

/// The id of a WebSocket session of this process, written as `2760498117.39104226`, the
/// form of Laravel's `X-Socket-ID` header.
///
/// The id grants no access, but a client that knows it can exclude the session from a
/// broadcast. Ids are therefore random, and no client learns the id of another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u32, u32);

impl SessionId {
    /// Returns the 64 bits of the id.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.1)
    }

    /// Returns the id with these bits.
    pub(crate) fn from_bits(bits: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = bits.to_be_bytes();
        Self(
            u32::from_be_bytes([a, b, c, d]),
            u32::from_be_bytes([e, f, g, h]),
        )
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The error for a text that is not two whole numbers separated by a dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a session id, two whole numbers as in \"17.4\"")]
pub struct NotASessionId;

impl FromStr for SessionId {
    type Err = NotASessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, second) = text.split_once('.').ok_or(NotASessionId)?;
        let number = |text: &str| text.parse().map_err(|_| NotASessionId);
        Ok(Self(number(first)?, number(second)?))
    }
}

/// Issues session ids of 64 random bits each. Among a million open sessions a collision is
/// less likely than one in ten million, and a restarted process does not repeat ids.
#[derive(Debug)]
pub(crate) struct SessionIds(RandomSource);

impl SessionIds {
    /// Creates a source of ids that draws from the random generator of TLS.
    pub(crate) fn new() -> Self {
        Self(RandomSource::new())
    }

    /// Returns a new id.
    ///
    /// # Panics
    /// Panics if the system has no randomness; TLS would have failed before.
    pub(crate) fn issue(&self) -> SessionId {
        let half = || u32::from_ne_bytes(self.0.bytes());
        SessionId(half(), half())
    }
}

impl Default for SessionIds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn row_id_that_is_no_plain_positive_number_is_rejected() {
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
    fn user_id_in_numeric_text_equals_the_number() {
        assert_eq!(UserId::from_text("3"), Some(UserId::Number(3)));
        assert_eq!(UserId::from_text("0"), Some(UserId::Number(0)));
        assert_eq!(UserId::from_text("03"), Some(UserId::Text("03".into())));
        assert_eq!(UserId::from_text(""), None);
        assert_eq!(UserId::from_text("a\nb"), None);
    }

    #[test]
    fn session_id_survives_a_round_trip_through_text() {
        let ids = SessionIds::new();
        for _ in 0..1000 {
            let id = ids.issue();
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(SessionId::from_bits(id.to_bits()), id);
        }
        for wrong in ["", "1", "1.", ".1", "1.2.3", "1.4294967296", "a.b", "1,2"] {
            assert_eq!(wrong.parse::<SessionId>(), Err(NotASessionId), "{wrong}");
        }
    }

    /// Known ids reveal nothing about the next one.
    #[test]
    fn session_ids_follow_no_order() {
        let ids = SessionIds::new();
        let issued: Vec<_> = (0..200).map(|_| ids.issue()).collect();
        let halves: [fn(&SessionId) -> u32; 2] = [|id| id.0, |id| id.1];
        for half in halves {
            let numbers: Vec<_> = issued.iter().map(half).collect();
            let distinct: HashSet<_> = numbers.iter().collect();
            assert!(distinct.len() > 190 && !numbers.is_sorted());
        }
    }
}
