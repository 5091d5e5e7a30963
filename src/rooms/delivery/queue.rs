//! The publications that wait for one session, in order and bounded. Plain data.

use std::sync::Arc;

use smallvec::SmallVec;

use super::super::publication::Publication;
use crate::core::ids::RoomName;

/// Publications in the order of their delivery. A batch of one allocates nothing.
pub(crate) type Batch = SmallVec<[Arc<Publication>; 1]>;

/// The send queue of a session.
#[derive(Debug)]
pub(super) struct SendQueue {
    waiting: Batch,
    /// The sizes of `waiting`, added up.
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
}

/// The result of [`SendQueue::push`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Queued,
    /// The publication is ephemeral, and the queue is above half of a bound.
    Dropped,
    /// The publication does not fit.
    Overflow,
}

impl SendQueue {
    /// Creates a queue of at most `max_events` publications and `max_bytes` bytes.
    pub(super) fn new(max_events: usize, max_bytes: usize) -> Self {
        Self {
            waiting: Batch::new(),
            bytes: 0,
            max_events,
            max_bytes,
        }
    }

    /// Adds `publication` if it fits. One publication alone always does: its size was checked
    /// on arrival.
    pub(super) fn push(&mut self, publication: &Arc<Publication>) -> Admission {
        let (events, bytes) = (self.waiting.len() + 1, self.bytes + publication.size());
        if publication.is_ephemeral()
            && (events > self.max_events / 2 || bytes > self.max_bytes / 2)
        {
            return Admission::Dropped;
        }
        if events > self.max_events || (bytes > self.max_bytes && !self.waiting.is_empty()) {
            return Admission::Overflow;
        }
        self.waiting.push(Arc::clone(publication));
        self.bytes = bytes;
        Admission::Queued
    }

    /// Takes everything, and keeps no memory for it.
    pub(super) fn take(&mut self) -> Batch {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Drops what is queued from `room`.
    pub(super) fn forget(&mut self, room: &RoomName) {
        self.waiting.retain(|waiting| waiting.room() != room);
        self.bytes = self.waiting.iter().map(|waiting| waiting.size()).sum();
    }

    /// Returns the number of publications.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns whether so much more fits into half of the bounds.
    pub(super) fn has_space_for(&self, events: usize, bytes: usize) -> bool {
        self.waiting.len() + events <= self.max_events / 2
            && self.bytes + bytes <= self.max_bytes / 2
    }

    /// Returns whether nothing is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns whether more than a quarter of a bound is queued.
    pub(super) fn is_long(&self) -> bool {
        self.waiting.len() > self.max_events / 4 || self.bytes > self.max_bytes / 4
    }
}
