//! Request ids (`X-Request-Id`). The id appears in the access log, in the upstream request,
//! in the response, and on error pages, and so links the entries of one request.

use std::fmt;

use hyper::header::HeaderValue;

/// The id of one request: 1 to 128 characters of visible ASCII that are safe in logs, HTML
/// and JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// Returns a new random id of 128 bits, in 32 hexadecimal digits. It is practically
    /// unique, but not a secret.
    pub(crate) fn new() -> Self {
        let mut id = [0; 32];
        let bits = fastrand::u128(..).to_ne_bytes();
        for (digits, byte) in id.chunks_exact_mut(2).zip(bits) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(HeaderValue::from_bytes(&id).expect("hexadecimal digits are visible ASCII"))
    }

    /// Returns the id that a trusted proxy has sent, or `None` if its length or one of its
    /// characters is not allowed.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:=+/@".contains(&b);
        let is_valid = (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(is_plain);
        let value = is_valid.then(|| HeaderValue::from_str(text).ok());
        value.flatten().map(Self)
    }

    /// Returns the id as text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// Returns the value of `X-Request-Id`.
    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const MAX_ID_BYTES: usize = 128;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_id_with_unsafe_characters_is_rejected() {
        assert!(RequestId::parse("7b7d4c1e-2f0a_1.x").is_some());
        let long = "a".repeat(129);
        for wrong in ["", "a b", "<b>", "a\u{202e}", "\"", long.as_str()] {
            assert_eq!(RequestId::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn new_request_ids_are_unique() {
        assert_ne!(RequestId::new(), RequestId::new());
        assert_eq!(RequestId::new().to_string().len(), 32);
    }
}
