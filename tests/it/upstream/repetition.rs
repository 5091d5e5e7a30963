//! Requests whose connection was lost: which of them the edge sends once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use hyper::{Request, StatusCode};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;

use super::{edge_before, fetch, fetch_text};
use crate::support::app::{head, scripted};
use crate::support::http::{body, get};

/// An app that loses each second request on a connection after `heard` of an
/// answer, and notes all that it gets.
async fn connection_dropping_app(heard: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let url = scripted(move |_, mut stream| {
        let notes = Arc::clone(&notes);
        async move {
            for last in [false, true] {
                let head = head(&mut stream).await;
                let line = head.lines().next().unwrap_or_default().to_owned();
                if line.is_empty() {
                    return;
                }
                notes.lock().push(line);
                let answer = if last {
                    heard
                } else {
                    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (url.await, seen)
}

#[tokio::test]
async fn lost_connection_retries_idempotent_requests_only() {
    let lost = "";
    let begun = "HTTP/1.1 200 OK\r\ncontent-le";
    for (heard, method, content, times, status) in [
        (lost, "GET", "", 2, StatusCode::OK),
        (lost, "HEAD", "", 2, StatusCode::OK),
        (lost, "OPTIONS", "", 2, StatusCode::OK),
        (lost, "DELETE", "", 2, StatusCode::OK),
        (lost, "PUT", "", 2, StatusCode::OK),
        (lost, "PUT", "x", 1, StatusCode::BAD_GATEWAY),
        (lost, "GET", "x", 1, StatusCode::BAD_GATEWAY),
        (lost, "POST", "", 1, StatusCode::BAD_GATEWAY),
        (lost, "POST", "x", 1, StatusCode::BAD_GATEWAY),
        (lost, "PATCH", "", 1, StatusCode::BAD_GATEWAY),
        (begun, "GET", "", 1, StatusCode::BAD_GATEWAY),
    ] {
        let (url, seen) = connection_dropping_app(heard).await;
        let edge = edge_before(&[url], "");
        assert_eq!(fetch_text(&edge).await, "ok");
        let request = Request::builder().method(method).uri("/x");
        let request = request.header("host", "localhost").body(body(content));
        let answer = fetch(&edge, request.unwrap()).await;
        assert_eq!(answer.status, status, "{method} {content:?}");
        let seen = seen.lock().clone();
        let wanted = format!("{method} /x HTTP/1.1");
        let came = seen.iter().filter(|line| **line == wanted).count();
        assert_eq!(came, times, "{method} {content:?} {heard:?}: {seen:?}");
    }
}

/// The request itself may have ended the process, so it must not end the next one.
#[tokio::test]
async fn request_read_on_a_new_connection_is_not_sent_again() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let url = scripted(move |_, mut stream| {
        let count = Arc::clone(&count);
        async move {
            head(&mut stream).await;
            count.fetch_add(1, SeqCst);
        }
    });
    let edge = edge_before(&[url.await], "");
    let answer = fetch(&edge, get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(seen.load(SeqCst), 1);
}

/// The system resets a connection that a server closes before it has read everything.
#[tokio::test]
async fn request_that_no_server_has_read_is_sent_again_if_idempotent() {
    for (method, status) in [("GET", StatusCode::OK), ("POST", StatusCode::BAD_GATEWAY)] {
        let url = scripted(move |connection, mut stream| async move {
            if connection == 0 {
                stream.peek(&mut [0]).await.unwrap();
                return;
            }
            head(&mut stream).await;
            let raw = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(raw.as_bytes()).await.unwrap();
        });
        let edge = edge_before(&[url.await], "");
        let request = get("/").method(method).body(body("")).unwrap();
        assert_eq!(fetch(&edge, request).await.status, status, "{method}");
    }
}

#[tokio::test]
async fn request_lost_twice_is_not_sent_a_third_time() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let url = scripted(move |connection, mut stream| {
        let count = Arc::clone(&count);
        async move {
            if connection == 0 {
                head(&mut stream).await;
                let raw = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(raw.as_bytes()).await.unwrap();
            }
            head(&mut stream).await;
            count.fetch_add(1, SeqCst);
        }
    });
    let edge = edge_before(&[url.await], "");
    assert_eq!(fetch_text(&edge).await, "ok");
    let answer = fetch(&edge, get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(seen.load(SeqCst), 2);
}
