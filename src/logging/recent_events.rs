//! The most recent warnings and errors, which `status` reports.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

/// A ring buffer of the last `MAX_EVENTS` events. Clones are cheap and share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecentEvents(Arc<Mutex<VecDeque<LoggedEvent>>>);

/// A logged warning or error.
#[derive(Clone, Debug)]
pub(crate) struct LoggedEvent {
    /// The time of the event.
    pub(crate) at: SystemTime,
    /// `warn` or `error`.
    pub(crate) level: &'static str,
    /// The event's stable id; `None` for events of libraries.
    pub(crate) id: Option<&'static str>,
    /// The message and the fields. Events never contain secrets.
    pub(crate) text: String,
}

impl RecentEvents {
    /// Appends an event and evicts the oldest if the buffer is full.
    pub(crate) fn push(&self, event: LoggedEvent) {
        let mut notes = self.0.lock();
        if notes.len() == MAX_EVENTS {
            notes.pop_front();
        }
        notes.push_back(event);
    }

    /// Returns copies of all stored events, the newest last.
    pub(crate) fn read(&self) -> Vec<LoggedEvent> {
        self.0.lock().iter().cloned().collect()
    }
}

/// Number of events that are stored.
const MAX_EVENTS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_events_keep_only_the_last() {
        let recent = RecentEvents::default();
        for number in 0..MAX_EVENTS + 2 {
            recent.push(LoggedEvent {
                at: SystemTime::UNIX_EPOCH,
                level: "warn",
                id: None,
                text: number.to_string(),
            });
        }
        let kept = recent.read();
        assert_eq!((kept.len(), kept[0].text.as_str()), (MAX_EVENTS, "2"));
    }
}
