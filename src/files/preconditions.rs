//! Preconditions of a request (RFC 9110 §13): `If-Match`, `If-None-Match`,
//! `If-Modified-Since`, `If-Unmodified-Since` and `If-Range`.

use std::time::{Duration, SystemTime};

use hyper::header::{
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE,
};

/// The validators of one version of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validators {
    /// The strong entity tag, with its quotes.
    pub(super) tag: String,
    /// The time of the last modification, in seconds since 1970.
    pub(super) modified: u64,
}

/// The result of a request's preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PreconditionResult {
    Send,
    /// The client has this version: 304.
    NotModified {
        /// Whether the client named it by a weak tag, which the response then repeats.
        weak: bool,
    },
    /// The client wants another version: 412.
    Failed,
}

impl Validators {
    /// Evaluates the preconditions in the order of RFC 9110 §13.2.2.
    pub(super) fn evaluate(&self, headers: &HeaderMap) -> PreconditionResult {
        let is_expected = match parse_etags(headers, &IF_MATCH) {
            Some(tags) => tags.iter().any(|tag| tag.matches(&self.tag, false)),
            None => {
                parse_date(headers, &IF_UNMODIFIED_SINCE).is_none_or(|date| self.modified <= date)
            }
        };
        if !is_expected {
            return PreconditionResult::Failed;
        }
        match parse_etags(headers, &IF_NONE_MATCH) {
            Some(tags) => {
                let same = tags.iter().find(|tag| tag.matches(&self.tag, true));
                same.map_or(PreconditionResult::Send, |tag| {
                    PreconditionResult::NotModified {
                        weak: matches!(tag, ETag::Weak(_)),
                    }
                })
            }
            None => match parse_date(headers, &IF_MODIFIED_SINCE) {
                Some(date) if self.modified <= date => {
                    PreconditionResult::NotModified { weak: false }
                }
                _ => PreconditionResult::Send,
            },
        }
    }

    /// Returns whether a range may be sent: without `If-Range`, or if it names this version
    /// (RFC 9110 §13.1.5).
    pub(super) fn matches_if_range(&self, headers: &HeaderMap) -> bool {
        match headers.get(IF_RANGE) {
            None => true,
            Some(value) if value.as_bytes().ends_with(b"\"") => value == self.tag.as_str(),
            Some(_) => parse_date(headers, &IF_RANGE) == Some(self.modified),
        }
    }

    /// Returns the value of `Last-Modified`; `None` for a time after the year 9999.
    pub(super) fn last_modified(&self) -> Option<HeaderValue> {
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.modified))?;
        // `fmt_http_date` panics after the year 9999.
        let fits = self.modified < 253_402_300_800;
        HeaderValue::try_from(fits.then(|| httpdate::fmt_http_date(time))?).ok()
    }
}

/// An entity tag in a list (RFC 9110 §8.8.3); `Any` is `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ETag<'a> {
    Any,
    Strong(&'a str),
    Weak(&'a str),
}

impl ETag<'_> {
    /// Returns whether this is the strong tag `tag`, by the weak comparison if `weakly`.
    fn matches(self, tag: &str, weakly: bool) -> bool {
        match self {
            Self::Any => true,
            Self::Strong(one) => one == tag,
            Self::Weak(one) => weakly && one == tag,
        }
    }
}

/// Returns the tags in the header `name`, or `None` if the header is absent. An invalid tag
/// ends the list.
fn parse_etags<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Vec<ETag<'a>>> {
    if !headers.contains_key(name) {
        return None;
    }
    let lines = headers.get_all(name).iter();
    let mut tags = Vec::new();
    for mut rest in lines.filter_map(|line| line.to_str().ok()) {
        if rest.trim() == "*" {
            tags.push(ETag::Any);
            continue;
        }
        while let Some((tag, after)) = parse_first_etag(rest.trim_start_matches([' ', '\t', ','])) {
            tags.push(tag);
            rest = after;
        }
    }
    Some(tags)
}

