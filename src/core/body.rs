//! One type for every message body, both directions, all protocols.

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};

/// Why a body could not be read to its end.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A streamed body. Nothing in this crate holds a whole one in memory but the
/// short answers that it writes itself.
pub type Body = UnsyncBoxBody<Bytes, Error>;

/// A body without a byte.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is all there already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Reads all of `body`, which may have `most` bytes.
///
/// # Errors
/// It breaks off or is longer.
pub async fn read_limited(mut body: Body, max_bytes: usize) -> Result<Bytes, Error> {
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

/// Boxes a body of another type.
pub fn boxed<B>(body: B) -> Body
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    body.map_err(Into::into).boxed_unsync()
}
