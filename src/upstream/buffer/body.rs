//! The client's side of a buffered response: the body that hyper polls for the client's
//! connection. It passes frames on from the application, memory, or the file.

use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use super::Response;
use super::file::Chunk;
use super::state::Next;
use crate::core::body;

/// The body of a response for its client. Dropping it frees the buffers and aborts the
/// response at the application.
#[derive(Debug)]
pub(super) struct BufferedBody {
    response: Arc<Response>,
    /// The read from disk that is in progress.
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

/// The error of a buffered response that cannot be read back from disk.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the response buffer")]
pub(crate) struct ReadBack(#[from] io::Error);

impl BufferedBody {
    /// Creates the body of `response`.
    pub(super) fn new(response: Arc<Response>) -> Self {
        Self {
            response,
            reading: None,
        }
    }
}

impl hyper::body::Body for BufferedBody {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let this = &mut *self;
        loop {
            if let Some(reading) = &mut this.reading {
                let read = ready!(Pin::new(reading).poll(cx));
                this.reading = None;
                let mut state = this.response.state.lock();
                return Poll::Ready(Some(match read.map_err(io::Error::other).flatten() {
                    Ok(data) => {
                        state.consume_file(data.len());
                        Ok(Frame::data(data))
                    }
                    Err(error) => {
                        state.close();
                        Err(ReadBack(error).into())
                    }
                }));
            }
            let mut state = this.response.state.lock();
            match state.poll_next(cx) {
                Next::Disk(chunk) => this.reading = Some(spawn_blocking(|| read(chunk))),
                Next::Polled(polled) => {
                    // The client has got a frame and may not come back for the next. The
                    // state's lock is released before `watch`, which takes the lock of the
                    // candidates: that is never held together with another.
                    let may_block = polled.is_ready() && state.upstream.is_some();
                    if may_block && !state.is_pumped && !state.is_candidate {
                        state.is_candidate = true;
                        drop(state);
                        this.response.buffers.watch(&this.response);
                    }
                    return polled;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.response.state.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.response.state.lock().size_hint()
    }
}

/// Reads `chunk` from its file. Blocks.
fn read(chunk: Chunk) -> io::Result<Bytes> {
    let mut data = vec![0; chunk.length];
    chunk.file.read_exact_at(&mut data, chunk.at)?;
    Ok(data.into())
}

/// Frees the buffers at once, although the candidates or the pump may still hold the response.
impl Drop for BufferedBody {
    fn drop(&mut self) {
        self.response.state.lock().close();
    }
}
