//! Trusted headers: the headers of trusted proxies that the edge reads
//! (`server.trusted_headers`).

use hyper::header::HeaderName;
use serde::Deserialize;

use super::{
    X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PORT, X_FORWARDED_PREFIX, X_FORWARDED_PROTO,
    X_REQUEST_ID,
};

/// A header with which a proxy reports its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum TrustedHeader {
    /// `X-Forwarded-For`: the client's address.
    For,
    /// `X-Forwarded-Proto`: whether the client came over TLS.
    Proto,
    /// `X-Forwarded-Host`: the host that the client requested.
    Host,
    /// `X-Forwarded-Port`: the port that the client connected to.
    Port,
    /// `X-Forwarded-Prefix`: the path prefix that the proxy has removed.
    Prefix,
    /// `X-Request-Id`: the id of the request.
    RequestId,
}

impl TrustedHeader {
    /// Returns the name of the header.
    pub(super) fn name(self) -> HeaderName {
        match self {
            Self::For => X_FORWARDED_FOR,
            Self::Proto => X_FORWARDED_PROTO,
            Self::Host => X_FORWARDED_HOST,
            Self::Port => X_FORWARDED_PORT,
            Self::Prefix => X_FORWARDED_PREFIX,
            Self::RequestId => X_REQUEST_ID,
        }
    }

    /// Returns whether every common proxy, Cloudflare included, writes the header itself
    /// and so overwrites what its client has sent.
    pub(super) fn is_set_by_all(self) -> bool {
        matches!(self, Self::For | Self::Proto)
    }
}

impl TryFrom<String> for TrustedHeader {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_named = |header: &Self| header.name().as_str().eq_ignore_ascii_case(&text);
        ALL_TRUSTED_HEADERS
            .into_iter()
            .find(is_named)
            .ok_or_else(|| {
                let names =
                    ALL_TRUSTED_HEADERS.map(|header| format!("{:?}", header.name().as_str()));
                let names = names.join(", ");
                format!("{text:?} is not a header that the edge can accept from a trusted proxy; expected some of {names}")
            })
    }
}

const ALL_TRUSTED_HEADERS: [TrustedHeader; 6] = [
    TrustedHeader::For,
    TrustedHeader::Proto,
    TrustedHeader::Host,
    TrustedHeader::Port,
    TrustedHeader::Prefix,
    TrustedHeader::RequestId,
];

/// The headers of `server.trusted_headers`. By default the two that every proxy writes
/// itself; most proxies pass the others on as their client has sent them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TrustedHeaders(Vec<TrustedHeader>);

impl Default for TrustedHeaders {
    fn default() -> Self {
        Self(vec![TrustedHeader::For, TrustedHeader::Proto])
    }
}

impl TrustedHeaders {
    /// Returns whether `header` is trusted.
    pub(super) fn contains(&self, header: TrustedHeader) -> bool {
        self.0.contains(&header)
    }

    /// Returns whether `X-Forwarded-For` is trusted. Without it, all clients behind a proxy
    /// count as one.
    pub(crate) fn has_client(&self) -> bool {
        self.contains(TrustedHeader::For)
    }

    /// Returns whether a header is trusted that most proxies pass on as their client has
    /// sent it.
    pub(crate) fn exceeds_default(&self) -> bool {
        self.0.iter().any(|header| !header.is_set_by_all())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_read_in_any_case() {
        let header = |text: &str| TrustedHeader::try_from(text.to_owned());
        assert_eq!(header("X-Forwarded-Host"), Ok(TrustedHeader::Host));
        assert_eq!(header("x-request-id"), Ok(TrustedHeader::RequestId));
        for wrong in ["", "forwarded", "x-real-ip", "x-forwarded-*", "host"] {
            let error = header(wrong).unwrap_err();
            assert!(error.contains("\"x-forwarded-prefix\""), "{error}");
        }
    }
}
