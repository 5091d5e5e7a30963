//! One upload: how far it is, and who holds it. Shared by the session that has
//! it, the task that drives its request, and the bytes on their way.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Bytes;
use tokio_util::sync::CancellationToken;

use super::outcome::{Outcome, Reason};
use super::settings::Settings;
use crate::core::ids::{RoomName, SessionId};

/// An upload.
#[derive(Debug)]
pub(in crate::ws) struct Upload {
    /// As its client calls it.
    pub(in crate::ws) id: Box<str>,
    /// Of which ticket.
    pub(in crate::ws) room: RoomName,
    pub(super) size: u64,
    chunk_size: u64,
    window: u64,
    state: Mutex<State>,
    /// Rings for the driver when a deadline may have come nearer.
    pub(super) changed: Notify,
    /// Cancelled when there is an outcome.
    pub(super) ended: CancellationToken,
    /// Cancelled when the outcome was told.
    pub(super) told: CancellationToken,
}

#[derive(Debug)]
struct State {
    holder: Option<Holder>,
    /// To the request's body; none once the last chunk is there, or it is over.
    chunks: Option<mpsc::Sender<Bytes>>,
    /// Bytes taken from the client.
    accepted: u64,
    /// Bytes that have left for Laravel.
    passed: u64,
    /// Whether the end of the form has left, too.
    sealed: bool,
    /// When something moved or the holder changed.
    moved: Instant,
    outcome: Option<Arc<Outcome>>,
}

/// The session that has an upload, and how to wake it.
#[derive(Clone, Debug)]
struct Holder {
    session: SessionId,
    bell: Arc<Notify>,
}

/// What a session sees of an upload of its.
#[derive(Debug)]
pub(in crate::ws) enum UploadProgress {
    /// Another session has taken it.
    TakenOver,
    /// It goes on; so many bytes have left for Laravel.
    Running(u64),
    /// It is over.
    Ended(Arc<Outcome>),
}

impl Upload {
    /// An upload that nobody holds yet, and where its chunks come out.
    pub(super) fn new(
        id: Box<str>,
        room: RoomName,
        size: u64,
        settings: &Settings,
    ) -> (Self, mpsc::Receiver<Bytes>) {
        let (chunk, window) = (settings.chunk_size.get(), settings.window.get());
        // All chunks are of one length, so no more than these fit into a window.
        let (sender, receiver) = mpsc::channel(window / chunk + 1);
        let state = State {
            holder: None,
            chunks: (size > 0).then_some(sender),
            accepted: 0,
            passed: 0,
            sealed: false,
            moved: Instant::now(),
            outcome: None,
        };
        let upload = Self {
            id,
            room,
            size,
            chunk_size: chunk as u64,
            window: window as u64,
            state: Mutex::new(state),
            changed: Notify::new(),
            ended: CancellationToken::new(),
            told: CancellationToken::new(),
        };
        (upload, receiver)
    }

    /// The bytes of each binary frame but the last, and how many may be on their way.
    pub(in crate::ws) fn chunk_and_window(&self) -> (u64, u64) {
        (self.chunk_size, self.window)
    }

    /// Gives the upload to a session, which `bell` wakes; whoever had it has it
    /// no longer. Returns where to go on, and how much has left for Laravel.
    pub(in crate::ws) fn attach(&self, session: SessionId, bell: &Arc<Notify>) -> (u64, u64) {
        let mut state = self.state.lock();
        if let Some(before) = state.holder.take() {
            before.bell.notify_one();
        }
        state.moved = Instant::now();
        state.holder = Some(Holder {
            session,
            bell: Arc::clone(bell),
        });
        bell.notify_one();
        (state.accepted, state.passed)
    }

    /// The session is gone; the upload waits for another.
    pub(in crate::ws) fn detach(&self, session: SessionId) {
        let mut state = self.state.lock();
        if state.is_held_by(session) {
            state.holder = None;
            state.moved = Instant::now();
            self.changed.notify_one();
        }
    }

