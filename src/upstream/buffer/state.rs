//! The state of one buffered response between application and client, under its lock.

use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

use super::MAX_MEMORY_BYTES;
use super::blocked_responses::{Blocked, BlockedResponses, Cause, GivenUp, MIN_PROGRESS_BYTES};
use super::file::{Chunk, TemporaryFile};
use crate::core::body::{self, Body};
use crate::upstream::byte_quota::Reservation;

type PolledFrame = Poll<Option<Result<Frame<Bytes>, body::Error>>>;

/// The state of one response. The response passes straight through until a pump takes over,
/// and then goes through memory and file until its end.
///
/// Order of the bytes: those in the file come first, then those on their way to it
/// (`writing`), then those in memory, then those still at the application, and last `end`.
/// The client must never read memory while `writing` is not 0 or the file is not drained.
#[derive(Debug)]
pub(super) struct State {
    /// The application's body; `None` once it has ended or the client has left. Dropping it
    /// frees the connection and the request's permit.
    pub(super) upstream: Option<Body>,
    /// The client waits for the application, so it is not slow.
    pub(super) is_client_waiting: bool,
    /// The response is among the candidates for a pump.
    pub(super) is_candidate: bool,
    /// A pump polls the application, or the response has been given up. Never reset.
    pub(super) is_pumped: bool,
    /// The client has left.
    is_closed: bool,
    memory: BytesMut,
    file: Option<TemporaryFile>,
    /// The number of bytes that a write is moving from memory to the file.
    writing: usize,
    /// The trailers, or the error that ended the response; they come after all bytes.
    end: Option<Result<Frame<Bytes>, body::Error>>,
    reservation: Option<Reservation>,
    /// The time when the client last completed [`MIN_PROGRESS_BYTES`], and the bytes that it
    /// has read since.
    last_progress: Option<Instant>,
    bytes_since_progress: usize,
    /// Set while the application waits for the client.
    blocked: Option<Blocked>,
    /// The client's task. The pump wakes it after every change that gives it something to
    /// do, and `give_up` does.
    client: Option<Waker>,
    /// The pump's task. The application's body wakes it for data; the client wakes it for
    /// room and when it leaves.
    pump: Option<Waker>,
    /// The pump waits for room and not for data, so that the client wakes it for that only.
    is_pump_waiting_for_room: bool,
}

/// The source of the client's next frame.
pub(super) enum Next {
    /// The frame, or the reason to wait.
    Polled(PolledFrame),
    /// A part of the file, which the client must read without the lock.
    Disk(Chunk),
}

/// The reason why the pump has stopped reading.
pub(super) enum Fill {
    /// The memory is full.
    Full,
    /// The application's response has ended. A part is in the file, and the rest in memory
    /// belongs there, too.
    Rest,
    /// There is nothing left to do.
    Ended,
}

