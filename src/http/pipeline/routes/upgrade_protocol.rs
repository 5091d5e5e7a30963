//! Protocols of HTTP upgrades that a route may tunnel.

use hyper::header::HeaderValue;
use serde::Deserialize;

/// A protocol in an `Upgrade` field (RFC 9110 §7.8): `websocket`, or a name with an optional
/// version. Compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct UpgradeProtocol(String);

impl UpgradeProtocol {
    /// Returns `websocket`, the default of a route that tunnels upgrades.
    pub(crate) fn websocket() -> Self {
        Self(WEBSOCKET.to_owned())
    }

    /// Returns whether the protocol is WebSocket, whose handshake the edge can check.
    pub(in crate::http) fn is_websocket(&self) -> bool {
        self.matches(WEBSOCKET)
    }

    /// Returns whether `text` names the protocol.
    pub(in crate::http) fn matches(&self, text: &str) -> bool {
        self.0.eq_ignore_ascii_case(text)
    }

    /// Returns the value of the `Upgrade` field.
    pub(in crate::http) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a protocol is visible ASCII")
    }
}

impl TryFrom<String> for UpgradeProtocol {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_token = |part: &str| !part.is_empty() && part.bytes().all(is_token_byte);
        let parts: Vec<_> = text.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_token(part)) {
            return Err(format!(
                "{text:?} is no protocol of an Upgrade header; expected \"websocket\" or a \
                 name and a version such as \"example/1.0\""
            ));
        }
        let name = text.to_ascii_lowercase();
        if text.contains('*') {
            return Err(format!(
                "{text:?} is a pattern, which is never matched; list each protocol"
            ));
        }
        if name.starts_with("websocket/") {
            return Err(format!("{text:?} has no version; expected \"websocket\""));
        }
        if FORBIDDEN_PREFIXES
            .iter()
            .any(|start| name.starts_with(start))
        {
            return Err(format!(
                "{text:?} is never tunnelled: clients would send requests through it that no \
                 route, limit or log sees; leave it out"
            ));
        }
        Ok(Self(text))
    }
}

/// Returns whether `byte` may occur in a token (RFC 9110 §5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const WEBSOCKET: &str = "websocket";
/// Prefixes of HTTP itself and of protocols that can carry it.
const FORBIDDEN_PREFIXES: [&str; 6] = ["http", "h2", "h3", "spdy", "tls", "ssl"];

#[cfg(test)]
mod tests {
    use super::*;

    fn protocol(text: &str) -> Result<UpgradeProtocol, String> {
        UpgradeProtocol::try_from(text.to_owned())
    }

    #[test]
    fn protocol_is_a_token_with_or_without_a_version() {
        assert!(protocol("WebSocket").unwrap().is_websocket());
        assert!(protocol("example/1.0").unwrap().matches("Example/1.0"));
        for wrong in ["", "a b", "a,b", "a/", "/1", "a/1/2", "a\r\nb", "é"] {
            let error = protocol(wrong).unwrap_err();
            assert!(error.contains("no protocol"), "{error}");
        }
    }

    #[test]
    fn protocol_that_would_never_fit_is_rejected_with_the_cure() {
        for (wrong, cure) in [
            ("*", "list each protocol"),
            ("example/*", "list each protocol"),
            ("websocket/13", "expected \"websocket\""),
            ("WebSocket/13", "expected \"websocket\""),
        ] {
            assert!(protocol(wrong).unwrap_err().contains(cure), "{wrong}");
        }
    }

    #[test]
    fn protocol_that_carries_requests_is_rejected() {
        for wrong in [
            "h2c", "H2C", "h2", "h3", "HTTP/2.0", "http/3", "HTTP", "TLS/1.0", "tls", "SPDY/3.1",
        ] {
            let error = protocol(wrong).unwrap_err();
            assert!(error.contains("never tunnelled"), "{error}");
        }
    }
}
