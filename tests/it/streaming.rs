//! Streaming of bodies: the edge delays none, accumulates none, and marks incomplete ones as
//! such.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{Method, Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::support::Edge;
use crate::support::app::{head, scripted};
use crate::support::http::{Client, body, connect, get, post};
use crate::support::program::Program;

mod memory;

#[tokio::test]
async fn event_stream_arrives_event_by_event() {
    let next = Arc::new(Notify::new());
    let shared_next = Arc::clone(&next);
    let app = scripted(move |_, mut stream| {
        let shared_next = Arc::clone(&shared_next);
        async move {
            head(&mut stream).await;
            let kind = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            stream.write_all(kind.as_bytes()).await.unwrap();
            for number in 0..3 {
                let event = format!("data: {number}\n\n");
                stream.write_all(event.as_bytes()).await.unwrap();
                shared_next.notified().await;
            }
        }
    })
    .await;
    let edge = Edge::configured(&app, "");
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let request = get("/events").header("accept-encoding", "gzip, br, zstd");
        let answer = client.send(request.body(body("")).unwrap()).await.unwrap();
        assert!(!answer.headers().contains_key("content-encoding"));
        let mut answer = answer.into_body();
        for number in 0..3 {
            let event = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(event, format!("data: {number}\n\n"));
            next.notify_one();
        }
        // Over HTTP/2 the end may be an empty frame of its own.
        assert!(answer.collect().await.unwrap().to_bytes().is_empty());
    }
}