/// Returns the tag at the beginning of `text`, which may contain commas, and the text after
/// it.
fn parse_first_etag(text: &str) -> Option<(ETag<'_>, &str)> {
    let (weak, quoted) = match text.strip_prefix("W/") {
        Some(quoted) => (true, quoted),
        None => (false, text),
    };
    let end = quoted.strip_prefix('"')?.find('"')? + 2;
    let (tag, rest) = quoted.split_at(end);
    let tag = if weak {
        ETag::Weak(tag)
    } else {
        ETag::Strong(tag)
    };
    Some((tag, rest))
}

/// Returns the date in the header `name`, in seconds since 1970; `None` if it is absent or
/// invalid.
fn parse_date(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let date = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
    let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn file() -> Validators {
        Validators {
            tag: "\"a\"".to_owned(),
            modified: 784_111_777,
        }
    }

    fn judged(lines: &[(&HeaderName, &'static str)]) -> PreconditionResult {
        file().evaluate(&headers(lines))
    }

    fn headers(lines: &[(&HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const KNOWN: PreconditionResult = PreconditionResult::NotModified { weak: false };

    #[test]
    fn conditional_request_for_an_unchanged_file_gets_304() {
        for (value, verdict) in [
            ("\"a\"", KNOWN),
            ("*", KNOWN),
            ("\"b\", \"a\"", KNOWN),
            ("\"b,\\\",\"a\"", KNOWN),
            ("W/\"a\"", PreconditionResult::NotModified { weak: true }),
            ("\"b\"", PreconditionResult::Send),
            ("a", PreconditionResult::Send),
            ("\"a", PreconditionResult::Send),
            ("", PreconditionResult::Send),
        ] {
            assert_eq!(judged(&[(&IF_NONE_MATCH, value)]), verdict, "{value}");
        }
        let two = [(&IF_NONE_MATCH, "\"b\""), (&IF_NONE_MATCH, "\"a\"")];
        assert_eq!(judged(&two), KNOWN);
        assert_eq!(judged(&[(&IF_MODIFIED_SINCE, THEN)]), KNOWN);
        assert_eq!(judged(&[(&IF_MODIFIED_SINCE, AFTER)]), KNOWN);
        assert_eq!(
            judged(&[(&IF_MODIFIED_SINCE, BEFORE)]),
            PreconditionResult::Send
        );
        assert_eq!(
            judged(&[(&IF_MODIFIED_SINCE, "yesterday")]),
            PreconditionResult::Send
        );
        // The tag counts.
        let both = [(&IF_NONE_MATCH, "\"b\""), (&IF_MODIFIED_SINCE, THEN)];
        assert_eq!(judged(&both), PreconditionResult::Send);
    }

    #[test]
    fn failed_if_match_or_unmodified_since_is_rejected() {
        assert_eq!(judged(&[(&IF_MATCH, "\"a\"")]), PreconditionResult::Send);
        assert_eq!(judged(&[(&IF_MATCH, "*")]), PreconditionResult::Send);
        for value in ["\"b\"", "W/\"a\"", "a", ""] {
            assert_eq!(
                judged(&[(&IF_MATCH, value)]),
                PreconditionResult::Failed,
                "{value}"
            );
        }
        assert_eq!(
            judged(&[(&IF_UNMODIFIED_SINCE, THEN)]),
            PreconditionResult::Send
        );
        assert_eq!(
            judged(&[(&IF_UNMODIFIED_SINCE, BEFORE)]),
            PreconditionResult::Failed
        );
        let both = [(&IF_MATCH, "\"a\""), (&IF_UNMODIFIED_SINCE, BEFORE)];
        assert_eq!(judged(&both), PreconditionResult::Send);
        let both = [(&IF_MATCH, "\"b\""), (&IF_NONE_MATCH, "\"a\"")];
        assert_eq!(judged(&both), PreconditionResult::Failed);
    }

    #[test]
    fn if_range_matches_only_the_same_strong_tag_or_date() {
        let fits = |value| file().matches_if_range(&headers(&[(&IF_RANGE, value)]));
        assert!(fits("\"a\"") && fits(THEN) && file().matches_if_range(&HeaderMap::new()));
        for value in ["\"b\"", "W/\"a\"", AFTER, BEFORE, "a", ""] {
            assert!(!fits(value), "{value}");
        }
    }
}
