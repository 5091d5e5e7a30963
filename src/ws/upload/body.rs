//! The body of the request: the form's head, the file as it comes, the form's
//! end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, Stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::multipart::Form;
use super::state::Upload;
use crate::core::body::{self, Body};
use crate::core::client::ClientKey;
use crate::limit::ByteRate;

/// Where the parts come from.
pub(super) struct UploadSource {
    pub(super) upload: Arc<Upload>,
    pub(super) form: Form,
    pub(super) chunks: mpsc::Receiver<Bytes>,
    pub(super) rate: Arc<ByteRate>,
    pub(super) client: Option<ClientKey>,
    /// Decides at the very end whether the form may be ended; if not it has
    /// ended the upload.
    pub(super) may_end: BoxFuture<'static, bool>,
}

/// What comes next.
enum Stage {
    Head,
    File,
    End,
    Over,
}

/// The body. It breaks off, so that no server takes it for whole, when the
/// upload has ended otherwise.
pub(super) fn new(source: UploadSource) -> Body {
    body::boxed(StreamBody::new(frames(source).boxed()))
}

fn frames(source: UploadSource) -> impl Stream<Item = Result<Frame<Bytes>, UploadAborted>> + Send {
    stream::unfold((source, Stage::Head), |(mut source, stage)| async move {
        let (frame, stage) = match stage {
            Stage::Head => (Ok(source.form.head.clone()), Stage::File),
            Stage::File => match or_keep_alive(source.chunks.recv()).await {
                None => (Ok(Bytes::new()), Stage::File),
                Some(Some(chunk)) => {
                    let upload = Arc::clone(&source.upload);
                    let chunk = rate_limited(&source.rate, source.client, chunk, upload).await;
                    (Ok(chunk), Stage::File)
                }
                Some(None) if source.upload.is_fully_sent() => (Ok(Bytes::new()), Stage::End),
                Some(None) => (Err(UploadAborted), Stage::Over),
            },
            Stage::End => match or_keep_alive(&mut source.may_end).await {
                None => (Ok(Bytes::new()), Stage::End),
                Some(true) if source.upload.seal() => (Ok(source.form.tail.clone()), Stage::Over),
                Some(_) => (Err(UploadAborted), Stage::Over),
            },
            Stage::Over => return None,
        };
        Some((frame.map(Frame::data), (source, stage)))
    })
}

/// The chunk, once the client may send so much.
async fn rate_limited(
    rate: &ByteRate,
    client: Option<ClientKey>,
    chunk: Bytes,
    upload: Arc<Upload>,
) -> Bytes {
    rate.acquire(client, chunk.len()).await;
    Bytes::from_owner(TrackedChunk { chunk, upload })
}

/// `what`, or nothing after a while. hyper writes nothing for an empty frame,
/// but that one came shows to the clock that bounds Laravel's silence that it
/// is the client who is slow; the upload has deadlines of its own.
async fn or_keep_alive<T>(what: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(KEEP_ALIVE_INTERVAL, what).await.ok()
}

/// A chunk that tells when it is gone: written to Laravel's socket, or dropped
/// with the request. Until then it fills the client's window, so what hyper
/// gathers is bounded by it too.
struct TrackedChunk {
    chunk: Bytes,
    upload: Arc<Upload>,
}

impl AsRef<[u8]> for TrackedChunk {
    fn as_ref(&self) -> &[u8] {
        &self.chunk
    }
}

impl Drop for TrackedChunk {
    fn drop(&mut self) {
        self.upload.record_sent(self.chunk.len() as u64);
    }
}

/// The upload has ended before its file.
#[derive(Debug, thiserror::Error)]
#[error("the upload broke off")]
struct UploadAborted;

/// Well below `upstream.response_timeout`.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
