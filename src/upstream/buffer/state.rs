//! What is known of one response between application and client, under its lock.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

use super::MAX_MEMORY_BYTES;
use super::blocked::{Blocked, BlockedResponses, Cause, GivenUp, MIN_TAKEN};
use super::file::TemporaryFile;
use crate::core::body::{self, Body};
use crate::upstream::ledger::DiskReservation;

type Polled = Poll<Option<Result<Frame<Bytes>, body::Error>>>;

/// A response passes straight through until it is pumped, and then by way of memory
/// and file to its end. Bytes in the file come before those in memory.
#[derive(Debug)]
pub(super) struct State {
    /// None once it has ended, or the client has left.
    pub(super) upstream: Option<Body>,
    /// The client waits for the application, not the other way round.
    pub(super) is_client_waiting: bool,
    /// Among the candidates for a pump.
    pub(super) is_candidate: bool,
    pub(super) is_pumped: bool,
    /// The client has left.
    is_closed: bool,
    memory: BytesMut,
    file: Option<TemporaryFile>,
    /// Bytes on their way from memory to the file.
    writing: usize,
    /// Trailers or an error, which come after all bytes.
    end: Option<Result<Frame<Bytes>, body::Error>>,
    room: Option<DiskReservation>,
    /// When the client last took a step of [`MIN_TAKEN`] bytes, and its bytes since.
    moved: Option<Instant>,
    taken: usize,
    /// The application waits for the client.
    blocked: Option<Blocked>,
    client: Option<Waker>,
    pump: Option<Waker>,
    is_pump_waiting_for_room: bool,
}

/// Where the client's next frame comes from.
pub(super) enum Next {
    Here(Polled),
    Disk(Chunk),
}

/// Bytes of a file.
pub(super) struct Chunk {
    pub(super) file: Arc<std::fs::File>,
    pub(super) at: u64,
    pub(super) length: usize,
}

/// Why the pump reads no further.
pub(super) enum Fill {
    /// The memory is full.
    Full,
    /// The application has no more; some of it is in the file, the rest belongs there.
    Rest,
    /// There is nothing more to do.
    Ended,
}

impl State {
    pub(super) fn new(upstream: Body) -> Self {
        Self {
            upstream: Some(upstream),
            is_client_waiting: false,
            is_candidate: true,
            is_pumped: false,
            is_closed: false,
            memory: BytesMut::new(),
            file: None,
            writing: 0,
            end: None,
            room: None,
            moved: None,
            taken: 0,
            blocked: None,
            client: None,
            pump: None,
            is_pump_waiting_for_room: false,
        }
    }

    /// From now on a pump reads from the application.
    pub(super) fn begin_pump(&mut self, room: DiskReservation) {
        self.is_pumped = true;
        self.room = Some(room);
        // What hyper took into its own buffers before is not read by the client.
        (self.moved, self.taken) = (None, 0);
    }

    /// Notes that the application waits for the client, since there is no room.
    ///
    /// # Errors
    /// It must not wait, or no longer: the response has been given up, and lets go of
    /// the application at once.
    pub(super) fn block(&mut self, all: &BlockedResponses, cause: Cause) -> Result<(), GivenUp> {
        if self.is_closed {
            return Ok(());
        }
        let blocked = self.blocked.get_or_insert_with(|| all.enter(cause));
        blocked.check(self.moved).inspect_err(|_| self.give_up())
    }

    /// The client has taken `length` bytes.
    fn note_taken(&mut self, length: usize) {
        self.taken += length;
        if self.taken >= MIN_TAKEN {
            self.taken = 0;
            self.moved = Some(Instant::now());
        }
    }

    /// The application no longer waits for the client.
    pub(super) fn unblock(&mut self) {
        self.blocked = None;
    }

    /// Ends the response after what the client can still be given, and never as if that
    /// was all.
    fn give_up(&mut self) {
        self.is_pumped = true;
        self.upstream = None;
        self.blocked = None;
        self.end = Some(Err(GivenUp.into()));
        self.wake_client();
    }

