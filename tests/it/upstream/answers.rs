//! Answers of every form, sound and broken.

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{edge_before, fetch};
use crate::support::Edge;
use crate::support::app::{head, scripted};
use crate::support::http::{Client, body, connect, get, post, streamed};

/// What PHP's own server and others send, and what the client gets.
#[tokio::test]
async fn responses_of_every_form_are_passed_on() {
    let to_the_end = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end";
    let old = "HTTP/1.0 404 Not Found\r\n\r\nold";
    let old_length = "HTTP/1.0 413 Payload Too Large\r\ncontent-length: 3\r\n\r\nold";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (raw, status, wanted) in [
        (to_the_end, 200, "to the end"),
        (old, 404, "old"),
        (old_length, 413, "old"),
        (chunked, 200, "abc"),
    ] {
        let url = scripted(move |_, mut stream| async move {
            head(&mut stream).await;
            stream.write_all(raw.as_bytes()).await.unwrap();
        });
        let edge = edge_before(&[url.await], "");
        for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
            // Twice, since the app closes after each.
            for _ in 0..2 {
                let answer = client.fetch(get("/").body(body("")).unwrap()).await;
                assert_eq!((answer.status.as_u16(), answer.text()), (status, wanted));
            }
        }
    }
}

/// HTTP/1.0 has no `chunked`, so hyper would send the second body as an empty one.
#[tokio::test]
async fn body_of_unknown_length_is_not_lost_after_an_http10_response() {
    let url = scripted(|_, mut stream| async move {
        loop {
            let mut request = head(&mut stream).await;
            if request.is_empty() {
                return;
            }
            while request.contains("chunked") && !request.ends_with("0\r\n\r\n") {
                request += &head(&mut stream).await;
            }
            let text = if request.contains("\r\nhello\r\n") {
                "it came"
            } else {
                "nothing"
            };
            let lines = format!("connection: keep-alive\r\ncontent-length: {}", text.len());
            let answer = format!("HTTP/1.0 200 OK\r\n{lines}\r\n\r\n{text}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let edge = edge_before(&[url.await], "");
    let mut client = Client::http1(&edge).await;
    for _ in 0..2 {
        let (pieces, sent) = streamed();
        let sending = async move { pieces.send("hello".into()).await.unwrap() };
        let request = post("/").body(sent).unwrap();
        let (answer, ()) = tokio::join!(client.fetch(request), sending);
        assert_eq!(answer.text(), "it came");
    }
}

#[tokio::test]
async fn response_head_above_the_limit_gives_502() {
    for (count, status) in [(200, StatusCode::OK), (300, StatusCode::BAD_GATEWAY)] {
        let cookies: String = (0..count)
            .map(|number| format!("set-cookie: c{number}={number}\r\n"))
            .collect();
        let raw = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{cookies}\r\nok");
        let url = scripted(move |_, mut stream| {
            let raw = raw.clone();
            async move {
                head(&mut stream).await;
                stream.write_all(raw.as_bytes()).await.unwrap();
            }
        });
        let edge = edge_before(&[url.await], "");
        // Over HTTP/1.1 this test's own client would take no more than 100.
        let mut client = Client::http2(&edge).await;
        let answer = client.fetch(get("/").body(body("")).unwrap()).await;
        assert_eq!(answer.status, status);
        if status == StatusCode::OK {
            assert_eq!(answer.headers.get_all("set-cookie").iter().count(), count);
        }
    }
    let url = scripted(|_, mut stream| async move {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let edge = edge_before(&[url.await], "");
    let answer = fetch(&edge, get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
}

/// The app says no after the first bytes, and then closes or reads no more.
#[tokio::test]
async fn response_before_the_end_of_the_body_reaches_the_client() {
    for closes in [true, false] {
        let url = scripted(move |_, mut stream| async move {
            head(&mut stream).await;
            let _ = stream.read(&mut [0; 1000]).await;
            let raw = "HTTP/1.1 422 Unprocessable Content\r\ncontent-length: 2\r\n\r\nno";
            stream.write_all(raw.as_bytes()).await.unwrap();
            if !closes {
                std::future::pending::<()>().await;
            }
        });
        let edge = edge_before(&[url.await], "");
        for _ in 0..5 {
            let answer = upload_over_http1(&edge).await;
            assert!(answer.starts_with("HTTP/1.1 422 "), "{closes}: {answer}");
            let mut client = Client::http2(&edge).await;
            let upload = post("/").body(body(vec![b'x'; LARGE])).unwrap();
            let answer = client.fetch(upload).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text()),
                (422, "no"),
                "{closes}"
            );
        }
    }
}

const LARGE: usize = 8 * 1024 * 1024;

/// Reads the answer whatever becomes of its upload, as browsers do.
async fn upload_over_http1(edge: &Edge) -> String {
    let stream = connect(edge, "http/1.1").await.unwrap();
    let (mut reading, mut writing) = tokio::io::split(stream);
    let sending = async {
        let head = format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {LARGE}\r\n\r\n");
        if writing.write_all(head.as_bytes()).await.is_ok() {
            let _ = writing.write_all(&vec![b'x'; LARGE]).await;
        }
        std::future::pending().await
    };
    let receiving = async {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nno") {
            if reading.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                break;
            }
        }
        String::from_utf8(answer).unwrap()
    };
    tokio::select! {
        answer = receiving => answer,
        () = sending => unreachable!(),
    }
}

#[tokio::test]
async fn body_shorter_than_its_length_never_looks_complete() {
    let url = scripted(|_, mut stream| async move {
        head(&mut stream).await;
        let raw = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        stream.write_all(raw.as_bytes()).await.unwrap();
    });
    let edge = edge_before(&[url.await], "");
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let response = client.send(get("/").body(body("")).unwrap()).await;
        let read = http_body_util::BodyExt::collect(response.unwrap().into_body());
        assert!(read.await.is_err());
    }
}
