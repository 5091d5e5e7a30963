//! Requests as a FastCGI server gets them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http_body_util::BodyExt;
use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{FastCgiRequest, buffered_bytes, edge_before, edge_before_reply, end, fetch, stdout};
use crate::support::app::scripted;
use crate::support::http::{Client, body, connect, get, post, streamed};

#[tokio::test]
async fn request_is_sent_to_php_with_its_complete_body_and_length() {
    let received = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&received);
    let url = scripted(move |_, mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            if let Some(request) = FastCgiRequest::read(&mut stream).await {
                seen.lock().push(request);
                let wire = [stdout("X-A: b\r\n\r\nok"), end(0)].concat();
                stream.write_all(&wire).await.unwrap();
            }
        }
    });
    let edge = edge_before(&url.await, "");
    // Of no known length: chunked, and in frames of HTTP/2.
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        for length in [1, 65_536, 65_537, 300_000] {
            let (pieces, sent) = streamed();
            let sending = async move {
                for _ in 0..length / 1000 {
                    pieces.send(vec![b'x'; 1000].into()).await.unwrap();
                }
                pieces.send(vec![b'x'; length % 1000].into()).await.unwrap();
            };
            let request = post("/upload").body(sent).unwrap();
            let (answer, ()) = tokio::join!(client.fetch(request), sending);
            assert_eq!(answer.text(), "ok");
            let request = received.lock().pop().unwrap();
            assert_eq!(request.stdin.len(), length);
            assert_eq!(request.params["CONTENT_LENGTH"], length.to_string());
            assert!(!request.keep);
        }
    }
    // A client that goes away in the middle, and one that sends too much.
    let mut stream = connect(&edge, "http/1.1").await.unwrap();
    let half = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf";
    stream.write_all(half).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    let (pieces, sent) = streamed();
    let mut client = Client::http2(&edge).await;
    let sending = async move { while pieces.send(vec![b'x'; 1 << 20].into()).await.is_ok() {} };
    let request = post("/").body(sent).unwrap();
    let (answer, ()) = tokio::join!(client.fetch(request), sending);
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(received.lock().is_empty(), "PHP got a request");
}

#[tokio::test]
async fn request_bodies_share_the_disk_buffer() {
    let url = scripted(|_, mut stream| async move {
        FastCgiRequest::read(&mut stream).await;
        let wire = [stdout("X-A: b\r\n\r\nok"), end(0)].concat();
        let _ = stream.write_all(&wire).await;
    });
    let edge = edge_before(
        &url.await,
        "disk_buffer_size = \"1600 KiB\"\n[limits]\nrequests_per_second = 100000\nrequest_burst = 100000\n[http]\nmax_body_size = \"400 KiB\"\n\
         stream_idle_timeout = \"1h\"\nmin_body_rate_grace = \"1h\"\n[websocket.uploads]\nmax_size = \"400 KiB\"\n",
    );
    let (pieces, sent) = streamed();
    let mut first = Client::http2(&edge).await;
    let mut second = Client::http2(&edge).await;
    let request = post("/").body(sent).unwrap();
    let waiting = tokio::spawn(async move { first.fetch(request).await });
    for _ in 0..20 {
        pieces.send(vec![b'x'; 15_000].into()).await.unwrap();
    }
    let large = || post("/").body(body(vec![b'x'; 200_000])).unwrap();
    while buffered_bytes(&edge).await < 250_000 {}
    // A client has a quarter.
    let refused = second.fetch(large()).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(pieces);
    assert_eq!(waiting.await.unwrap().text(), "ok");
    // What the first one had is free again.
    while second.fetch(large()).await.status != StatusCode::OK {}
}

#[tokio::test]
async fn request_uses_a_new_connection_and_is_sent_once() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let url = scripted(move |number, mut stream| {
        count.fetch_add(1, SeqCst);
        async move {
            let request = FastCgiRequest::read(&mut stream).await.unwrap();
            assert!(!request.keep);
            // As if the script ended its process.
            if number == 2 {
                return;
            }
            let wire = [stdout("X-A: b\r\n\r\nok"), end(0)].concat();
            stream.write_all(&wire).await.unwrap();
            // Records after the end belong to no request.
            let _ = stream.write_all(&wire).await;
        }
    });
    let edge = edge_before(&url.await, "");
    let mut client = Client::http1(&edge).await;
    let requests = [get("/"), post("/"), get("/"), get("/")];
    for (request, number) in requests.into_iter().zip(1..) {
        let answer = client.fetch(request.body(body("")).unwrap()).await;
        let status = if number == 3 { 502 } else { 200 };
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(connections.load(SeqCst), number);
    }
}

