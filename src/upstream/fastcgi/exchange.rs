//! The exchange of one request and its response on one connection, in both directions at
//! once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use hyper::body::Body as _;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::ExchangeError;
use super::record::{self, Record};
use super::stderr::StderrLog;
use crate::core::body::Body;
use crate::upstream::connector::Stream;

/// The exchange of one request. [`Exchange::poll_record`] reads the response and also drives
/// the sending of the request, so that the two sides cannot wait for each other forever.
#[derive(Debug)]
pub(super) struct Exchange {
    stream: Stream,
    input: BytesMut,
    output: BytesMut,
    /// The rest of the request body; `None` once its end is in `output`.
    body: Option<Body>,
    pub(super) stderr: StderrLog,
}

impl Exchange {
    /// Creates an exchange. `output` holds the beginning of the request.
    pub(super) fn new(stream: Stream, output: BytesMut, body: Body, stderr: StderrLog) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output,
            body: Some(body),
            stderr,
        }
    }

    /// Returns the next part of the response, or its end. Logs what PHP writes to standard
    /// error. Cancel-safe.
    ///
    /// # Errors
    /// Returns [`ExchangeError::Ended`] if the connection ends early,
    /// [`ExchangeError::Record`] for malformed data, [`ExchangeError::Body`] if the request
    /// body cannot be read, and [`ExchangeError::Io`] if the connection fails.
    pub(super) fn poll_record(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Record, ExchangeError>> {
        // `Pending` is no reason to wait: the script may respond without reading the rest of
        // the request. The stream's writes never fail (`connector::Stream`).
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        loop {
            match record::take(&mut self.input)? {
                Some(Record::Stderr(text)) => self.stderr.log(&text),
                Some(Record::Other) => {}
                Some(record) => return Poll::Ready(Ok(record)),
                None if ready!(self.poll_read(cx))? == 0 => {
                    return Poll::Ready(Err(ExchangeError::Ended));
                }
                None => {}
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(IO_CHUNK_BYTES);
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input)
    }

    /// Sends the request as far as the socket accepts it. Collects first, so that a short
    /// request takes a single write.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        loop {
            let filled = self.poll_fill_output(cx);
            if self.output.is_empty() {
                return filled;
            }
            if let Poll::Ready(Err(error)) = filled {
                return Poll::Ready(Err(error));
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            self.output.advance(written);
        }
    }

    /// Moves the body's available frames to `output`. Ready once the body has ended or there
    /// is enough for one write.
    fn poll_fill_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        while let Some(body) = &mut self.body
            && self.output.len() < IO_CHUNK_BYTES
        {
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        record::stdin(&mut self.output, &data);
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(ExchangeError::Body(error))),
                None => {
                    record::end_of_stdin(&mut self.output);
                    self.body = None;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The size of one read, and the size from which a write is not delayed, in bytes.
const IO_CHUNK_BYTES: usize = 32 * 1024;
