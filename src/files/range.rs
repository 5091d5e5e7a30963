//! Byte ranges (RFC 9110 §14).

/// The part of a file that a `Range` selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteRange {
    /// The whole file. A server may ignore a range that it does not support: one that is
    /// not in bytes, is invalid, or is one of several, which only old PDF readers send.
    Whole,
    /// From the first byte to the last, both included.
    Of(u64, u64),
    /// No byte of the file: 416.
    OutOfReach,
}

impl ByteRange {
    /// Returns the part that the header value `range` selects of a file of `size` bytes.
    pub(super) fn parse(range: &str, size: u64) -> Self {
        match parse_bounds(range) {
            None => Self::Whole,
            Some((None, Some(0))) => Self::OutOfReach,
            Some((None, Some(last))) if size > 0 => Self::Of(size.saturating_sub(last), size - 1),
            Some((Some(first), last)) if first < size => {
                Self::Of(first, last.unwrap_or(u64::MAX).min(size - 1))
            }
            Some(_) => Self::OutOfReach,
        }
    }
}

/// Parses `bytes=first-last`; either bound may be missing, but not both.
fn parse_bounds(range: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, set) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    match (parse_number(first)?, parse_number(last)?) {
        (None, None) => None,
        (Some(first), Some(last)) if first > last => None,
        bounds => Some(bounds),
    }
}

/// Parses an optional number: `Some(None)` if the text is empty, `None` if it is invalid. A
/// number beyond 64 bits is larger than any file, so it becomes the maximum.
fn parse_number(text: &str) -> Option<Option<u64>> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match (text.is_empty(), is_number) {
        (true, _) => Some(None),
        (false, true) => Some(Some(text.parse().unwrap_or(u64::MAX))),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_range_is_resolved_against_the_length() {
        for (range, part) in [
            ("bytes=0-0", ByteRange::Of(0, 0)),
            ("bytes=2-4", ByteRange::Of(2, 4)),
            ("bytes=2-", ByteRange::Of(2, 9)),
            ("bytes=2-99", ByteRange::Of(2, 9)),
            ("bytes=-3", ByteRange::Of(7, 9)),
            ("bytes=-99", ByteRange::Of(0, 9)),
            ("Bytes = 1-2", ByteRange::Of(1, 2)),
            ("bytes=9-99999999999999999999999", ByteRange::Of(9, 9)),
            ("bytes=10-", ByteRange::OutOfReach),
            ("bytes=99999999999999999999999-", ByteRange::OutOfReach),
            ("bytes=-0", ByteRange::OutOfReach),
        ] {
            assert_eq!(ByteRange::parse(range, 10), part, "{range}");
        }
        assert_eq!(ByteRange::parse("bytes=0-", 0), ByteRange::OutOfReach);
        assert_eq!(ByteRange::parse("bytes=-1", 0), ByteRange::OutOfReach);
    }

    #[test]
    fn multiple_or_malformed_range_is_ignored() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=4-2",
            "bytes=1",
            "bytes=+1-2",
            "bytes=--1",
            "items=0-1",
            "bytes=0-1,3-4",
            "bytes=0-1,",
        ] {
            assert_eq!(ByteRange::parse(range, 10), ByteRange::Whole, "{range}");
        }
    }
}
