//! The state of one upload: its progress, its outcome and the session that has it. It is shared
//! by that session, the task that sends the request, and the chunks on their way.
//!
//! One lock guards it, held for single looks and changes. The session is woken by its own
//! `Notify` for progress and the outcome; the task by `changed`, `ended` and
//! `outcome_delivered`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Bytes;
use tokio_util::sync::CancellationToken;

use super::outcome::{Outcome, Reason};
use super::settings::Settings;
use crate::core::ids::{RowId, SessionId};

/// One upload. Sizes are in bytes.
#[derive(Debug)]
pub(in crate::ws) struct Upload {
    /// The client's id of the upload.
    pub(in crate::ws) id: Box<str>,
    /// The ticket that the file belongs to.
    pub(in crate::ws) ticket: RowId,
    pub(super) size: u64,
    chunk_size: u64,
    window: u64,
    state: Mutex<State>,
    /// Wakes the task when a deadline may have come nearer.
    pub(super) changed: Notify,
    /// Cancelled when there is an outcome.
    pub(super) ended: CancellationToken,
    /// Cancelled when the client has got the outcome.
    pub(super) outcome_delivered: CancellationToken,
}

#[derive(Debug)]
struct State {
    holder: Option<Holder>,
    /// Passes chunks to the body of the request; none after the last chunk or the end.
    chunks: Option<mpsc::Sender<Bytes>>,
    /// The bytes received from the client.
    accepted: u64,
    /// The bytes that have left for Laravel.
    sent: u64,
    /// Whether the end of the form may have left, too.
    sealed: bool,
    /// The time of the last progress or change of the holder.
    last_progress: Instant,
    outcome: Option<Arc<Outcome>>,
}

/// The session that has an upload, and its notification.
#[derive(Clone, Debug)]
struct Holder {
    session: SessionId,
    notify: Arc<Notify>,
}

/// The progress of an upload, for a session.
#[derive(Debug)]
pub(in crate::ws) enum UploadProgress {
    /// Another session has taken it over.
    TakenOver,
    /// It is running, and so many bytes have left for Laravel.
    Running(u64),
    /// It has ended with this outcome.
    Ended(Arc<Outcome>),
}

impl Upload {
    /// Creates an upload that no session has yet; returns it with the receiver of its chunks.
    pub(super) fn new(
        id: Box<str>,
        ticket: RowId,
        size: u64,
        settings: &Settings,
    ) -> (Self, mpsc::Receiver<Bytes>) {
        let (chunk, window) = (settings.chunk_size.get(), settings.window_size.get());
        // All chunks are of one length, so no more than these fit into a window.
        let (sender, receiver) = mpsc::channel(window / chunk + 1);
        let state = State {
            holder: None,
            chunks: (size > 0).then_some(sender),
            accepted: 0,
            sent: 0,
            sealed: false,
            last_progress: Instant::now(),
            outcome: None,
        };
        let upload = Self {
            id,
            ticket,
            size,
            chunk_size: chunk as u64,
            window: window as u64,
            state: Mutex::new(state),
            changed: Notify::new(),
            ended: CancellationToken::new(),
            outcome_delivered: CancellationToken::new(),
        };
        (upload, receiver)
    }

    /// Returns the bytes of each chunk but the last, and the bytes that may be on their way.
    pub(in crate::ws) fn chunk_and_window(&self) -> (u64, u64) {
        (self.chunk_size, self.window)
    }

    /// Gives the upload to a session, which `notify` wakes; the session that had it loses it.
    /// Returns the offset of the next chunk, and the bytes that have left for Laravel.
    pub(in crate::ws) fn attach(&self, session: SessionId, notify: &Arc<Notify>) -> (u64, u64) {
        let mut state = self.state.lock();
        if let Some(previous) = state.holder.take() {
            previous.notify.notify_one();
        }
        state.last_progress = Instant::now();
        state.holder = Some(Holder {
            session,
            notify: Arc::clone(notify),
        });
        notify.notify_one();
        (state.accepted, state.sent)
    }

    /// Takes the upload from a session that ends, if it has it: the upload waits for another.
    pub(in crate::ws) fn detach(&self, session: SessionId) {
        let mut state = self.state.lock();
        if state.is_held_by(session) {
            state.holder = None;
            state.last_progress = Instant::now();
            self.changed.notify_one();
        }
    }

    /// Takes a chunk from the session that has the upload. An invalid one ends the upload.
    /// Never waits: the window leaves room in the channel.
    pub(in crate::ws) fn take(&self, session: SessionId, offset: u64, data: Bytes) {
        let mut state = self.state.lock();
        if !state.is_held_by(session) || state.outcome.is_some() {
            return;
        }
        match self.check_chunk(&state, offset, data.len() as u64) {
            Ok(()) => {}
            Err(reason) => return self.settle_locked(state, reason.into()),
        }
        let length = data.len() as u64;
        let sent = state.chunks.as_ref().map(|chunks| chunks.try_send(data));
        match sent {
            Some(Ok(())) => {
                state.accepted += length;
                state.last_progress = Instant::now();
                if state.accepted == self.size {
                    state.chunks = None;
                }
            }
            Some(Err(mpsc::error::TrySendError::Full(_))) => {
                self.settle_locked(state, Reason::TooFast.into());
            }
            // The request has ended, and its task is about to set the outcome.
            Some(Err(mpsc::error::TrySendError::Closed(_))) | None => {}
        }
    }

