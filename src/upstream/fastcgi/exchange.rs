//! One request on one connection: its body goes while its answer comes.

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

/// Whoever polls for records drives the sending as well, so that neither side
/// waits for the other for ever.
#[derive(Debug)]
pub(super) struct Exchange {
    stream: Stream,
    input: BytesMut,
    output: BytesMut,
    /// What is still to be sent; none once its end is in `output`.
    body: Option<Body>,
    pub(super) stderr: StderrLog,
}

impl Exchange {
    /// `output` begins the request.
    pub(super) fn new(stream: Stream, output: BytesMut, body: Body, stderr: StderrLog) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output,
            body: Some(body),
            stderr,
        }
    }

    /// The next piece of the answer, or how it ended; complaints are told to the
    /// log. Cancel-safe.
    pub(super) fn poll_record(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Record, ExchangeError>> {
        // Once it answers, that it takes no more of the request says nothing.
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

    /// Sends what there is to send, to its end; what is there goes in one write.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        loop {
            let gathered = self.poll_gather(cx);
            if self.output.is_empty() {
                return gathered;
            }
            if let Poll::Ready(Err(error)) = gathered {
                return Poll::Ready(Err(error));
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            self.output.advance(written);
        }
    }

    /// Takes of the body what is there already. Ready once all of it is taken, or
    /// there is enough for a write.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
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

/// What is read, or gathered for a write, at once, in bytes.
const IO_CHUNK_BYTES: usize = 32 * 1024;
