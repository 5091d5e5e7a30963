//! A connection to php-fpm, for one request.
//!
//! php-fpm could keep it for more, but then it would occupy one of its few processes
//! while it rests; and after `fastcgi_finish_request`, with which Laravel ends every
//! answer, the process goes on with what the script does afterwards, and the next
//! request on the connection would wait for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::BytesMut;
use hyper::{Request, Response};
use tokio::sync::oneshot;

use super::complaints::Complaints;
use super::conversation::Conversation;
use super::{Broken, Script, answer, record};
use crate::body::Body;
use crate::upstream::connector::Stream;

/// One connection that nobody else uses.
#[derive(Debug)]
pub(in crate::upstream) struct Line {
    script: Arc<Script>,
    server: Arc<str>,
    /// None once the request is on it.
    stream: Option<Stream>,
    /// Closed when the answer has ended.
    answering: Option<oneshot::Receiver<()>>,
    pub(in crate::upstream) heard: Arc<AtomicBool>,
}

impl Line {
    pub(in crate::upstream) fn new(
        stream: Stream,
        heard: Arc<AtomicBool>,
        script: Arc<Script>,
        server: Arc<str>,
    ) -> Self {
        Self {
            script,
            server,
            stream: Some(stream),
            answering: None,
            heard,
        }
    }

    /// The end of its answer, if it has not ended yet and was not given up.
    pub(in crate::upstream) fn end(self) -> Option<oneshot::Receiver<()>> {
        let mut end = self.answering?;
        let under_way = end.try_recv() == Err(oneshot::error::TryRecvError::Empty);
        under_way.then_some(end)
    }

    /// Sends a request, whose body is there as a whole, and waits for the head of
    /// its answer. Dropping this future ends the connection.
    pub(in crate::upstream) async fn exchange(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Body>, Broken> {
        self.heard.store(false, Relaxed);
        let stream = self.stream.take().ok_or(Broken::Ended)?;
        let (parts, body) = request.into_parts();
        let mut output = BytesMut::with_capacity(4096);
        record::begin(&mut output, &self.script.params(&parts));
        let complaints = Complaints::about(Arc::clone(&self.server));
        let conversation = Conversation::new(stream, output, body, complaints);
        let (under_way, end) = oneshot::channel();
        self.answering = Some(end);
        answer::read(conversation, &parts.method, under_way).await
    }
}
