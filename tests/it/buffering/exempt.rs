//! Responses that the edge does not buffer.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::{
    LENGTH, assert_whole, counting_server, fetch_head, http2_with_window, read_rest,
    wait_until_blocked, within_deadline, write_export,
};
use crate::fastcgi::buffered_bytes;
use crate::support::Edge;
use crate::support::app::{head, scripted};
use crate::support::http::Client;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x_accel_buffering_no_disables_buffering_and_is_removed() {
    let (url, sent, _) = counting_server("x-accel-buffering: NO\r\n").await;
    let edge = Edge::configured(&url, "");
    let mut client = Client::http1(&edge).await;
    let answer = fetch_head(&mut client, "/").await;
    assert!(!answer.headers().contains_key("x-accel-buffering"));
    assert!(wait_until_blocked(&sent).await < LENGTH as u64);
    assert_eq!(buffered_bytes(&edge).await, 0);
    assert_whole(&read_rest(answer).await);

    let (url, _, released) = counting_server("x-accel-buffering: yes\r\n").await;
    let edge = Edge::configured(&url, "");
    let answer = fetch_head(&mut Client::http1(&edge).await, "/").await;
    assert!(!answer.headers().contains_key("x-accel-buffering"));
    within_deadline(released.notified()).await;
}

/// Also after its client was slow for once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_stream_is_passed_on_at_once() {
    let (next, sent) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (shared_next, tell) = (Arc::clone(&next), Arc::clone(&sent));
    let url = scripted(move |_, mut stream| {
        let (next, sent) = (Arc::clone(&shared_next), Arc::clone(&tell));
        async move {
            head(&mut stream).await;
            let kind = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            stream.write_all(kind.as_bytes()).await.unwrap();
            let _ = write_export(&mut stream, |piece| piece, &AtomicU64::new(0)).await;
            sent.notify_one();
            for number in 0..3 {
                next.notified().await;
                let event = format!("data: {number}\n\n");
                stream.write_all(event.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let edge = Edge::configured(&url, "");
    for mut client in [
        Client::http1(&edge).await,
        http2_with_window(&edge, 1000).await,
    ] {
        let mut answer = fetch_head(&mut client, "/").await.into_body();
        within_deadline(sent.notified()).await;
        let mut got = Vec::new();
        let mut read = async |wanted: usize| {
            let mut part = Vec::new();
            while part.len() < wanted {
                let frame = within_deadline(answer.frame()).await.unwrap().unwrap();
                part.extend(frame.into_data().unwrap());
            }
            part
        };
        got.extend(read(LENGTH).await);
        assert_whole(&got);
        for number in 0..3 {
            next.notify_one();
            let event = format!("data: {number}\n\n");
            assert_eq!(read(event.len()).await, event.as_bytes());
        }
    }
}
