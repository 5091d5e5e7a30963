//! Ordinary HTTP through the edge.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::http::{Answer, Client, body, get, post, streamed};
use crate::support::{Edge, Laravel};

mod headers;

#[tokio::test]
async fn requests_reach_laravel_over_http1_and_http2() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let answer = client
            .fetch(get("/page?a=b%20c&a=").body(body("")).unwrap())
            .await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.text(), "hello from laravel");
        let seen = laravel.last();
        assert_eq!(
            (seen.method.clone(), &*seen.target),
            (Method::GET, "/page?a=b%20c&a=")
        );
        assert_eq!(seen.header("host"), Some("localhost"));
    }
}

/// Each piece comes back before the next is sent: nothing is held back in
/// either direction.
#[tokio::test]
async fn bodies_stream_both_ways() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let (pieces, stream) = streamed();
        let request = post("/echo").body(stream).unwrap();
        pieces.send(Bytes::from_static(b"piece 0")).await.unwrap();
        let mut answer = client.send(request).await.unwrap().into_body();
        for number in 1..4 {
            let came = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(came, format!("piece {}", number - 1));
            pieces
                .send(Bytes::from(format!("piece {number}")))
                .await
                .unwrap();
        }
        drop(pieces);
        let rest = answer.collect().await.unwrap().to_bytes();
        assert_eq!(rest, "piece 3");
    }
}

#[tokio::test]
async fn large_bodies_are_passed_on_whole() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let sent: Bytes = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let answer = client
            .fetch(post("/echo").body(body(sent.clone())).unwrap())
            .await;
        assert_eq!(answer.body, sent);
    }
}

#[tokio::test]
async fn upstream_connections_are_reused() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut client = Client::http1(&edge).await;
    for _ in 0..5 {
        client.fetch(get("/").body(body("")).unwrap()).await;
    }
    assert_eq!((laravel.requests().len(), laravel.connections()), (5, 1));
}

#[tokio::test]
async fn upstream_on_a_unix_socket_is_reached() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let laravel = Laravel::start_on(&path);
    let edge = Edge::configured(&format!("unix:{}", path.display()), "");
    let answer = Client::http1(&edge)
        .await
        .fetch(get("/").body(body("")).unwrap())
        .await;
    assert_eq!(answer.text(), "hello from laravel");
    assert_eq!(laravel.last().header("host"), Some("localhost"));
}

#[tokio::test]
async fn request_without_an_upstream_gets_503_as_html_or_json() {
    let laravel = Laravel::start().await;
    laravel.stop();
    let more = format!(
        "[upstream]\nurl = \"{}\"\nconnect_retry_timeout = \"10ms\"\n",
        laravel.url()
    );
    let edge = Edge::configured("", &more);
    let mut client = Client::http1(&edge).await;
    let answer = loop {
        // The listener's task may need a moment to close the port.
        let answer = client.fetch(get("/").body(body("")).unwrap()).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
    };
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "2");
    assert!(
        answer.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert!(answer.text().contains("<html lang=\"en\">") && answer.text().contains("<h1>"));
    assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
    let request = get("/api/x").header("accept", "application/json");
    let answer = client.fetch(request.body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.json()["message"].is_string());
}

#[tokio::test]
async fn silent_upstream_gives_504() {
    let laravel = Laravel::start().await;
    let more = format!(
        "[upstream]\nurl = \"{}\"\nresponse_timeout = \"100ms\"\n",
        laravel.url()
    );
    let edge = Edge::configured("", &more);
    let answer = Client::http1(&edge)
        .await
        .fetch(get("/hang").body(body("")).unwrap())
        .await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn body_over_the_limit_gets_413() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[http]\nmax_body_size = \"1 KiB\"\n");
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let request = post("/echo").body(body(vec![0; 1025])).unwrap();
        let answer = client.fetch(request).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    }
    assert!(laravel.requests().is_empty(), "Laravel got a request");
    let (pieces, stream) = streamed();
    let sending = async move {
        for _ in 0..3 {
            let _ = pieces.send(Bytes::from(vec![0; 1000])).await;
        }
    };
    let mut client = Client::http2(&edge).await;
    // `/wait` reads nothing and sends nothing, so the rejection is the edge's.
    let (answer, ()) = tokio::join!(client.send(post("/wait").body(stream).unwrap()), sending);
    assert_eq!(answer.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn response_truncated_by_the_upstream_never_looks_complete() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let response = client
            .send(get("/cut").body(body("")).unwrap())
            .await
            .unwrap();
        let mut answer = response.into_body();
        let half = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(half, "half of it");
        laravel.release();
        assert!(answer.collect().await.is_err());
    }
}

