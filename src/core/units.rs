//! Durations, sizes and counts in `config.toml`. Each type checks its range when it is
//! parsed, so a value that exists is in range.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A duration above zero and of at most a year, written as `"500ms"`, `"10s"` or `"5m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigDuration(Duration);

impl ConfigDuration {
    /// Returns a duration of `seconds`, for default values; they must be above zero.
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Returns the value, which is never zero.
    pub(crate) const fn get(self) -> Duration {
        self.0
    }
}

impl From<ConfigDuration> for Duration {
    fn from(duration: ConfigDuration) -> Self {
        duration.0
    }
}

impl TryFrom<String> for ConfigDuration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match humantime::parse_duration(&text) {
            Ok(duration) if duration.is_zero() => Err(format!(
                "{text:?} is no time at all; expected {EXPECTED_DURATION}"
            )),
            Ok(duration) if duration > MAX_DURATION => Err(format!(
                "{text:?} is more than a year; expected {EXPECTED_DURATION}"
            )),
            Ok(duration) => Ok(Self(duration)),
            Err(_) => Err(format!(
                "{text:?} is not a time; expected {EXPECTED_DURATION}"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for ConfigDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, EXPECTED_DURATION)
    }
}

/// Anything longer is a mistake. A year is far below the point where adding to an
/// `Instant` overflows.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);
const EXPECTED_DURATION: &str = r#"a time such as "500ms", "10s" or "5m""#;

/// A size in bytes, above zero and below 4 GiB, written as `"64 KiB"` or `"32 MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByteSize(u32);

impl ByteSize {
    /// Returns a size of `bytes`, for default values; they must be above zero.
    pub(crate) const fn bytes(bytes: u32) -> Self {
        Self(bytes)
    }

    /// Returns a size of `kib` times 1024 bytes, for default values.
    pub(crate) const fn kib(kib: u32) -> Self {
        Self(kib * 1024)
    }

    /// Returns the number of bytes.
    pub(crate) const fn get(self) -> usize {
        self.0 as usize
    }
}

impl TryFrom<String> for ByteSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let Ok(size) = text.parse::<bytesize::ByteSize>() else {
            return Err(format!("{text:?} is not a size; expected {EXPECTED_SIZE}"));
        };
        match u32::try_from(size.as_u64()) {
            Ok(0) => Err(format!(
                "{text:?} is no size at all; expected {EXPECTED_SIZE}"
            )),
            Ok(bytes) => Ok(Self(bytes)),
            Err(_) => Err(format!(
                "{text:?} is 4 GiB or more; expected {EXPECTED_SIZE}"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, EXPECTED_SIZE)
    }
}

const EXPECTED_SIZE: &str = r#"a size such as "64 KiB" or "32 MiB""#;

/// The size of a buffer, or `"0"` for no buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSize(Option<ByteSize>);

impl BufferSize {
    /// Returns a size of `kib` times 1024 bytes, for default values.
    pub(crate) const fn kib(kib: u32) -> Self {
        Self(Some(ByteSize::kib(kib)))
    }

    /// Returns the number of bytes, or `None` for no buffer.
    pub fn get(self) -> Option<u64> {
        self.0.map(|size| size.get() as u64)
    }
}

impl TryFrom<String> for BufferSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "0" {
            return Ok(Self(None));
        }
        ByteSize::try_from(text).map(|size| Self(Some(size)))
    }
}

impl<'de> Deserialize<'de> for BufferSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, EXPECTED_BUFFER_SIZE)
    }
}

const EXPECTED_BUFFER_SIZE: &str = r#"a size such as "64 MiB", or "0" for none"#;

/// A whole number from 1 to 1 000 000. The upper bound is beyond any real deployment and
/// small enough that no sum or product of two counts overflows a `u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PositiveCount(NonZeroU32);

impl PositiveCount {
    /// Returns a count of `count`, for default values and tests.
    ///
    /// # Panics
    /// Panics if `count` is 0.
    pub const fn new(count: u32) -> Self {
        Self(NonZeroU32::new(count).expect("a count is above zero"))
    }

