//! Responses through a buffer, in paused time.

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::HeaderMap;
use hyper::body::{Body as _, Frame};
use tokio::sync::mpsc;

use super::*;
use crate::core::body::{self, Error};

type Frames = mpsc::UnboundedSender<Result<Frame<Bytes>, Error>>;

/// A buffer for one response of at most `size` bytes on disk, and what the application
/// sends.
fn response(size: u64, disk: &Ledger) -> (Frames, Body, Arc<ResponseBuffers>) {
    let (frames, receiver) = mpsc::unbounded_channel();
    let sent =
        futures_util::stream::unfold(receiver, |mut frames: mpsc::UnboundedReceiver<_>| async {
            Some((frames.recv().await?, frames))
        });
    let buffers = Arc::new(ResponseBuffers::new(size, disk.clone()));
    let body = buffers.wrap(body::boxed(StreamBody::new(sent)), None, &Drain::new());
    (frames, body, buffers)
}

fn send(frames: &Frames, length: usize) {
    let data = Bytes::from(vec![7; length]);
    frames.send(Ok(Frame::data(data))).unwrap();
}

/// Waits until the application's response was read to its end.
async fn is_read(frames: Frames) {
    frames.closed().await;
}

/// Longer than any client may be away without being slow.
async fn pause() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn client_waiting_for_the_upstream_needs_no_task() {
    let (frames, mut body, buffers) = response(1 << 20, &Ledger::new(1 << 20));
    assert!(body.frame().now_or_never().is_none());
    pause().await;
    assert!(!buffers.candidates.lock().is_watched);
    send(&frames, 3);
    assert_eq!(
        body.frame()
            .await
            .unwrap()
            .unwrap()
            .data_ref()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(buffers.memory.used(), 0);
    assert!(buffers.candidates.lock().is_watched);
}

#[tokio::test(start_paused = true)]
async fn trailers_and_errors_follow_the_buffered_body() {
    for length in [5, 500_000] {
        let (frames, body, _) = response(1 << 20, &Ledger::new(4 << 20));
        send(&frames, length);
        let trailers = HeaderMap::from_iter([("x-a".parse().unwrap(), "b".parse().unwrap())]);
        frames.send(Ok(Frame::trailers(trailers))).unwrap();
        drop(frames);
        pause().await;
        let whole = body.collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()["x-a"], "b");
        assert_eq!(whole.to_bytes().len(), length);

        let (frames, mut body, _) = response(1 << 20, &Ledger::new(4 << 20));
        send(&frames, length);
        frames.send(Err("broken".into())).unwrap();
        is_read(frames).await;
        assert_eq!(body.size_hint().exact(), None, "it would look whole");
        let mut read = 0;
        let error = loop {
            assert!(!body.is_end_stream());
            match body.frame().await.unwrap() {
                Ok(frame) => read += frame.data_ref().unwrap().len(),
                Err(error) => break error,
            }
        };
        assert_eq!((read, error.to_string()), (length, "broken".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn ended_response_reports_its_remaining_length() {
    let disk = Ledger::new(4 << 20);
    let (frames, mut body, _) = response(1 << 20, &disk);
    send(&frames, 500_000);
    drop(frames);
    while body.size_hint().exact() != Some(500_000) {
        pause().await;
    }
    assert_eq!(disk.used(), 500_000);
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let left = 500_000 - first.len() as u64;
    assert_eq!(body.size_hint().exact(), Some(left));
    drop(body);
    while disk.used() > 0 {
        pause().await;
    }
}
