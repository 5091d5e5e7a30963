//! The health and the size of the event log, which its threads update.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::usage::LogUsage;
use crate::core::error_chain::error_chain;
use crate::runtime::sync::Mutex;

/// The health and the size of the event log.
#[derive(Debug, Default)]
pub(super) struct LogState {
    /// The length of the log in bytes.
    bytes: AtomicU64,
    /// The number of events that were delivered but not stored.
    unstored: AtomicU64,
    /// Whether the last write has failed.
    is_write_failing: AtomicBool,
    /// Whether the last flush has failed.
    is_flush_failing: AtomicBool,
    /// Whether the log is not written any more.
    is_stopped: AtomicBool,
    /// The last failure, with its file.
    failure: Mutex<String>,
}

impl LogState {
    /// Sets the length of the log.
    pub(super) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Counts `events` that were delivered but not stored.
    pub(super) fn count_unstored(&self, events: u64) {
        self.unstored.fetch_add(events, Ordering::Relaxed);
    }

    /// Records the result of a write.
    pub(super) fn record_write(&self, result: &io::Result<()>) {
        self.record(&self.is_write_failing, result);
    }

    /// Records the result of a flush.
    pub(super) fn record_flush(&self, result: &io::Result<()>) {
        self.record(&self.is_flush_failing, result);
    }

    /// Logs the first failure, and the first success after it.
    fn record(&self, is_failing: &AtomicBool, result: &io::Result<()>) {
        let was_failing = is_failing.swap(result.is_err(), Ordering::Relaxed);
        if let Err(error) = result {
            *self.failure.lock() = error_chain(error);
        }
        match result {
            Err(error) if !was_failing => {
                tracing::error!(
                    name: "event_log_write_failed",
                    error = error_chain(error),
                    "event log write failed"
                );
            }
            Ok(()) if was_failing && !self.is_failing() => {
                tracing::info!(name: "event_log_recovered", "event log writes succeed again");
            }
            _ => {}
        }
    }

    /// Records that the log is not written any more, because of `error`.
    pub(super) fn record_stop(&self, error: &str) {
        if !self.is_stopped.swap(true, Ordering::Relaxed) {
            tracing::error!(name: "event_log_stopped", error, "event log stopped");
        }
    }

    /// Returns whether the log is not written any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Returns whether the last write has failed.
    pub(super) fn is_write_failing(&self) -> bool {
        self.is_write_failing.load(Ordering::Relaxed)
    }

    fn is_failing(&self) -> bool {
        self.is_write_failing() || self.is_flush_failing.load(Ordering::Relaxed)
    }

    /// Returns the size and the health of the log in `directory`.
    pub(super) fn usage(&self, directory: &Path) -> LogUsage {
        let is_stopped = self.is_stopped();
        let is_failing = is_stopped || self.is_failing();
        let failure = is_failing.then(|| self.failure.lock().clone());
        LogUsage {
            directory: directory.to_owned(),
            bytes: self.bytes.load(Ordering::Relaxed),
            unstored: self.unstored.load(Ordering::Relaxed),
            is_failing,
            failure: failure.unwrap_or_default(),
            is_stopped,
        }
    }
}
