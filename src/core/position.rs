//! The place of an event in the order of all events: an epoch and an offset in it.

use std::fmt;
use std::str::FromStr;

/// The name of one unbroken numbering of events: eight ASCII letters. Offsets of different
/// epochs cannot be compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; 8]);

impl Epoch {
    /// Creates a random epoch.
    pub fn random() -> Self {
        Self(std::array::from_fn(|_| fastrand::alphabetic() as u8))
    }

    /// Returns the epoch in `bytes`, or `None` if they are not all ASCII letters.
    pub fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        let is_valid = bytes.iter().all(u8::is_ascii_alphabetic);
        is_valid.then_some(Self(bytes))
    }

    /// Returns the eight letters.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The position of an event, written as `kQzVbTfa.57`. Offsets start at 1; a position with
/// offset 0 is before every event of its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The numbering that the offset belongs to.
    pub epoch: Epoch,
    /// The number of the event. It rises over all rooms.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.offset)
    }
}

/// The error for a text that is not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a position, eight letters and a whole number as in \"kQzVbTfa.57\"")]
pub struct NotAPosition;

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, offset) = text.split_once('.').ok_or(NotAPosition)?;
        let bytes = epoch.as_bytes().try_into().map_err(|_| NotAPosition)?;
        let is_plain = offset.bytes().all(|byte| byte.is_ascii_digit());
        let is_canonical = is_plain && (offset == "0" || !offset.starts_with('0'));
        if !is_canonical {
            return Err(NotAPosition);
        }
        Ok(Self {
            epoch: Epoch::from_bytes(bytes).ok_or(NotAPosition)?,
            offset: offset.parse().map_err(|_| NotAPosition)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_survives_its_text_form() {
        for offset in [0, 57, u64::MAX] {
            let position = Position {
                epoch: Epoch::random(),
                offset,
            };
            assert_eq!(position.to_string().parse(), Ok(position));
        }
    }

    #[test]
    fn text_that_is_no_position_is_rejected() {
        for text in [
            "",
            ".",
            "kQzVbTfa",
            "kQzVbTfa.",
            "kQzVbTfa.-1",
            "kQzVbTfa.+1",
            "kQzVbTfa.01",
            "kQzVbTf.1",
            "kQzVbTfab.1",
            "kQzVbTf1.1",
            "kQzVbTfa.18446744073709551616",
            "kQzVbTfa.1.2",
            " kQzVbTfa.1",
            "kQzVbTfä.1",
        ] {
            assert_eq!(text.parse::<Position>(), Err(NotAPosition), "{text}");
        }
    }
}
