//! The names of rooms, and of the channels of Laravel's broadcasting.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::RowId;

/// The name of a room: `ticket/1` or `channel/private-desk`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RoomName {
    /// The room of a support ticket.
    Ticket(RowId),
    /// The room of a channel.
    Channel(ChannelName),
}

impl RoomName {
    /// Returns the room of the ticket `id`.
    pub fn ticket(id: RowId) -> Self {
        Self::Ticket(id)
    }

    /// Returns the room with this name, or `None` if no room can have it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name.split_once('/')? {
            ("ticket", id) => id.parse().ok().map(Self::Ticket),
            ("channel", name) => name.parse().ok().map(Self::Channel),
            _ => None,
        }
    }

    /// Returns whether the members of the room learn who else is in it.
    pub(crate) fn has_presence(&self) -> bool {
        match self {
            Self::Ticket(_) => true,
            Self::Channel(name) => name.kind() == ChannelKind::Presence,
        }
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticket(id) => write!(f, "ticket/{id}"),
            Self::Channel(name) => write!(f, "channel/{name}"),
        }
    }
}

/// The name of a channel of Laravel's broadcasting: 1 to 200 characters of
/// `[-a-zA-Z0-9_=@,.;]`, the alphabet of the Pusher protocol. It holds nothing that a log, a
/// URL or a form would have to escape. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChannelName(Arc<str>);

/// The kind of a channel, which the prefix of its name determines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelKind {
    /// Every user may join it.
    Public,
    /// `private-`: Laravel decides who may join it.
    Private,
    /// `presence-`: the same, and its members learn who else is in it.
    Presence,
}

impl ChannelName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the kind of the channel.
    pub(crate) fn kind(&self) -> ChannelKind {
        if self.0.starts_with("private-") {
            ChannelKind::Private
        } else if self.0.starts_with("presence-") {
            ChannelKind::Presence
        } else {
            ChannelKind::Public
        }
    }
}

/// The error for a text that is no name of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the name of a channel, 1 to 200 letters, digits and characters of -_=@,.;")]
pub struct NotAChannelName;

impl FromStr for ChannelName {
    type Err = NotAChannelName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=@,.;".contains(&byte);
        if (1..=MAX_CHANNEL_BYTES).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(Self(text.into()))
        } else {
            Err(NotAChannelName)
        }
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for ChannelName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ChannelName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The longest name of a channel.
const MAX_CHANNEL_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_name_survives_its_text_form() {
        for text in [
            "ticket/1",
            "channel/desk",
            "channel/private-App.Models.User.3",
            "channel/presence-a_b=c@d,e.f;g",
        ] {
            let name = RoomName::parse(text).unwrap();
            assert_eq!(name.to_string(), text);
        }
        for wrong in [
            "",
            "ticket",
            "ticket/",
            "ticket/01",
            "channel/",
            "channel/a/b",
            "group/a",
            "desk",
        ] {
            assert_eq!(RoomName::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn channel_name_has_1_to_200_characters_of_the_alphabet() {
        let longest = "a".repeat(200);
        assert!(longest.parse::<ChannelName>().is_ok());
        let too_long = "a".repeat(201);
        for wrong in [
            "",
            &too_long,
            "a b",
            "a/b",
            "a\n",
            "a\0",
            "#a",
            "a+b",
            "a%20",
            "a:b",
            "é",
            "a\u{202e}",
        ] {
            assert_eq!(
                wrong.parse::<ChannelName>(),
                Err(NotAChannelName),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn prefix_with_its_dash_determines_the_kind_of_a_channel() {
        let kind = |name: &str| name.parse::<ChannelName>().unwrap().kind();
        for public in [
            "desk",
            "private",
            "presence",
            "privates-x",
            "Private-x",
            "cache-x",
        ] {
            assert_eq!(kind(public), ChannelKind::Public, "{public}");
        }
        for private in [
            "private-x",
            "private-encrypted-x",
            "private-cache-x",
            "private-",
        ] {
            assert_eq!(kind(private), ChannelKind::Private, "{private}");
        }
        assert_eq!(kind("presence-x"), ChannelKind::Presence);
    }
}
