//! The two queues of the scheduler, and which of them hold a session.

/// The queue that a session waits in, by the size of the room that published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueClass {
    /// A room of at most [`BATCH_SIZE`] sessions.
    Small,
    /// A larger room.
    Large,
}

/// The classes in whose queues one session is. A part of its delivery state, so that each
/// scheduler queue holds a session once.
#[derive(Debug, Default)]
pub(super) struct QueueClasses([bool; 2]);

impl QueueClass {
    pub(super) const ALL: [Self; 2] = [Self::Small, Self::Large];

    /// Returns the class of a room with `sessions` sessions.
    pub(super) fn of(sessions: usize) -> Self {
        match sessions {
            ..=BATCH_SIZE => Self::Small,
            _ => Self::Large,
        }
    }
}

impl QueueClasses {
    /// Enters `class`; returns whether the session was not in it.
    pub(super) fn enter(&mut self, class: QueueClass) -> bool {
        !std::mem::replace(&mut self.0[class as usize], true)
    }

    /// Leaves `class`, whether or not the session was in it.
    pub(super) fn leave(&mut self, class: QueueClass) {
        self.0[class as usize] = false;
    }
}

/// The sessions served before the task yields, per class. A room of no more is small.
pub(super) const BATCH_SIZE: usize = 16;
