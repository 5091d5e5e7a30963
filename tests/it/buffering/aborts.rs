//! Buffered responses that a client or the application aborts.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::{LENGTH, PIECE, content, fetch_head, http2_with_window, within_deadline, write_export};
use crate::fastcgi::{FastCgiRequest, buffered_bytes, edge_before, record, stdout};
use crate::support::Edge;
use crate::support::app::{head, scripted};
use crate::support::http::{Client, connect};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_leaves_frees_its_buffer_and_the_upstream() {
    let left = Arc::new(Notify::new());
    let noticed = Arc::clone(&left);
    let url = scripted(move |_, mut stream| {
        let left = Arc::clone(&left);
        async move {
            head(&mut stream).await;
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let _ = write_export(&mut stream, |piece| piece, &AtomicU64::new(0)).await;
            // It is still at work.
            let _ = stream.read(&mut [0]).await;
            left.notify_one();
        }
    })
    .await;
    let edge = Edge::configured(&url, "");
    for mut client in [
        Client::http1(&edge).await,
        http2_with_window(&edge, 1000).await,
    ] {
        let answer = fetch_head(&mut client, "/").await;
        within_deadline(async { while buffered_bytes(&edge).await == 0 {} }).await;
        drop((client, answer));
        within_deadline(noticed.notified()).await;
        within_deadline(async { while buffered_bytes(&edge).await > 0 {} }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn response_aborted_while_buffered_does_not_look_complete() {
    const PART: usize = LENGTH / 2;
    let gone = Arc::new(Notify::new());
    let shared_gone = Arc::clone(&gone);
    let url = scripted(move |_, mut stream| {
        let gone = Arc::clone(&shared_gone);
        async move {
            if FastCgiRequest::read(&mut stream).await.is_some() {
                // Neither length nor end.
                stream.write_all(&stdout("X-A: b\r\n\r\n")).await.unwrap();
                for from in (0..PART).step_by(PIECE) {
                    let piece = record(6, &content(from, PIECE), 0);
                    stream.write_all(&piece).await.unwrap();
                }
                gone.notify_one();
            }
        }
    });
    let edge = edge_before(&url.await, "");
    let mut stream = connect(&edge, "http/1.1").await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    within_deadline(gone.notified()).await;
    let mut got = Vec::new();
    let _ = within_deadline(stream.read_to_end(&mut got)).await;
    // What hyper holds for a client that does not read goes with the connection.
    let most_lost = 256 * 1024;
    assert!(got.len() > PART - most_lost, "{} bytes came", got.len());
    assert!(!got.ends_with(b"0\r\n\r\n"), "it looks whole");

    let mut client = http2_with_window(&edge, 1000).await;
    let answer = fetch_head(&mut client, "/").await;
    within_deadline(gone.notified()).await;
    let read = within_deadline(answer.into_body().collect()).await;
    assert!(read.is_err(), "it looks whole");
}

/// Short ones fit into memory.
#[tokio::test]
async fn short_response_aborted_before_read_does_not_look_complete() {
    let gone = Arc::new(Notify::new());
    let shared_gone = Arc::clone(&gone);
    let url = scripted(move |number, mut stream| {
        let gone = Arc::clone(&shared_gone);
        async move {
            head(&mut stream).await;
            let lines = ["content-length: 9", "transfer-encoding: chunked"][number % 2];
            let half = ["half", "4\r\nhalf\r\n"][number % 2];
            let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{half}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            gone.notify_one();
        }
    })
    .await;
    let edge = Edge::configured(&url, "");
    for _ in 0..2 {
        let mut client = http2_with_window(&edge, 2).await;
        let answer = fetch_head(&mut client, "/").await;
        within_deadline(gone.notified()).await;
        assert!(within_deadline(answer.into_body().collect()).await.is_err());
    }
}
