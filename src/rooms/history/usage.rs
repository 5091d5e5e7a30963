//! The use of memory and disk by the history, for the status and the metrics.

use std::fmt;
use std::path::PathBuf;

use prometheus_client::metrics::counter::ConstCounter;

use crate::core::position::Position;
use crate::metrics::FamilyEncoder;

/// The kept events, and the memory and the disk that they use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HistoryUsage {
    /// The number of events in memory.
    pub(crate) events: usize,
    /// Their memory in bytes.
    pub(crate) memory_bytes: usize,
    /// The position of the newest event.
    pub(crate) position: Position,
    /// The number of lost sessions whose clients may return without a position.
    pub(crate) parked_sessions: usize,
    /// The event log, if there is one.
    pub(crate) log: Option<LogUsage>,
}

/// The disk space and the health of the event log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogUsage {
    /// The directory.
    pub(crate) directory: PathBuf,
    /// Its length in bytes.
    pub(crate) bytes: u64,
    /// The number of events that were delivered but not stored.
    pub(crate) unstored: u64,
    /// Whether the last write has failed, or the log has stopped.
    pub(crate) is_failing: bool,
    /// The failure, with its file; empty if there was none.
    pub(crate) failure: String,
    /// Whether the log is not written any more.
    pub(crate) is_stopped: bool,
}

impl HistoryUsage {
    /// Writes the metrics.
    pub(in crate::rooms) fn encode(&self, families: &mut FamilyEncoder<'_>) -> fmt::Result {
        families.encode_gauge(
            "history_events",
            "Events kept in memory",
            self.events as u64,
        )?;
        families.encode_gauge(
            "history_memory_bytes",
            "Memory of the events kept in memory",
            self.memory_bytes as u64,
        )?;
        families.encode_gauge(
            "history_parked_sessions",
            "Lost sessions whose clients may return without a position",
            self.parked_sessions as u64,
        )?;
        let Some(log) = &self.log else {
            return Ok(());
        };
        families.encode(
            "event_log_unstored",
            "Events that were delivered but not stored",
            &ConstCounter::new(log.unstored),
        )?;
        families.encode_gauge("event_log_bytes", "Length of the event log", log.bytes)?;
        families.encode_gauge(
            "event_log_failing",
            "Whether the last write to the event log has failed",
            u64::from(log.is_failing),
        )
    }
}
