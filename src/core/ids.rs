//! Names of things that cross module borders. A value that exists is well-formed.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;

use rustls::crypto::SecureRandom;
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

/// One WebSocket session of this process. Written `2760498117.39104226`, the form
/// that Laravel's `X-Socket-ID` header has.
///
/// It opens nothing, but whoever knows it can have the session left out of a
/// broadcast. So it cannot be guessed, and no client gets another session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u32, u32);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The text is not two whole numbers with a dot between.
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

/// Hands out session ids: 64 bits of the system's randomness. That two of a
/// million open sessions get the same is less likely than one in ten million; the
/// ids of an earlier process do not return.
#[derive(Debug)]
pub struct SessionIds(&'static dyn SecureRandom);

impl SessionIds {
    /// Ids of the randomness that TLS uses.
    pub fn new() -> Self {
        Self(rustls::crypto::aws_lc_rs::default_provider().secure_random)
    }

    /// The next id.
    pub fn issue(&self) -> SessionId {
        let half = || {
            let mut random = [0; 4];
            let filled = self.0.fill(&mut random);
            filled.expect("the system has randomness: TLS has used it already");
            u32::from_ne_bytes(random)
        };
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
        for _ in 0..1000 {
            let id = ids.issue();
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for wrong in ["", "1", "1.", ".1", "1.2.3", "1.4294967296", "a.b", "1,2"] {
            assert_eq!(wrong.parse::<SessionId>(), Err(NotASessionId), "{wrong}");
        }
    }

    /// Whoever knows some of them knows nothing of the next.
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