/// What comes back to a head that says `Expect: 100-continue` and no body yet.
async fn send_expect_continue(edge: &Edge, lines: &str) -> String {
    let mut stream = connect(edge, "http/1.1").await.unwrap();
    let request =
        format!("POST /row HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut line = vec![0; 12];
    stream.read_exact(&mut line).await.unwrap();
    String::from_utf8(line).unwrap()
}

/// The edge sends 100 when the app wants the body, and not otherwise.
#[tokio::test]
async fn expect_continue_gets_100_only_if_the_body_is_wanted() {
    let gone = Edge::configured(
        "http://127.0.0.1:9",
        "[upstream]\nurl = \"http://127.0.0.1:9\"\nconnect_retry_timeout = \"10ms\"\n",
    );
    assert_eq!(
        send_expect_continue(&gone, "Content-Length: 2\r\n").await,
        "HTTP/1.1 503"
    );

    // As PHP's own server: it never says 100, and waits for the body.
    let app = scripted(|_, mut stream| async move {
        let mut request = head(&mut stream).await;
        while !request.ends_with("ab") {
            let mut more = vec![0; 8];
            let read = stream.read(&mut more).await.unwrap();
            request.push_str(&String::from_utf8_lossy(&more[..read]));
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let refused = "[[routes]]\npath = \"/row\"\nstatus = 404\n";
    let hidden = Edge::configured(&app, refused);
    assert_eq!(
        send_expect_continue(&hidden, "Content-Length: 2\r\n").await,
        "HTTP/1.1 404"
    );
    let edge = Edge::configured(&app, "");
    assert_eq!(
        send_expect_continue(&edge, "Content-Length: 99999999\r\n").await,
        "HTTP/1.1 413"
    );
    assert_eq!(
        send_expect_continue(&edge, "Content-Length: 2\r\n").await,
        "HTTP/1.1 100"
    );

    let mut stream = connect(&edge, "http/1.1").await.unwrap();
    let request = "POST /row HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                   Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 25]).await.unwrap();
    stream.write_all(b"ab").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn bodiless_responses_keep_their_headers_and_connection() {
    let app = scripted(|_, mut stream| async move {
        loop {
            let request = head(&mut stream).await;
            let (status, lines) = match request.split(' ').nth(1) {
                Some("/head") => ("200 OK", "content-length: 5\r\netag: \"a\"\r\n"),
                Some("/304") => ("304 Not Modified", "etag: \"a\"\r\n"),
                Some("/204") => ("204 No Content", "x-row: v\r\n"),
                _ => return,
            };
            let answer = format!("HTTP/1.1 {status}\r\n{lines}\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let edge = Edge::configured(&app, "");
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let ask = |method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path);
            request.header("host", "localhost").body(body("")).unwrap()
        };
        let answer = client.fetch(ask(Method::HEAD, "/head")).await;
        assert_eq!(answer.headers["content-length"], "5");
        assert_eq!(answer.headers["etag"], "\"a\"");
        let answer = client.fetch(ask(Method::GET, "/304")).await;
        assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
        assert_eq!(answer.headers["etag"], "\"a\"");
        let answer = client.fetch(ask(Method::GET, "/204")).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        assert_eq!(answer.headers["x-row"], "v");
        assert!(answer.body.is_empty() && !answer.headers.contains_key("content-length"));
    }
}

#[tokio::test]
async fn stalled_request_body_is_aborted() {
    let app = scripted(|_, mut stream| async move {
        head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let more = format!(
        "[upstream]\nurl = \"{app}\"\nresponse_timeout = \"100ms\"\n[http]\nstream_idle_timeout = \"200ms\"\n"
    );
    let edge = Edge::configured("", &more);
    let (pieces, stream) = crate::support::http::streamed();
    pieces.send("some".into()).await.unwrap();
    let mut client = Client::http1(&edge).await;
    let answer = client.send(post("/row").body(stream).unwrap()).await;
    // Told, or cut off: in no case waited for.
    if let Ok(answer) = answer {
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    }
    drop(pieces);
}

/// A phone on a poor line: slower in all than any deadline, but never silent.
#[tokio::test]
async fn slow_request_body_is_not_aborted() {
    let app = scripted(|_, mut stream| async move {
        let mut read = head(&mut stream).await;
        while !read.ends_with("0\r\n\r\n") {
            let mut more = vec![0; 64];
            match stream.read(&mut more).await {
                Ok(bytes) if bytes > 0 => read.push_str(&String::from_utf8_lossy(&more[..bytes])),
                _ => return,
            }
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let more = format!(
        "[upstream]\nurl = \"{app}\"\nresponse_timeout = \"800ms\"\n[http]\nstream_idle_timeout = \"1s\"\n"
    );
    let edge = Edge::configured("", &more);
    while !send_slowly(&edge).await {}
}

/// Sends a body in more time than a request may be silent. Returns false if the edge aborted
/// it after a pause of the client itself, as a slow machine causes it.
async fn send_slowly(edge: &Edge) -> bool {
    let (pieces, stream) = crate::support::http::streamed();
    let mut client = Client::http1(edge).await;
    let sending = async {
        let (mut last, mut longest_pause) = (Instant::now(), Duration::ZERO);
        for _ in 0..15 {
            let _ = pieces.send("drop".into()).await;
            longest_pause = longest_pause.max(last.elapsed());
            last = Instant::now();
            // What the line is like, not a wait for anything.
            tokio::time::sleep(PAUSE).await;
        }
        drop(pieces);
        longest_pause.max(last.elapsed())
    };
    let request = post("/row").body(stream).unwrap();
    let started = Instant::now();
    let (answer, longest_pause) = tokio::join!(client.send(request), sending);
    let all_in_all = started.elapsed();
    if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
        return true;
    }
    let is_slow = longest_pause > MAX_PAUSE || all_in_all > 15 * PAUSE + MAX_PAUSE;
    assert!(
        is_slow,
        "aborted after {all_in_all:?}, and a pause of {longest_pause:?} at most"
    );
    false
}

/// The pause between two pieces of a slow body.
const PAUSE: Duration = Duration::from_millis(100);
/// Half of the shortest time for which a request of these tests may be silent.
const MAX_PAUSE: Duration = Duration::from_millis(400);

const SMUGGLED_REQUEST: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The app answers before it has the body, and the client is slow with the rest: what
/// comes then is still that body, and never a request (RFC 9112 §11.2).
#[tokio::test]
async fn body_after_an_early_response_is_not_read_as_a_request() {
    let (heads, mut targets) = tokio::sync::mpsc::unbounded_channel();
    let app = scripted(move |_, mut stream| {
        let heads = heads.clone();
        async move {
            let read = head(&mut stream).await;
            heads.send(read.lines().next().unwrap().to_owned()).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            if read.starts_with("POST") {
                let _ = stream.read_exact(&mut [0; SMUGGLED_REQUEST.len()]).await;
            }
        }
    })
    .await;
    let edge = Edge::configured(&app, "");
    let mut stream = connect(&edge, "http/1.1").await.unwrap();
    let length = 10 + SMUGGLED_REQUEST.len();
    let begin = format!(
        "POST /row HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n0123456789"
    );
    stream.write_all(begin.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok") {
        answer.push(stream.read_u8().await.unwrap());
    }
    // How slow the client is, not a wait for anything.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let _ = stream.write_all(SMUGGLED_REQUEST.as_bytes()).await;
    let end = "GET /end HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let _ = stream.write_all(end.as_bytes()).await;
    let _ = stream.read_to_end(&mut answer).await;
    drop(edge);
    let mut seen = Vec::new();
    while let Ok(line) = targets.try_recv() {
        seen.push(line);
    }
    assert_eq!(seen[0], "POST /row HTTP/1.1");
    assert!(
        !seen.iter().any(|line| line.contains("smuggled")),
        "{seen:?}"
    );
}

/// As nginx has it: 499, and no blame on the app.
#[tokio::test]
async fn client_that_leaves_is_logged_as_499() {
    let came = Arc::new(Notify::new());
    let arrived = Arc::clone(&came);
    let app = scripted(move |_, mut stream| {
        let came = Arc::clone(&came);
        async move {
            head(&mut stream).await;
            came.notify_one();
            // Until the edge hangs up.
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await;
    let program = Program::before(&app, "");
    for http2 in [false, true] {
        let mut client = if http2 {
            program.http2().await
        } else {
            program.http1().await
        };
        let path = if http2 { "/second" } else { "/first" };
        let secret = format!("{path}?token=secret");
        let request = get(&secret).body(body("")).unwrap();
        tokio::select! {
            answer = client.send(request) => panic!("{answer:?}"),
            () = arrived.notified() => {}
        }
        drop(client);
        let line = program.logged(|line| line["path"] == path).await;
        assert_eq!(line["status"], 499, "{line}");
        assert_eq!(line["end"], "client_aborted", "{line}");
        assert!(!line.to_string().contains("secret"), "{line}");
    }
    let output = tokio::task::spawn_blocking({
        let mut command = program.command(&["status"]);
        move || command.output().unwrap()
    });
    assert!(output.await.unwrap().status.success(), "blamed on the app");
}
