//! The marks of sessions that wait for the event log. The log's thread takes them before it
//! stores the next events: so the log knows of a session what was true before each event.

use std::sync::OnceLock;
use std::time::SystemTime;

use crate::core::ids::SessionId;
use crate::event_log::{Mark, SessionMark};
use crate::rooms::parked::{LostSession, MAX_ROOMS};
use crate::runtime::sync::Mutex;

/// The queue. Without an event log it takes nothing.
#[derive(Debug, Default)]
pub(in crate::rooms) struct MarkQueue {
    /// Wakes the log's thread.
    waker: OnceLock<Waker>,
    marks: Mutex<Vec<Mark>>,
}

struct Waker(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

impl MarkQueue {
    /// Takes marks from now on, and calls `wake` when the first one waits.
    pub(super) fn open(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.waker.set(Waker(Box::new(wake)));
    }

    /// Queues the state of a session, with the rooms that a start would park.
    pub(in crate::rooms) fn push_session(&self, session: &LostSession, is_lost: bool) {
        if self.waker.get().is_none() {
            return;
        }
        let rooms = &session.rooms;
        let rooms = rooms[rooms.len().saturating_sub(MAX_ROOMS)..].iter();
        let rooms = rooms.map(|(room, offset)| (room.to_string(), *offset));
        self.push(Mark::Session(SessionMark {
            session: session.session.to_bits(),
            is_lost,
            time: SystemTime::now(),
            token: *session.browser.token.digest(),
            agent: *session.browser.agent.as_bytes(),
            user: session.user.to_string(),
            rooms: rooms.collect(),
        }));
    }

    /// Queues that the client of a session has confirmed all events up to `offset`.
    pub(in crate::rooms) fn push_confirmed(&self, session: SessionId, offset: u64) {
        let session = session.to_bits();
        self.push(Mark::Confirmed { session, offset });
    }

    /// Queues that a session cannot be continued any more.
    pub(in crate::rooms) fn push_ended(&self, session: SessionId) {
        let session = session.to_bits();
        self.push(Mark::Ended { session });
    }

    /// Takes all that wait.
    pub(super) fn take(&self) -> Vec<Mark> {
        std::mem::take(&mut self.marks.lock())
    }

    fn push(&self, mark: Mark) {
        let Some(waker) = self.waker.get() else {
            return;
        };
        let mut marks = self.marks.lock();
        // A thread that has ended takes none.
        if marks.len() >= MAX_MARKS {
            marks.clear();
        }
        marks.push(mark);
        let is_first = marks.len() == 1;
        drop(marks);
        if is_first {
            (waker.0)();
        }
    }
}

/// The marks that may wait: far more than come while the log's thread writes.
const MAX_MARKS: usize = 100_000;
