//! A connection to php-fpm for a single request.
//!
//! php-fpm can keep a connection open, but an idle one would occupy one of its few processes.
//! And Laravel ends every response with `fastcgi_finish_request`: the process then runs the
//! rest of the script, and the next request on the connection would wait for that.

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

/// A connection in the hands of one request.
#[derive(Debug)]
pub(in crate::upstream) struct Connection {
    script: Arc<Script>,
    server: Arc<str>,
    /// `None` once the request uses it.
    stream: Option<Stream>,
    /// Closed when the response has ended or was dropped.
    response_end: Option<oneshot::Receiver<()>>,
    pub(in crate::upstream) response_started: Arc<AtomicBool>,
}

impl Connection {
    /// Creates a connection over `stream` that runs `script`. `server` is its name in the
    /// log.
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
            response_end: None,
            response_started,
        }
    }

    /// Returns a receiver that is closed at the end of the response, or `None` if the
    /// response has ended already or there is none.
    pub(in crate::upstream) fn end(self) -> Option<oneshot::Receiver<()>> {
        let mut end = self.response_end?;
        let is_pending = end.try_recv() == Err(oneshot::error::TryRecvError::Empty);
        is_pending.then_some(end)
    }

    /// Sends a request with a buffered body and waits for the head of the response.
    ///
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    /// Returns [`ExchangeError::Ended`] if the connection has been used, and any other
    /// variant if the exchange fails.
    pub(in crate::upstream) async fn exchange(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Body>, ExchangeError> {
        self.response_started.store(false, Relaxed);
        let script = self.script.resolve().await;
        let stream = self.stream.take().ok_or(ExchangeError::Ended)?;
        let (parts, body) = request.into_parts();
        let mut output = BytesMut::with_capacity(4096);
        record::begin(&mut output, &script.params(&parts));
        let stderr = StderrLog::new(Arc::clone(&self.server));
        let exchange = Exchange::new(stream, output, body, stderr);
        let (in_progress, end) = oneshot::channel();
        self.response_end = Some(end);
        response::read(exchange, &parts.method, in_progress).await
    }
}
