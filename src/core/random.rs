//! Random bytes that no client can guess.

use rustls::crypto::SecureRandom;

/// A source of random bytes: the generator of TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RandomSource(&'static dyn SecureRandom);

impl RandomSource {
    /// Creates a source that draws from the generator of TLS.
    pub(crate) fn new() -> Self {
        Self(rustls::crypto::aws_lc_rs::default_provider().secure_random)
    }

    /// Returns `N` random bytes.
    ///
    /// # Panics
    /// Panics if the system has no randomness; TLS would have failed before.
    pub(crate) fn bytes<const N: usize>(self) -> [u8; N] {
        let mut bytes = [0; N];
        let filled = self.0.fill(&mut bytes);
        filled.expect("the system provides randomness, as TLS has needed it already");
        bytes
    }
}
