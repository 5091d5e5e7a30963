//! The last warnings and errors, for whoever asks what is wrong.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

/// Keeps the last few. Cheap to clone; clones are one.
#[derive(Clone, Debug, Default)]
pub struct RecentEvents(Arc<Mutex<VecDeque<LoggedEvent>>>);

/// One line of the log.
#[derive(Clone, Debug)]
pub struct LoggedEvent {
    /// When.
    pub at: SystemTime,
    /// `warn` or `error`.
    pub level: &'static str,
    /// The event's id; libraries' events have none.
    pub id: Option<&'static str>,
    /// What the log says, which names no secret.
    pub text: String,
}

impl RecentEvents {
    /// One more; the oldest goes.
    pub fn push(&self, event: LoggedEvent) {
        let mut notes = self.0.lock();
        if notes.len() == MAX_EVENTS {
            notes.pop_front();
        }
        notes.push_back(event);
    }

    /// All that are kept, the newest last.
    pub fn read(&self) -> Vec<LoggedEvent> {
        self.0.lock().iter().cloned().collect()
    }
}

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
