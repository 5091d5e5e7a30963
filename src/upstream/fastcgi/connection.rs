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

use super::exchange::Exchange;
use super::stderr::StderrLog;
use super::{ExchangeError, Script, record, response};
use crate::core::body::Body;
use crate::upstream::connector::Stream;

/// One connection that nobody else uses.
#[derive(Debug)]
pub(in crate::upstream) struct Connection {
    script: Arc<Script>,
    server: Arc<str>,
    /// None once the request is on it.
    stream: Option<Stream>,
    /// Closed when the answer has ended.
    answering: Option<oneshot::Receiver<()>>,
    pub(in crate::upstream) response_started: Arc<AtomicBool>,
}

impl Connection {
    pub(in crate::upstream) fn new(
        stream: Stream,
        response_started: Arc<AtomicBool>,
        script: Arc<Script>,
        server: Arc<str>,
    ) -> Self {
        Self {
            script,
            server,
            stream: Some(stream),
            answering: None,
            response_started,
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
    ) -> Result<Response<Body>, ExchangeError> {
        self.response_started.store(false, Relaxed);
        let stream = self.stream.take().ok_or(ExchangeError::Ended)?;
        let (parts, body) = request.into_parts();
        let mut output = BytesMut::with_capacity(4096);
        record::begin(&mut output, &self.script.params(&parts));
        let stderr = StderrLog::new(Arc::clone(&self.server));
        let exchange = Exchange::new(stream, output, body, stderr);
        let (under_way, end) = oneshot::channel();
        self.answering = Some(end);
        response::read(exchange, &parts.method, under_way).await
    }
}