    /// Takes bytes from the session; whatever is wrong with them ends the upload.
    /// Never waits: the client may send no more than there is room for.
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
                state.moved = Instant::now();
                if state.accepted == self.size {
                    state.chunks = None;
                }
            }
            Some(Err(mpsc::error::TrySendError::Full(_))) => {
                self.settle_locked(state, Reason::TooFast.into());
            }
            // The request is over; its driver is about to tell why.
            Some(Err(mpsc::error::TrySendError::Closed(_))) | None => {}
        }
    }

    fn check_chunk(&self, state: &State, offset: u64, length: u64) -> Result<(), Reason> {
        if offset != state.accepted && offset < self.size {
            return Err(Reason::WrongOffset);
        }
        let wanted = self.chunk_size.min(self.size - state.accepted);
        if offset >= self.size || length > wanted {
            return Err(Reason::TooMuch);
        }
        if length < wanted {
            return Err(Reason::TooLittle);
        }
        // The last chunk is short, and needs no more room than a whole one.
        if state.accepted + wanted > state.passed + self.window {
            return Err(Reason::TooFast);
        }
        Ok(())
    }

    /// What the session should tell its client.
    pub(in crate::ws) fn progress(&self, session: SessionId) -> UploadProgress {
        let state = self.state.lock();
        match &state.outcome {
            _ if !state.is_held_by(session) => UploadProgress::TakenOver,
            Some(outcome) => UploadProgress::Ended(Arc::clone(outcome)),
            None => UploadProgress::Running(state.passed),
        }
    }

    /// Ends the upload, if it has not ended.
    pub(in crate::ws) fn end(&self, outcome: Outcome) {
        self.settle_locked(self.state.lock(), outcome);
    }

    fn settle_locked(&self, mut state: parking_lot::MutexGuard<'_, State>, outcome: Outcome) {
        if state.outcome.is_some() {
            return;
        }
        state.outcome = Some(Arc::new(outcome));
        state.chunks = None;
        self.ended.cancel();
        state.notify_holder();
    }

    /// Ends the upload for `reason`, unless the whole form has left: then only
    /// Laravel knows how it ends.
    pub(in crate::ws) fn abandon(&self, reason: Reason) {
        let state = self.state.lock();
        if !state.sealed {
            self.settle_locked(state, reason.into());
        }
    }

    /// The client knows the outcome: nobody needs it any more.
    pub(in crate::ws) fn forget(&self) {
        self.told.cancel();
    }

    /// Whether all of it is on its way to Laravel and only the answer is missing.
    pub(in crate::ws) fn is_fully_sent(&self) -> bool {
        let state = self.state.lock();
        state.accepted == self.size && state.outcome.is_none()
    }

    pub(super) fn outcome(&self) -> Option<Arc<Outcome>> {
        self.state.lock().outcome.clone()
    }

    pub(super) fn is_held(&self) -> bool {
        self.state.lock().holder.is_some()
    }

    /// So many bytes have left for Laravel.
    pub(super) fn record_sent(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.passed += bytes;
        state.moved = Instant::now();
        state.notify_holder();
    }

    /// The form's end may leave now; not if the upload has ended otherwise.
    pub(super) fn seal(&self) -> bool {
        let mut state = self.state.lock();
        state.sealed = state.outcome.is_none();
        state.sealed
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.state.lock().sealed
    }

    /// When the upload is given up if nothing moves until then, and why. None
    /// while only Laravel's answer is missing, for which there is a deadline
    /// elsewhere.
    pub(super) fn due(&self, idle: Duration, resume: Duration) -> Option<(Instant, Reason)> {
        let state = self.state.lock();
        if state.passed < state.accepted {
            return Some((state.moved + idle.max(resume), Reason::Unavailable));
        }
        if state.accepted == self.size {
            return None;
        }
        Some(match state.holder {
            Some(_) => (state.moved + idle, Reason::Idle),
            None => (state.moved + resume, Reason::Expired),
        })
    }
}

impl State {
    fn is_held_by(&self, session: SessionId) -> bool {
        let holder = self.holder.as_ref();
        holder.is_some_and(|holder| holder.session == session)
    }

    fn notify_holder(&self) {
        if let Some(holder) = &self.holder {
            holder.bell.notify_one();
        }
    }
}
