//! The name of one request, by which a line in our log and one in Laravel's are
//! found together, and which an error page tells its reader.

use std::fmt;

use hyper::header::HeaderValue;

/// A request's name: visible, short, and safe to print anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// A new one. Unlikely to be met twice; not a secret.
    pub fn new() -> Self {
        let mut name = [0; 32];
        let bits = fastrand::u128(..).to_ne_bytes();
        for (digits, byte) in name.chunks_exact_mut(2).zip(bits) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 15)];
        }
        Self(HeaderValue::from_bytes(&name).expect("hexadecimal digits are visible ASCII"))
    }

    /// The one that a trusted proxy gave, if it is harmless.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:=+/@".contains(&b);
        let sane = (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(plain);
        let value = sane.then(|| HeaderValue::from_str(text).ok());
        value.flatten().map(Self)
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// As a header's value.
    pub fn header(&self) -> HeaderValue {
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
    fn only_harmless_names_are_taken_over() {
        assert!(RequestId::parse("7b7d4c1e-2f0a_1.x").is_some());
        let long = "a".repeat(129);
        for wrong in ["", "a b", "<b>", "a\u{202e}", "\"", long.as_str()] {
            assert_eq!(RequestId::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn each_request_has_its_own() {
        assert_ne!(RequestId::new(), RequestId::new());
        assert_eq!(RequestId::new().to_string().len(), 32);
    }
}