impl State {
    /// Creates the state of a response that passes straight through.
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
            reservation: None,
            last_progress: None,
            bytes_since_progress: 0,
            blocked: None,
            client: None,
            pump: None,
            is_pump_waiting_for_room: false,
        }
    }

    /// Switches from passing through to the pump, which then polls the application alone.
    pub(super) fn begin_pump(&mut self, reservation: Reservation) {
        self.is_pumped = true;
        self.reservation = Some(reservation);
        // hyper may have taken earlier bytes into its own buffers without the client having
        // read any, so they do not count as progress.
        (self.last_progress, self.bytes_since_progress) = (None, 0);
    }

    /// Records that the application waits for the client, since there is no room.
    ///
    /// # Errors
    /// Returns [`GivenUp`] if the application must not wait (any longer). The response has
    /// been given up then, and the application's connection is closed.
    pub(super) fn block(&mut self, all: &BlockedResponses, cause: Cause) -> Result<(), GivenUp> {
        if self.is_closed {
            return Ok(());
        }
        let blocked = self.blocked.get_or_insert_with(|| all.enter(cause));
        blocked
            .check(self.last_progress)
            .inspect_err(|_| self.give_up())
    }

    /// Records that the client has read `length` bytes.
    fn record_progress(&mut self, length: usize) {
        self.bytes_since_progress += length;
        if self.bytes_since_progress >= MIN_PROGRESS_BYTES {
            self.bytes_since_progress = 0;
            self.last_progress = Some(Instant::now());
        }
    }

    /// Records that the application no longer waits for the client.
    pub(super) fn unblock(&mut self) {
        self.blocked = None;
    }

    /// Ends the response with an error after the bytes that are buffered, so that the client
    /// cannot take it for complete.
    fn give_up(&mut self) {
        self.is_pumped = true;
        self.upstream = None;
        self.blocked = None;
        self.end = Some(Err(GivenUp.into()));
        self.wake_client();
    }

    /// Returns the next frame for the client, or where to read it. Registers the client's
    /// waker if there is nothing yet.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Next {
        if !self.is_pumped {
            return Next::Polled(self.poll_upstream(cx));
        }
        if let Some(chunk) = self.file.as_ref().and_then(TemporaryFile::next) {
            return Next::Disk(chunk);
        }
        if self.writing == 0 {
            if !self.memory.is_empty() {
                let data = std::mem::take(&mut self.memory).freeze();
                self.record_progress(data.len());
                self.wake_for_room();
                return Next::Polled(Poll::Ready(Some(Ok(Frame::data(data)))));
            }
            if self.upstream.is_none() {
                return Next::Polled(Poll::Ready(self.end.take()));
            }
        }
        self.client = Some(cx.waker().clone());
        Next::Polled(Poll::Pending)
    }

    /// Polls the application for the client. While this returns `Pending` the client is not
    /// slow: hyper polls again when the application wakes it.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> PolledFrame {
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
            self.record_progress(frame.data_ref().map_or(0, Bytes::len));
        }
        if is_ended {
            self.upstream = None;
        }
        polled
    }

    /// Reads from the application for the pump, as long as there is room in memory. Wakes the
    /// client for every frame.
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
                // This frees the connection and the request's permit at once.
                self.upstream = None;
            }
            self.wake_client();
        }
    }

    /// Waits for the pump until the client has emptied the memory, or has left.
    pub(super) fn poll_room(&mut self, pump: &Waker) -> Poll<()> {
        if self.memory.is_empty() || self.is_closed {
            return Poll::Ready(());
        }
        self.pump = Some(pump.clone());
        self.is_pump_waiting_for_room = true;
        Poll::Pending
    }

    /// Returns whether the response has a file.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Sets the file that the pump has created, unless the client has left meanwhile.
    pub(super) fn open(&mut self, file: TemporaryFile) {
        if !self.is_closed {
            self.file = Some(file);
        }
    }

    /// Takes the bytes in memory, to be written to the file, which may grow to `size` bytes.
    /// Returns `None` if they do not fit, there are none, or the client has left.
    /// [`Self::end_write`] must follow.
    ///
    /// # Errors
    /// Returns an error that wraps `NoRoom` if the disk budget or the client's share of it is
    /// exhausted.
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

    /// Records the end of a write and wakes the client. If it failed, its bytes go back to
    /// memory, where nothing has been added: only the pump adds, and it waits for the write.
    pub(super) fn end_write(&mut self, data: Bytes, is_written: bool) {
        self.writing = 0;
        // The file is gone if the client has left.
        if let Some(file) = &mut self.file {
            file.end_write(data.len(), is_written);
            if !is_written {
                self.memory = BytesMut::from(data);
            }
        }
        self.wake_client();
    }

    /// Records that the client has read `length` bytes of the file. Closes the file if it is
    /// drained and nothing is being written to it.
    pub(super) fn consume_file(&mut self, length: usize) {
        self.record_progress(length);
        if let Some(file) = &mut self.file {
            file.advance(length);
            if file.is_drained() && self.writing == 0 {
                self.file = None;
            }
        }
    }

    /// Frees everything and wakes the pump, which then ends: the client has left, or the
    /// response is complete.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.upstream = None;
        self.memory = BytesMut::new();
        self.file = None;
        self.end = None;
        self.reservation = None;
        self.blocked = None;
        if let Some(pump) = self.pump.take() {
            pump.wake();
        }
    }

    /// Returns the number of bytes that are buffered and not read.
    fn buffered(&self) -> u64 {
        let on_disk = self.file.as_ref().map_or(0, TemporaryFile::unread);
        on_disk + (self.writing + self.memory.len()) as u64
    }

    /// Returns whether the client has read everything.
    pub(super) fn is_end_stream(&self) -> bool {
        let has_ended = |upstream: &Body| upstream.is_end_stream();
        self.upstream.as_ref().is_none_or(has_ended) && self.end.is_none() && self.buffered() == 0
    }

    /// Returns the size of the rest of the response, as far as it is known.
    pub(super) fn size_hint(&self) -> SizeHint {
        let buffered = self.buffered();
        let rest = match (&self.upstream, &self.end) {
            (Some(upstream), _) => upstream.size_hint(),
            // The buffered part of an aborted response must not look complete.
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
