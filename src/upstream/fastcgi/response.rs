//! The response of a script: its head, and a body that streams as PHP writes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use hyper::{Method, Response, StatusCode};
use tokio::sync::oneshot;

use super::ExchangeError;
use super::exchange::Exchange;
use super::record::{Outcome, Record};
use super::response_head::{self, ResponseHead};
use crate::core::body::{self, Body};

/// Reads the head of the response and the bytes of the body that have arrived with it.
/// `in_progress` is dropped when the response has ended or the body is dropped.
///
/// Dropping the future closes the connection.
///
/// # Errors
/// Returns any variant of [`ExchangeError`] if the exchange fails before the response is
/// returned. Later failures are errors of the body.
pub(super) async fn read(
    exchange: Exchange,
    method: &Method,
    in_progress: oneshot::Sender<()>,
) -> Result<Response<Body>, ExchangeError> {
    let mut response = ResponseBody {
        exchange: Some(exchange),
        first: BytesMut::new(),
        left: None,
        in_progress: Some(in_progress),
    };
    let ResponseHead { mut parts, length } =
        std::future::poll_fn(|cx| response.poll_head(cx)).await?;
    parts.extensions.clear();
    let status = parts.status;
    // RFC 9110 §6.4.1: these have no body, whatever the script has written.
    let has_no_body = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if has_no_body || *method == Method::HEAD {
        std::future::poll_fn(|cx| response.poll_drain(cx)).await?;
        return Ok(Response::from_parts(parts, body::empty()));
    }
    response.left = length;
    response.count_first()?;
    let body = if std::future::poll_fn(|cx| Poll::Ready(response.read_available(cx))).await? {
        body::full(response.first.freeze())
    } else {
        response.boxed_unsync()
    };
    Ok(Response::from_parts(parts, body))
}

/// The unread part of a response, which becomes its body.
struct ResponseBody {
    /// `None` after the end of the response.
    exchange: Option<Exchange>,
    /// The first bytes: the head until it is parsed, then the start of the body.
    first: BytesMut,
    /// The number of missing bytes, if the script has sent a `Content-Length`.
    left: Option<u64>,
    /// Dropped at the end, which the receiver notices.
    in_progress: Option<oneshot::Sender<()>>,
}

impl ResponseBody {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, ExchangeError>> {
        while let Some(data) = ready!(self.poll_data(cx)?) {
            self.first.extend_from_slice(&data);
            // The head is parsed from its start each time. With this a head in small pieces
            // costs one attempt for each line and not for each piece.
            if !data.contains(&b'\n') && self.first.len() < FIRST_CHUNK_BYTES {
                continue;
            }
            if let Some(head) = response_head::take(&mut self.first)? {
                // If php-fpm does not run the script, it gives the reason on standard error
                // and then sends one of these statuses. A script may write the same words,
                // but not together with such a status.
                if NO_SCRIPT.contains(&head.parts.status) {
                    self.check_script()?;
                }
                return Poll::Ready(Ok(head));
            }
        }
        self.check_script()?;
        Poll::Ready(Err(ExchangeError::Ended))
    }

    /// Returns [`ExchangeError::Script`] if php-fpm has reported that it cannot run the
    /// script.
    fn check_script(&self) -> Result<(), ExchangeError> {
        match &self.exchange {
            Some(exchange) => exchange.stderr.check_script(),
            None => Ok(()),
        }
    }

    /// Reads and discards the rest of the response.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        while ready!(self.poll_data(cx)?).is_some() {}
        Poll::Ready(Ok(()))
    }

    /// Reads what has arrived already. Returns whether that is all: most responses are short
    /// and arrive at once, and then need no streaming body.
    fn read_available(&mut self, cx: &mut Context<'_>) -> Result<bool, ExchangeError> {
        while self.first.len() < FIRST_CHUNK_BYTES {
            match self.poll_data(cx)? {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) => return Ok(true),
                Poll::Ready(Some(data)) => {
                    self.first.extend_from_slice(&data);
                    self.count(data.len())?;
                }
            }
        }
        Ok(false)
    }

    /// Counts the bytes of the body that arrived together with the head.
    fn count_first(&mut self) -> Result<(), ExchangeError> {
        self.count(self.first.len())
    }

    /// Subtracts `received` from the announced length.
    ///
    /// # Errors
    /// Returns [`ExchangeError::Length`] if the script has sent more than it announced.
    fn count(&mut self, received: usize) -> Result<(), ExchangeError> {
        if let Some(left) = &mut self.left {
            *left = left
                .checked_sub(received as u64)
                .ok_or(ExchangeError::Length)?;
        }
        Ok(())
    }

    /// Returns the next part of the script's output; `None` at its end.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ExchangeError>> {
        loop {
            let Some(exchange) = &mut self.exchange else {
                return Poll::Ready(Ok(None));
            };
            match ready!(exchange.poll_record(cx))? {
                Record::Stdout(data) if data.is_empty() => {}
                Record::Stdout(data) => return Poll::Ready(Ok(Some(data))),
                Record::End(outcome) => {
                    self.end(outcome)?;
                    return Poll::Ready(Ok(None));
                }
                Record::Stderr(_) | Record::Other => {}
            }
        }
    }

    /// Checks the end of the response and closes the connection.
    fn end(&mut self, outcome: Outcome) -> Result<(), ExchangeError> {
        match outcome {
            Outcome::Complete => {}
            Outcome::Overloaded => return Err(ExchangeError::Overloaded),
            Outcome::Refused => return Err(ExchangeError::Refused),
        }
        if self.left.is_some_and(|left| left > 0) {
            return Err(ExchangeError::Length);
        }
        (self.exchange, self.in_progress) = (None, None);
        Ok(())
    }
}

impl hyper::body::Body for ResponseBody {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        if !self.first.is_empty() {
            let first = self.first.split().freeze();
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let data = match ready!(self.poll_data(cx)) {
            Ok(Some(data)) => self.count(data.len()).map(|()| data),
            Ok(None) => return Poll::Ready(None),
            Err(error) => Err(error),
        };
        Poll::Ready(Some(data.map(Frame::data).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_none() && self.first.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) => SizeHint::with_exact(left + self.first.len() as u64),
            None => SizeHint::default(),
        }
    }
}

/// The statuses with which php-fpm responds for a script that it does not run.
const NO_SCRIPT: [StatusCode; 2] = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
/// The maximum of bytes that are collected before the client gets the first of them.
const FIRST_CHUNK_BYTES: usize = 64 * 1024;
