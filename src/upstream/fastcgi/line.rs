//! A connection to php-fpm. Each occupies one of its processes, whether a request
//! is under way or not.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Waker};

use bytes::BytesMut;
use hyper::header::CONNECTION;
use hyper::{Request, Response};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::complaints::Complaints;
use super::conversation::Conversation;
use super::{Broken, Script, answer, record};
use crate::body::Body;
use crate::upstream::connector::Stream;

/// One connection that nobody else uses.
#[derive(Debug)]
pub(in crate::upstream) struct Line {
    script: Script,
    server: Arc<str>,
    state: State,
    pub(in crate::upstream) heard: Arc<AtomicBool>,
    /// Until php-fpm has shown that a process has it.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
enum State {
    Ready(Stream),
    /// An answer is being read; the connection comes back after it.
    Answering(oneshot::Receiver<Stream>),
    Gone,
}

/// A connection that may wait in php-fpm's queue: counted until it is dropped.
#[derive(Debug)]
pub(in crate::upstream) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    pub(in crate::upstream) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Line {
    pub(in crate::upstream) fn new(
        stream: Stream,
        heard: Arc<AtomicBool>,
        script: Script,
        server: Arc<str>,
        waiting: Waiting,
    ) -> Self {
        Self {
            script,
            server,
            state: State::Ready(stream),
            heard,
            waiting: Some(waiting),
        }
    }

    /// Whether another request could be sent now: php-fpm has not closed it.
    pub(in crate::upstream) fn is_ready(&mut self) -> bool {
        if let State::Answering(returned) = &mut self.state {
            match returned.try_recv() {
                Ok(stream) => self.state = State::Ready(stream),
                Err(TryRecvError::Closed) => self.state = State::Gone,
                Err(TryRecvError::Empty) => {}
            }
        }
        let State::Ready(stream) = &mut self.state else {
            return false;
        };
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        let read = Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
        // Nobody speaks there now: what can be read is its end.
        read.is_pending()
    }

    /// Waits until the answer was read to its end. False if the connection is of
    /// no more use.
    pub(in crate::upstream) async fn ready(&mut self) -> bool {
        if let State::Answering(returned) = &mut self.state {
            self.state = match returned.await {
                Ok(stream) => State::Ready(stream),
                Err(_) => State::Gone,
            };
        }
        self.is_ready()
    }

    /// Sends a request, whose body is there as a whole, and waits for the head of
    /// its answer. Dropping this future ends the connection.
    ///
    /// Only requests without a body leave the connection open: what a script does
    /// not read of a body can then not be taken for the next request.
    pub(in crate::upstream) async fn exchange(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Body>, Broken> {
        self.heard.store(false, Relaxed);
        let State::Ready(stream) = std::mem::replace(&mut self.state, State::Gone) else {
            return Err(Broken::Ended);
        };
        let (parts, body) = request.into_parts();
        let keep =
            hyper::body::Body::is_end_stream(&body) && !parts.headers.contains_key(CONNECTION);
        let mut output = BytesMut::with_capacity(4096);
        record::begin(&mut output, keep, &self.script.0.params(&parts));
        let complaints = Complaints::about(Arc::clone(&self.server));
        let conversation = Conversation::new(stream, output, body, complaints);
        let (sender, returned) = oneshot::channel();
        let answer = answer::read(conversation, &parts.method, keep.then_some(sender)).await;
        self.waiting = None;
        self.state = State::Answering(returned);
        answer
    }
}
