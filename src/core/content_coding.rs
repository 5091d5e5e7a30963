//! Content codings: negotiation by `Accept-Encoding`, media types worth compressing, and
//! `Vary`.

use hyper::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, VARY};

use super::header_values::list_elements;
use super::quality_value::parse_weight;

/// A content coding (RFC 9110 §8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    /// Zstandard, as `zstd` (RFC 8878).
    Zstd,
    /// Brotli, as `br` (RFC 7932).
    Brotli,
    /// gzip (RFC 1952).
    Gzip,
}

impl ContentCoding {
    /// Every coding that the edge supports.
    pub(crate) const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// Returns the supported codings that the client accepts, in the order of the header,
    /// each with its weight in thousandths (RFC 9110 §12.5.3). Codings with the weight 0
    /// or an invalid one are left out.
    pub(crate) fn parse_accept_encoding(headers: &HeaderMap) -> Vec<(u32, Self)> {
        list_elements(headers, &ACCEPT_ENCODING)
            .filter_map(Self::parse_offer)
            .collect()
    }

    /// Parses one element of `Accept-Encoding`, such as `br;q=0.5`.
    fn parse_offer(offer: &str) -> Option<(u32, Self)> {
        let mut parts = offer.split(';').map(str::trim);
        let coding = Self::from_name(parts.next().unwrap_or_default())?;
        let weight = parse_weight(parts);
        (weight > 0).then_some((weight, coding))
    }

    fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|one| name.eq_ignore_ascii_case(one.name()))
    }

    /// Returns the coding's name in `Content-Encoding`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// Returns whether content of `media_type` gets smaller by compression: text and formats
/// made of text. Other types are compressed already. `text/event-stream` is left out,
/// because an encoder would delay its events.
pub(crate) fn is_compressible(media_type: &str) -> bool {
    let (essence, _parameters) = media_type.split_once(';').unwrap_or((media_type, ""));
    let essence = essence.trim().to_ascii_lowercase();
    let is_text = essence.starts_with("text/") && essence != "text/event-stream";
    is_text
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || COMPRESSIBLE_TYPES.contains(&essence.as_str())
}

const COMPRESSIBLE_TYPES: [&str; 8] = [
    "application/json",
    "application/javascript",
    "application/xml",
    "application/wasm",
    "application/x-ndjson",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
];

/// Adds `Vary: Accept-Encoding` unless `Vary` covers it already (RFC 9110 §12.5.5).
pub(crate) fn add_vary(headers: &mut HeaderMap) {
    let is_covered = list_elements(headers, &VARY)
        .any(|name| name == "*" || name.eq_ignore_ascii_case("accept-encoding"));
    if !is_covered {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_values_are_parsed_in_thousandths() {
        let offers = |text: &'static str| {
            let value = HeaderValue::from_static(text);
            ContentCoding::parse_accept_encoding(&HeaderMap::from_iter([(ACCEPT_ENCODING, value)]))
        };
        assert_eq!(
            offers("br;q=0.25, GZIP, zstd;q=0, deflate"),
            [(250, ContentCoding::Brotli), (1000, ContentCoding::Gzip)]
        );
        assert_eq!(offers("br;q=2, gzip;q=x, br;Q=0"), []);
    }
}