    /// The next frame for the client.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Next {
        if !self.is_pumped {
            return Next::Here(self.poll_upstream(cx));
        }
        if let Some(chunk) = self.file.as_ref().and_then(TemporaryFile::next) {
            return Next::Disk(chunk);
        }
        if self.writing == 0 {
            if !self.memory.is_empty() {
                let data = std::mem::take(&mut self.memory).freeze();
                self.note_taken(data.len());
                self.wake_for_room();
                return Next::Here(Poll::Ready(Some(Ok(Frame::data(data)))));
            }
            if self.upstream.is_none() {
                return Next::Here(Poll::Ready(self.end.take()));
            }
        }
        self.client = Some(cx.waker().clone());
        Next::Here(Poll::Pending)
    }

    /// hyper comes back whenever it is woken, so a client that waits need not be looked
    /// for.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Polled {
        let Some(upstream) = &mut self.upstream else {
            return Poll::Ready(None);
        };
        let polled = std::pin::Pin::new(&mut *upstream).poll_frame(cx);
        self.is_client_waiting = polled.is_pending();
        let is_ended = match &polled {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(_))) => upstream.is_end_stream(),
            Poll::Ready(_) => true,
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.note_taken(frame.data_ref().map_or(0, Bytes::len));
        }
        if is_ended {
            self.upstream = None;
        }
        polled
    }

    /// Reads what the application gives, as long as there is room in memory.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Fill> {
        loop {
            if self.memory.len() >= MAX_MEMORY_BYTES {
                return Poll::Ready(Fill::Full);
            }
            let Some(upstream) = &mut self.upstream else {
                let is_rest = self.file.is_some() && !self.memory.is_empty();
                return Poll::Ready(if is_rest { Fill::Rest } else { Fill::Ended });
            };
            let Poll::Ready(next) = std::pin::Pin::new(&mut *upstream).poll_frame(cx) else {
                self.pump = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let mut is_ended = upstream.is_end_stream();
            match next.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.memory.extend_from_slice(&data),
                Some(Ok(Err(trailers))) => self.end = Some(Ok(trailers)),
                Some(Err(error)) => {
                    self.end = Some(Err(error));
                    is_ended = true;
                }
                None => is_ended = true,
            }
            if is_ended {
                // With it goes its connection, and its place among the requests.
                self.upstream = None;
            }
            self.wake_client();
        }
    }

    /// Waits until the client has taken what is in memory, or has left.
    pub(super) fn poll_room(&mut self, pump: &Waker) -> Poll<()> {
        if self.memory.is_empty() || self.is_closed {
            return Poll::Ready(());
        }
        self.pump = Some(pump.clone());
        self.is_pump_waiting_for_room = true;
        Poll::Pending
    }

    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// The pump has opened a file.
    pub(super) fn open(&mut self, file: TemporaryFile) {
        if !self.is_closed {
            self.file = Some(file);
        }
    }

    /// Takes what is in memory to write it to the file, `size` bytes of which may be
    /// used. None if that is too little, there is nothing, or the client has left.
    ///
    /// # Errors
    /// There is no room among all responses on disk, or all of the client's.
    pub(super) fn begin_write(&mut self, size: u64) -> std::io::Result<Option<(Chunk, Bytes)>> {
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        let length = self.memory.len();
        if length == 0 || file.end() + length as u64 > size {
            return Ok(None);
        }
        let chunk = file.extend(length)?;
        self.writing = length;
        Ok(Some((chunk, std::mem::take(&mut self.memory).freeze())))
    }

    /// The end of a write. If it failed, its bytes are in memory again.
    pub(super) fn end_write(&mut self, data: Bytes, is_written: bool) {
        self.writing = 0;
        // None once the client has left.
        if let Some(file) = &mut self.file {
            file.end_write(data.len(), is_written);
            if !is_written {
                self.memory = BytesMut::from(data);
            }
        }
        self.wake_client();
    }

    /// The client has `length` bytes more of the file, which is closed if these were
    /// the last.
    pub(super) fn taken(&mut self, length: usize) {
        self.note_taken(length);
        if let Some(file) = &mut self.file {
            file.taken(length);
            if file.is_drained() && self.writing == 0 {
                self.file = None;
            }
        }
    }

    /// Lets go of everything: the client has left, or has all.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.upstream = None;
        self.memory = BytesMut::new();
        self.file = None;
        self.end = None;
        self.room = None;
        self.blocked = None;
        if let Some(pump) = self.pump.take() {
            pump.wake();
        }
    }

    fn buffered(&self) -> u64 {
        let on_disk = self.file.as_ref().map_or(0, TemporaryFile::unread);
        on_disk + (self.writing + self.memory.len()) as u64
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let has_ended = |upstream: &Body| upstream.is_end_stream();
        self.upstream.as_ref().is_none_or(has_ended) && self.end.is_none() && self.buffered() == 0
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let buffered = self.buffered();
        let rest = match (&self.upstream, &self.end) {
            (Some(upstream), _) => upstream.size_hint(),
            // What has come must not be taken for the whole.
            (None, Some(Err(_))) => SizeHint::default(),
            (None, _) => SizeHint::with_exact(0),
        };
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(buffered));
        }
        hint.set_lower(rest.lower().saturating_add(buffered));
        hint
    }

    fn wake_client(&mut self) {
        if let Some(client) = self.client.take() {
            client.wake();
        }
    }

    fn wake_for_room(&mut self) {
        if std::mem::take(&mut self.is_pump_waiting_for_room)
            && let Some(pump) = self.pump.take()
        {
            pump.wake();
        }
    }
}
