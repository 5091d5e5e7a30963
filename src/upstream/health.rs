//! What the requests themselves tell about the app's health.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use super::Error;

/// Whether the last request that could tell was answered.
#[derive(Debug, Default)]
pub struct Health {
    failing: AtomicBool,
    cause: Mutex<String>,
}

impl Health {
    /// Why the app does not answer, if it does not.
    pub fn failure(&self) -> Option<String> {
        self.failing
            .load(Relaxed)
            .then(|| self.cause.lock().clone())
    }

    /// Notes how a request ended. What is a client's fault tells nothing.
    pub(super) fn note(&self, failure: Option<&Error>) {
        match failure {
            None if self.failing.load(Relaxed) => self.failing.store(false, Relaxed),
            None | Some(Error::TooLarge | Error::Client(_)) => {}
            Some(error) => {
                *self.cause.lock() = error.chain();
                self.failing.store(true, Relaxed);
            }
        }
    }
}