    /// Returns the value, from 1 to 1 000 000.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Returns the number as a `usize`, for lengths and capacities.
    pub(crate) const fn size(self) -> usize {
        self.0.get() as usize
    }

    /// Returns the product with `multiple`, at most `u32::MAX`.
    pub(crate) const fn times(self, multiple: Self) -> Self {
        Self(self.0.saturating_mul(multiple.0))
    }

    /// Returns the sum, at most `u32::MAX`.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0.get()))
    }

    /// Returns the number as a `NonZeroU32`.
    pub(crate) const fn non_zero(self) -> NonZeroU32 {
        self.0
    }
}

impl TryFrom<u64> for PositiveCount {
    type Error = String;

    fn try_from(count: u64) -> Result<Self, Self::Error> {
        u32::try_from(count)
            .ok()
            .filter(|count| *count <= 1_000_000)
            .and_then(NonZeroU32::new)
            .map(Self)
            .ok_or_else(|| format!("expected {EXPECTED_COUNT}"))
    }
}

impl<'de> Deserialize<'de> for PositiveCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |count| Self::try_from(count).ok();
        deserialize_number(deserializer, EXPECTED_COUNT, parse)
    }
}

const EXPECTED_COUNT: &str = "a whole number from 1 to 1000000";

/// Deserializes a value that is written as a string. The error for any other TOML type
/// says `expected`.
fn deserialize_text<'de, D, T>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<String, Error = String>,
{
    deserializer.deserialize_any(TextVisitor {
        expected,
        value: PhantomData,
    })
}

struct TextVisitor<T> {
    expected: &'static str,
    value: PhantomData<T>,
}

impl<T: TryFrom<String, Error = String>> de::Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::try_from(text.to_owned()).map_err(E::custom)
    }
}

/// Deserializes a whole number with `parse`, which returns `None` if it is out of range. The
/// error for that and for any other TOML type says `expected`.
pub(crate) fn deserialize_number<'de, D, T, F>(
    deserializer: D,
    expected: &'static str,
    parse: F,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    F: Fn(u64) -> Option<T>,
{
    deserializer.deserialize_any(NumberVisitor { expected, parse })
}

struct NumberVisitor<F> {
    expected: &'static str,
    parse: F,
}

impl<T, F: Fn(u64) -> Option<T>> de::Visitor<'_> for NumberVisitor<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        let invalid = || E::invalid_value(de::Unexpected::Unsigned(number), &self);
        (self.parse)(number).ok_or_else(invalid)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_with_a_unit_is_parsed() {
        let span = |text: &str| ConfigDuration::try_from(text.to_owned());
        assert_eq!(span("10s"), Ok(ConfigDuration::seconds(10)));
        assert_eq!(span("5m"), Ok(ConfigDuration::seconds(300)));
        for wrong in ["", "0s", "ten", "-1s", "5", "99999y"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn count_outside_its_range_is_rejected() {
        assert_eq!(
            PositiveCount::try_from(1_000_000).map(PositiveCount::get),
            Ok(1_000_000)
        );
        for wrong in [0, 1_000_001, u64::MAX] {
            assert!(PositiveCount::try_from(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn size_with_a_unit_is_parsed() {
        let size = |text: &str| ByteSize::try_from(text.to_owned());
        assert_eq!(size("64 KiB"), Ok(ByteSize::kib(64)));
        assert_eq!(size("32MiB"), Ok(ByteSize::kib(32 * 1024)));
        for wrong in ["", "0", "much", "-1 KiB", "5 GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        let buffer = |text: &str| BufferSize::try_from(text.to_owned());
        assert_eq!(buffer("0").unwrap().get(), None);
        assert_eq!(buffer("64 KiB").unwrap().get(), Some(64 * 1024));
        assert!(buffer("0 KiB").is_err() && buffer("much").is_err());
    }
}
