//! A script's answer: its head, and a body that comes as PHP writes it.

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

/// Reads the head and what has come with it. `under_way` is dropped when the answer
/// has ended, or is given up.
///
/// # Errors
/// There is no answer, or it breaks off before a byte of its body was wanted.
pub(super) async fn read(
    exchange: Exchange,
    method: &Method,
    under_way: oneshot::Sender<()>,
) -> Result<Response<Body>, ExchangeError> {
    let mut rest = ResponseBody {
        exchange: Some(exchange),
        first: BytesMut::new(),
        left: None,
        under_way: Some(under_way),
    };
    let ResponseHead { mut parts, length } = std::future::poll_fn(|cx| rest.poll_head(cx)).await?;
    parts.extensions.clear();
    let status = parts.status;
    let is_bare = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if is_bare || *method == Method::HEAD {
        std::future::poll_fn(|cx| rest.poll_drain(cx)).await?;
        return Ok(Response::from_parts(parts, body::empty()));
    }
    rest.left = length;
    rest.shorten()?;
    let body = if std::future::poll_fn(|cx| Poll::Ready(rest.gather(cx))).await? {
        body::full(rest.first.freeze())
    } else {
        rest.boxed_unsync()
    };
    Ok(Response::from_parts(parts, body))
}

/// What has not been read of an answer.
struct ResponseBody {
    /// None after the end.
    exchange: Option<Exchange>,
    /// What came of the body and has not been taken.
    first: BytesMut,
    /// What is still missing of the length that the script announced.
    left: Option<u64>,
    under_way: Option<oneshot::Sender<()>>,
}

impl ResponseBody {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, ExchangeError>> {
        while let Some(data) = ready!(self.poll_data(cx)?) {
            self.first.extend_from_slice(&data);
            // Of a head in small pieces, each line is looked at once.
            if !data.contains(&b'\n') && self.first.len() < FIRST_CHUNK_BYTES {
                continue;
            }
            if let Some(head) = response_head::take(&mut self.first)? {
                // Before, php-fpm says why it answers for a script that is not there.
                // A script, too, may have said such a thing, but not answered so.
                if NO_SCRIPT.contains(&head.parts.status) {
                    self.stderr()?;
                }
                return Poll::Ready(Ok(head));
            }
        }
        self.stderr()?;
        Poll::Ready(Err(ExchangeError::Ended))
    }

    fn stderr(&self) -> Result<(), ExchangeError> {
        match &self.exchange {
            Some(exchange) => exchange.stderr.check_script(),
            None => Ok(()),
        }
    }

    /// Reads to the end what nobody wants.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        while ready!(self.poll_data(cx)?).is_some() {}
        Poll::Ready(Ok(()))
    }

    /// Takes what has come already. True if that is all: most answers are short,
    /// and come at once.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, ExchangeError> {
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

    /// What came with the head counts.
    fn shorten(&mut self) -> Result<(), ExchangeError> {
        self.count(self.first.len())
    }

    fn count(&mut self, came: usize) -> Result<(), ExchangeError> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(came as u64).ok_or(ExchangeError::Length)?;
        }
        Ok(())
    }

    /// The next piece of the script's output; none at its end.
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

    fn end(&mut self, outcome: Outcome) -> Result<(), ExchangeError> {
        match outcome {
            Outcome::Complete => {}
            Outcome::Overloaded => return Err(ExchangeError::Overloaded),
            Outcome::Refused => return Err(ExchangeError::Refused),
        }
        if self.left.is_some_and(|left| left > 0) {
            return Err(ExchangeError::Length);
        }
        (self.exchange, self.under_way) = (None, None);
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

/// php-fpm's own answers for a script that it does not run.
const NO_SCRIPT: [StatusCode; 2] = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
/// What is gathered of an answer before its client gets the first of it.
const FIRST_CHUNK_BYTES: usize = 64 * 1024;