/// What php-fpm answers when a body breaks off, before it has all of it.
#[tokio::test]
async fn response_before_the_end_of_the_body_is_passed_on() {
    let url = scripted(|_, mut stream| async move {
        let _ = stream.read(&mut [0; 1000]).await;
        let wire = [stdout("Status: 413\r\n\r\nno"), end(0)].concat();
        stream.write_all(&wire).await.unwrap();
        // What is sent then is not read.
        std::future::pending::<()>().await;
    });
    let edge = edge_before(&url.await, "");
    let mut client = Client::http1(&edge).await;
    let request = post("/").body(body(vec![b'x'; 20 << 20])).unwrap();
    let answer = client.fetch(request).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (413, "no"));
}

#[tokio::test]
async fn client_that_leaves_ends_the_connection_to_php() {
    let (left, mut noticed) = tokio::sync::mpsc::channel(1);
    let url = scripted(move |_, mut stream| {
        let left = left.clone();
        async move {
            FastCgiRequest::read(&mut stream).await;
            let page = format!("X-A: b\r\n\r\n{}", "x".repeat(60_000));
            stream.write_all(&stdout(&page)).await.unwrap();
            while stream.write_all(&stdout(&page)).await.is_ok() {}
            left.send(()).await.unwrap();
        }
    });
    let edge = edge_before(&url.await, "");
    let mut client = Client::http2(&edge).await;
    let answer = client.send(get("/").body(body("")).unwrap()).await;
    let mut answer = answer.unwrap().into_body();
    answer.frame().await.unwrap().unwrap();
    drop((answer, client));
    noticed.recv().await.unwrap();
}

/// As nginx passes it: the application decides what the slash means.
#[tokio::test]
async fn encoded_slash_reaches_php_unless_a_route_depends_on_it() {
    let url = scripted(|_, mut stream| async move {
        let request = FastCgiRequest::read(&mut stream).await.unwrap();
        let page = format!("X-A: b\r\n\r\n{}", request.params["REQUEST_URI"]);
        let wire = [stdout(&page), end(0)].concat();
        stream.write_all(&wire).await.unwrap();
    });
    let routes = "[[routes]]\npath = \"/admin\"\nstatus = 403\n";
    let edge = edge_before(&url.await, routes);
    let path = "/files/a%2Fb?c=%2F";
    assert_eq!(fetch(&edge, get(path)).await.text(), path);
    let path = "/kb/aindex.php/x";
    assert_eq!(fetch(&edge, get(path)).await.text(), path);
    for path in ["/admin%2Fx", "/a%2Fb/../admin"] {
        let status = fetch(&edge, get(path)).await.status;
        assert!([400, 403].contains(&status.as_u16()), "{path}: {status}");
    }
}

#[tokio::test]
async fn upgrade_headers_are_not_sent_to_php() {
    let (seen, mut received) = tokio::sync::mpsc::unbounded_channel();
    let url = scripted(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            if let Some(request) = FastCgiRequest::read(&mut stream).await {
                let _ = seen.send(request);
                let wire = [stdout("X-A: b\r\n\r\nok"), end(0)].concat();
                stream.write_all(&wire).await.unwrap();
            }
        }
    });
    let edge = edge_before(&url.await, "");
    let request = get("/")
        .header("connection", "Upgrade")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABk")
        .header("proxy-authorization", "Basic eDp5");
    assert_eq!(fetch(&edge, request).await.text(), "ok");
    let params = received.recv().await.unwrap().params;
    for word in ["UPGRADE", "SETTINGS", "CONNECTION", "PROXY_"] {
        let leaked = params.keys().find(|name| name.contains(word));
        assert_eq!(leaked, None);
    }
    // PHP cannot leave HTTP.
    let switch = "Status: 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
    let edge = edge_before_reply([stdout(switch), end(0)].concat()).await;
    assert_eq!(fetch(&edge, get("/")).await.status, StatusCode::BAD_GATEWAY);
}