#[tokio::test]
async fn client_that_leaves_cancels_its_upstream_request() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let before = laravel.requests().len();
        let request = get("/hang").body(body("")).unwrap();
        let sending = client.send(request);
        tokio::select! {
            answer = sending => panic!("{answer:?}"),
            () = wait_for_request(&laravel, before) => {}
        }
        drop(client);
        laravel.cancelled().await;
    }
}

/// Completes when one more request has come.
async fn wait_for_request(laravel: &Laravel, before: usize) {
    while laravel.requests().len() == before {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn invalid_host_or_connect_is_rejected() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for request in [
        Request::get("/").header("host", "a").header("host", "b"),
        Request::get("/").header("host", "a b"),
        Request::get("/"),
    ] {
        let answer = Client::http1(&edge)
            .await
            .fetch(request.body(body("")).unwrap())
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
    let connect = Request::connect("localhost:22").header("host", "localhost:22");
    let response = Client::http1(&edge)
        .await
        .send(connect.body(body("")).unwrap())
        .await;
    let answer = Answer::read(response.unwrap()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(laravel.requests().is_empty());
}

/// A response that stops in the middle is reset, while other streams of the connection
/// continue.
#[tokio::test]
async fn stalled_response_is_aborted() {
    let laravel = Laravel::start().await;
    let more = format!(
        "[upstream]\nurl = \"{}\"\nresponse_timeout = \"100ms\"\n[http]\nstream_idle_timeout = \"200ms\"\n",
        laravel.url()
    );
    let edge = Edge::configured("", &more);
    let mut client = Client::http2(&edge).await;
    // On a slow machine a head takes longer than these timeouts: then the edge responds 504.
    let response = loop {
        let sent = client.send(get("/cut").body(body("")).unwrap()).await;
        match sent {
            Ok(response) if response.status() == StatusCode::OK => break response,
            Ok(response) => assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT),
            Err(error) => panic!("{error}"),
        }
    };
    let stalled = response.into_body().collect();
    let busy = async {
        loop {
            let _ = client.send(get("/").body(body("")).unwrap()).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = stalled => assert!(answer.is_err()),
        () = busy => {}
    }
    // The connection is still served.
    let is_ok = |response: Response<Incoming>| response.status() == StatusCode::OK;
    while !client
        .send(get("/").body(body("")).unwrap())
        .await
        .is_ok_and(is_ok)
    {
        tokio::task::yield_now().await;
    }
}

/// RFC 9112 §6.3: chunked wins over a length; a 204 has neither (RFC 9110 §8.6).
#[tokio::test]
async fn response_with_a_wrong_length_is_corrected() {
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let nothing = "HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n";
    let twice = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok";
    for (raw, status, text) in [
        (both, StatusCode::OK, "hello"),
        (nothing, StatusCode::NO_CONTENT, ""),
        (twice, StatusCode::OK, "ok"),
    ] {
        let edge = Edge::configured(&fixed_response_app(raw).await, "");
        for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
            let answer = client.fetch(get("/").body(body("")).unwrap()).await;
            assert_eq!((answer.status, answer.text()), (status, text));
            assert!(answer.headers.get_all("content-length").iter().count() <= 1);
        }
    }
}

/// The edge asks for no transfer coding, and the client would get the body encoded.
#[tokio::test]
async fn response_with_ambiguous_framing_gives_502() {
    let coded = "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    let differing = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc";
    for (method, raw) in [("GET", coded), ("GET", differing), ("HEAD", differing)] {
        let edge = Edge::configured(&fixed_response_app(raw).await, "");
        for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
            let request = get("/").method(method).body(body("")).unwrap();
            let answer = client.fetch(request).await;
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{method} {raw}");
        }
    }
}

#[tokio::test]
async fn unrequested_101_response_gives_502() {
    let raw = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let edge = Edge::configured(&fixed_response_app(raw).await, "");
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let answer = client.fetch(get("/").body(body("")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    }
}

/// Starts an app that responds to every request with the same bytes, and closes.
async fn fixed_response_app(raw: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(raw.as_bytes()).await;
        }
    });
    url
}
