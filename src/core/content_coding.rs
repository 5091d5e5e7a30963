//! Content codings: which a client takes, and for what they are worth it.

use hyper::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, VARY};

/// A content coding (RFC 9110 §8.4.1, RFC 7932, RFC 8878).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    /// `zstd`
    Zstd,
    /// `br`
    Brotli,
    /// `gzip`
    Gzip,
}

impl ContentCoding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// The codings that a client accepts, each with its weight in thousandths,
    /// above zero (RFC 9110 §12.5.3), in the order of the header.
    pub fn parse_accept_encoding(headers: &HeaderMap) -> Vec<(u32, Self)> {
        let lines = headers.get_all(ACCEPT_ENCODING).iter();
        let lines = lines.filter_map(|line| line.to_str().ok());
        let offers = lines.flat_map(|line| line.split(',')).filter_map(|offer| {
            let mut parts = offer.split(';').map(str::trim);
            let coding = Self::from_name(parts.next().unwrap_or_default())?;
            let weight =
                parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let weight = match weight.map(str::parse::<f32>) {
                None => 1000,
                Some(Ok(q)) if (0.0..=1.0).contains(&q) => (q * 1000.0) as u32,
                Some(_) => 0,
            };
            (weight > 0).then_some((weight, coding))
        });
        offers.collect()
    }

    fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|one| name.eq_ignore_ascii_case(one.name()))
    }

    /// As `Content-Encoding` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// Whether things of this media type shrink: text, and what is like it. All else
/// is packed already. Event streams do not bear waiting.
pub fn is_compressible(media_type: &str) -> bool {
    let kind = media_type.split(';').next().unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    let text = kind.starts_with("text/") && kind != "text/event-stream";
    text || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || COMPRESSIBLE_TYPES.contains(&kind.as_str())
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

/// Says that the answer depends on what the client accepts (RFC 9110 §12.5.5).
pub fn add_vary(headers: &mut HeaderMap) {
    let said = headers.get_all(VARY).iter();
    let mut said = said.filter_map(|value| value.to_str().ok());
    let known = said.any(|value| {
        let mut names = value.split(',').map(str::trim);
        names.any(|name| name == "*" || name.eq_ignore_ascii_case("accept-encoding"))
    });
    if !known {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_in_thousandths() {
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
