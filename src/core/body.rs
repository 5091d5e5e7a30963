//! The body type of every request and response, in both directions and for every
//! protocol, and the functions that make one.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Frame, SizeHint};

/// The reason why a body could not be read to its end.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// A streamed body. The edge never holds a whole body in memory, except for the short
/// responses that it writes itself.
pub(crate) type Body = UnsyncBoxBody<Bytes, Error>;

/// Returns an empty body.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Returns a body of the given bytes, sent as one frame.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Reads the whole of `body` into memory; trailers are dropped.
///
/// Not cancel-safe: bytes that have been read are lost.
///
/// # Errors
/// Returns the body's own error if it ends early, and an error of its own if the body
/// is longer than `max_bytes`.
pub(crate) async fn read_limited(mut body: Body, max_bytes: usize) -> Result<Bytes, Error> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if all.len() + data.len() > max_bytes {
            return Err("it is too long".into());
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

/// Converts a body of any other type into a [`Body`].
pub(crate) fn boxed<B>(body: B) -> Body
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// The result of polling a body for its next frame.
pub(crate) type PolledFrame<D = Bytes> = Poll<Option<Result<Frame<D>, Error>>>;

/// A step between a body and its reader, which a [`FilteredBody`] runs. It may watch, change,
/// delay or fail each frame, but not the length of the data.
pub(crate) trait BodyFilter {
    /// The data of the frames that the reader gets.
    type Data: Buf;

    /// Polls `body` for its next frame; see [`hyper::body::Body::poll_frame`].
    fn poll_frame(&mut self, body: &mut Body, cx: &mut Context<'_>) -> PolledFrame<Self::Data>;
}

/// A body whose frames pass a filter. Its end and its size are those of the body inside.
#[derive(Debug)]
pub(crate) struct FilteredBody<F> {
    /// The body inside.
    pub(crate) body: Body,
    /// The filter.
    pub(crate) filter: F,
}

impl<F: BodyFilter + Unpin> hyper::body::Body for FilteredBody<F> {
    type Data = F::Data;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame<F::Data> {
        let this = self.get_mut();
        this.filter.poll_frame(&mut this.body, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
