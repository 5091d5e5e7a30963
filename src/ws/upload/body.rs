//! The streaming body of an upload's request: the head of the form, the file as its chunks
//! arrive from the client, and the end of the form.

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
use crate::core::client_ip::ClientKey;
use crate::limit::ByteRate;

/// The parts of the body, and the rules by which they are sent.
pub(super) struct UploadSource {
    pub(super) upload: Arc<Upload>,
    pub(super) form: Form,
    pub(super) chunks: mpsc::Receiver<Bytes>,
    pub(super) rate: Arc<ByteRate>,
    pub(super) client: Option<ClientKey>,
    /// Decides after the file whether the form may be completed. If not, it has ended the
    /// upload.
    pub(super) may_end: BoxFuture<'static, bool>,
}

/// The next part of the body.
enum Stage {
    Head,
    File,
    Tail,
    Done,
}

/// Creates the body. If the upload ends otherwise, the body ends with an error, so that no
/// server takes it for complete.
pub(super) fn new(source: UploadSource) -> Body {
    body::boxed(StreamBody::new(frames(source).boxed()))
}

/// Returns the frames of the body.
fn frames(source: UploadSource) -> impl Stream<Item = Result<Frame<Bytes>, UploadAborted>> + Send {
    stream::unfold((source, Stage::Head), |(mut source, stage)| async move {
        let (frame, next_stage) = match stage {
            Stage::Head => (Ok(source.form.head.clone()), Stage::File),
            Stage::File => match or_keep_alive(source.chunks.recv()).await {
                None => (Ok(Bytes::new()), Stage::File),
                Some(Some(chunk)) => {
                    let upload = Arc::clone(&source.upload);
                    let paced = rate_limited(&source.rate, source.client, chunk, upload).await;
                    (Ok(paced), Stage::File)
                }
                Some(None) if source.upload.is_fully_sent() => (Ok(Bytes::new()), Stage::Tail),
                Some(None) => (Err(UploadAborted), Stage::Done),
            },
            Stage::Tail => match or_keep_alive(&mut source.may_end).await {
                None => (Ok(Bytes::new()), Stage::Tail),
                Some(true) if source.upload.seal() => (Ok(source.form.tail.clone()), Stage::Done),
                Some(_) => (Err(UploadAborted), Stage::Done),
            },
            Stage::Done => return None,
        };
        Some((frame.map(Frame::data), (source, next_stage)))
    })
}

/// Returns the chunk once the client's byte rate allows it.
async fn rate_limited(
    rate: &ByteRate,
    client: Option<ClientKey>,
    chunk: Bytes,
    upload: Arc<Upload>,
) -> Bytes {
    rate.acquire(client, chunk.len()).await;
    Bytes::from_owner(TrackedChunk { chunk, upload })
}

/// Waits for `future` for [`KEEP_ALIVE_INTERVAL`]; none means that an empty frame is due. hyper
/// writes nothing for one, but it shows the upstream's response timeout that the client is
/// slow, and not Laravel. The upload has deadlines of its own.
async fn or_keep_alive<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(KEEP_ALIVE_INTERVAL, future).await.ok()
}

/// A chunk that is recorded as sent when it is dropped: after it was written to Laravel's
/// socket, or with the request. Until then it fills the client's window, which so bounds
/// hyper's write buffer, too.
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

/// The error that cuts the body off when the upload has ended before its form.
#[derive(Debug, thiserror::Error)]
#[error("the upload broke off")]
struct UploadAborted;

/// Time between two signs of life in a body that pauses. It is well below
/// `upstream.response_timeout`.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