    /// Checks a chunk against the position, the chunk size and the window.
    ///
    /// # Errors
    /// `WrongOffset`, `TooMuch`, `TooLittle` or `TooFast`.
    fn check_chunk(&self, state: &State, offset: u64, length: u64) -> Result<(), Reason> {
        if offset != state.accepted && offset < self.size {
            return Err(Reason::WrongOffset);
        }
        let expected = self.chunk_size.min(self.size - state.accepted);
        if offset >= self.size || length > expected {
            return Err(Reason::TooMuch);
        }
        if length < expected {
            return Err(Reason::TooLittle);
        }
        if state.accepted + expected > state.sent + self.window {
            return Err(Reason::TooFast);
        }
        Ok(())
    }

    /// Returns the progress that `session` should report to its client.
    pub(in crate::ws) fn progress(&self, session: SessionId) -> UploadProgress {
        let state = self.state.lock();
        match &state.outcome {
            _ if !state.is_held_by(session) => UploadProgress::TakenOver,
            Some(outcome) => UploadProgress::Ended(Arc::clone(outcome)),
            None => UploadProgress::Running(state.sent),
        }
    }

    /// Ends the upload, unless it has ended: the first outcome counts.
    pub(in crate::ws) fn end(&self, outcome: Outcome) {
        self.settle_locked(self.state.lock(), outcome);
    }

    /// Ends the upload under its lock, and wakes the task and the session.
    fn settle_locked(&self, mut state: parking_lot::MutexGuard<'_, State>, outcome: Outcome) {
        if state.outcome.is_some() {
            return;
        }
        state.outcome = Some(Arc::new(outcome));
        state.chunks = None;
        self.ended.cancel();
        state.notify_holder();
    }

    /// Ends the upload for `reason`, unless the form is sealed: then only Laravel's response
    /// reports the outcome.
    pub(in crate::ws) fn abandon(&self, reason: Reason) {
        let state = self.state.lock();
        if !state.sealed {
            self.settle_locked(state, reason.into());
        }
    }

    /// Records that the client has got the outcome, which ends the task.
    pub(in crate::ws) fn set_outcome_delivered(&self) {
        self.outcome_delivered.cancel();
    }

    /// Returns whether the client has sent the whole file and there is no outcome yet.
    pub(in crate::ws) fn is_fully_sent(&self) -> bool {
        let state = self.state.lock();
        state.accepted == self.size && state.outcome.is_none()
    }

    /// Returns the outcome, if there is one.
    pub(super) fn outcome(&self) -> Option<Arc<Outcome>> {
        self.state.lock().outcome.clone()
    }

    /// Returns whether a session has the upload.
    pub(super) fn is_held(&self) -> bool {
        self.state.lock().holder.is_some()
    }

    /// Records that `bytes` have left for Laravel, and wakes the session.
    pub(super) fn record_sent(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.sent += bytes;
        state.last_progress = Instant::now();
        state.notify_holder();
    }

    /// Seals the form, whose end is about to leave; returns false if the upload has ended. From
    /// then on it cannot be abandoned.
    pub(super) fn seal(&self) -> bool {
        let mut state = self.state.lock();
        state.sealed = state.outcome.is_none();
        state.sealed
    }

    /// Returns whether the form is sealed.
    pub(super) fn is_sealed(&self) -> bool {
        self.state.lock().sealed
    }

    /// Returns the time at which the upload is abandoned without further progress, and the
    /// reason. None while only Laravel's response is missing, which the upstream's timeout
    /// bounds.
    pub(super) fn due(&self, idle: Duration, resume: Duration) -> Option<(Instant, Reason)> {
        let state = self.state.lock();
        if state.sent < state.accepted {
            return Some((state.last_progress + idle.max(resume), Reason::Unavailable));
        }
        if state.accepted == self.size {
            return None;
        }
        Some(match state.holder {
            Some(_) => (state.last_progress + idle, Reason::Idle),
            None => (state.last_progress + resume, Reason::Expired),
        })
    }
}

impl State {
    /// Returns whether `session` has the upload.
    fn is_held_by(&self, session: SessionId) -> bool {
        let holder = self.holder.as_ref();
        holder.is_some_and(|holder| holder.session == session)
    }

    /// Wakes the session that has the upload, if any.
    fn notify_holder(&self) {
        if let Some(holder) = &self.holder {
            holder.notify.notify_one();
        }
    }
}
