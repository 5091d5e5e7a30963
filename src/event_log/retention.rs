//! Retention: deletes old segments, by age and by the length of the log.

use std::io;
use std::time::SystemTime;

use super::EventLog;
use super::segment::{ActiveSegment, OldSegment};
use crate::core::error_chain::error_chain;

impl EventLog {
    /// Deletes whole segments, oldest first, while all their events are older than `max_age` or
    /// the log is longer than `max_bytes`. The segment being written stays; if it has events of
    /// half of `max_age`, a new one begins, so that the events of a quiet site expire too.
    ///
    /// `now` is compared with the times of the records. A segment with a time in the future is
    /// not old: a clock that was set back deletes nothing early.
    ///
    /// A failure is logged and retried at the next call.
    pub(crate) fn enforce_retention(&mut self, now: SystemTime) {
        let begun = self.begin_segment_if_old(now);
        let deleted = self.delete_old_segments(now);
        let result = begun.and(deleted);
        if let Err(error) = &result
            && !self.has_cleanup_failed
        {
            tracing::warn!(
                name: "event_log_cleanup_failed",
                directory = %self.directory.display(),
                error = error_chain(error),
                "event log cleanup failed"
            );
        }
        self.has_cleanup_failed = result.is_err();
    }

    fn begin_segment_if_old(&mut self, now: SystemTime) -> io::Result<()> {
        let max_age = self.limits.max_age / 2;
        let is_old = |active: &ActiveSegment| {
            active.times.is_some_and(|(oldest, _)| {
                now.duration_since(oldest).is_ok_and(|age| age > max_age)
            })
        };
        if self.active.as_ref().is_some_and(is_old) {
            self.roll()?;
        }
        Ok(())
    }

    fn delete_old_segments(&mut self, now: SystemTime) -> io::Result<()> {
        let max_age = self.limits.max_age;
        let is_old = |segment: &OldSegment| {
            now.duration_since(segment.newest)
                .is_ok_and(|age| age > max_age)
        };
        while let Some(oldest) = self.old.front()
            && (is_old(oldest) || self.bytes() > self.limits.max_bytes)
        {
            match std::fs::remove_file(&oldest.path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            self.old.pop_front();
            self.flush.is_directory_synced = false;
        }
        Ok(())
    }
}
