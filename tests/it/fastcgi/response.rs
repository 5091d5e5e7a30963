//! Responses of a FastCGI server: sound, odd, aborted or none.

use hyper::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{FastCgiRequest, edge_before, edge_before_reply, end, fetch, record, stdout};
use crate::support::Edge;
use crate::support::app::scripted;
use crate::support::http::{Client, body, connect, get, post};

#[tokio::test]
async fn responses_of_every_form_are_passed_on() {
    let cut: Vec<u8> = "Status: 201 Created\r\nX-A: b\r\n\r\nwhole"
        .bytes()
        .flat_map(|byte| record(6, &[byte], 7))
        .collect();
    let complaining = [
        record(7, b"PHP Warning: something", 0),
        stdout("X-A: b\r\n\r\n"),
        record(7, b"PHP Notice: and more", 2),
        stdout("whole"),
        stdout(""),
        end(0),
    ];
    let about_the_connection = [1, 11, 0, 0, 0, 8, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0];
    for (wire, status) in [
        ([cut, end(0)].concat(), 201),
        (complaining.concat(), 200),
        (
            [
                &about_the_connection[..],
                &stdout("X-A: b\n\nwhole"),
                &end(0),
            ]
            .concat(),
            200,
        ),
        (
            [
                stdout("Status: 404\r\nX-A: b\r\nContent-Length: 5\r\n\r\nwhole"),
                end(0),
            ]
            .concat(),
            404,
        ),
    ] {
        let edge = edge_before_reply(wire).await;
        for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
            for _ in 0..2 {
                let answer = client.fetch(get("/").body(body("")).unwrap()).await;
                assert_eq!((answer.status.as_u16(), answer.text()), (status, "whole"));
                assert_eq!(answer.headers["x-a"], "b");
                assert!(!answer.headers.contains_key("status"));
            }
        }
    }
}

/// What clients send gets into PHP's log.
#[tokio::test]
async fn stderr_of_a_script_is_not_taken_for_php_fpm_errors() {
    for (complaint, head) in [
        ("PHP Warning: Primary script unknown", "Status: 404\r\n\r\n"),
        ("Primary script unknown", "X-A: b\r\n\r\n"),
    ] {
        let wire = [
            record(7, complaint.as_bytes(), 0),
            stdout(head),
            stdout("whole"),
            end(0),
        ];
        let edge = edge_before_reply(wire.concat()).await;
        assert_eq!(fetch(&edge, get("/")).await.text(), "whole");
    }
}

#[tokio::test]
async fn response_without_a_body_is_passed_on_without_one() {
    for (request, head, status) in [
        (Request::head("/"), "Content-Length: 7\r\n\r\n", 200),
        (Request::get("/"), "Status: 204\r\n\r\n", 204),
        (Request::get("/"), "Status: 304\r\nETag: \"a\"\r\n\r\n", 304),
    ] {
        let edge = edge_before_reply([stdout(head), stdout("ignored"), end(0)].concat()).await;
        let answer = fetch(&edge, request.header("host", "localhost")).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, ""));
    }
}

#[tokio::test]
async fn invalid_response_gives_502_and_overload_503() {
    for (wire, status) in [
        (vec![], 502),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
            502,
        ),
        ([stdout("<html>no head"), end(0)].concat(), 502),
        ([stdout("Status: 101\r\n\r\n"), end(0)].concat(), 502),
        (
            [stdout("Status: 200\r\nStatus: 404\r\n\r\n"), end(0)].concat(),
            502,
        ),
        (end(0), 502),
        (end(1), 502),
        (end(2), 503),
        // It is known before a byte has left that these are not whole.
        (
            [stdout("Content-Length: 6\r\n\r\nwhole"), end(0)].concat(),
            502,
        ),
        (
            [stdout("Content-Length: 4\r\n\r\nwhole"), end(0)].concat(),
            502,
        ),
        (record(6, b"X-A: b", 0)[..10].to_vec(), 502),
        (record(5, b"x", 0), 502),
        (
            [
                record(7, b"Primary script unknown", 0),
                stdout("Status: 404\r\n\r\nFile not found.\n"),
                end(0),
            ]
            .concat(),
            502,
        ),
    ] {
        let text = String::from_utf8_lossy(&wire).into_owned();
        let url = scripted(move |_, mut stream| {
            let wire = wire.clone();
            async move {
                FastCgiRequest::read(&mut stream).await;
                let _ = stream.write_all(&wire).await;
            }
        });
        let edge = edge_before(&url.await, "");
        let answer = fetch(&edge, post("/")).await;
        assert_eq!(answer.status, status, "{text:?}");
    }
}

/// What a client has got of `/` when the connection ends.
async fn fetch_until_closed(edge: &Edge) -> String {
    let mut stream = connect(edge, "http/1.1").await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    String::from_utf8_lossy(&got).into_owned()
}

#[tokio::test]
async fn aborted_response_never_looks_complete() {
    let large = "x".repeat(60_000);
    let page = format!("X-A: b\r\n\r\n{large}");
    for rest in [
        // The process is killed.
        vec![],
        stdout(&large),
        record(6, large.as_bytes(), 0)[..1000].to_vec(),
        b"something that is no record".to_vec(),
    ] {
        let wire = [stdout(&page), stdout(&large), rest].concat();
        let url = scripted(move |_, mut stream| {
            let wire = wire.clone();
            async move {
                FastCgiRequest::read(&mut stream).await;
                stream.write_all(&wire).await.unwrap();
            }
        });
        let edge = edge_before(&url.await, "");
        let got = fetch_until_closed(&edge).await;
        assert!(got.starts_with("HTTP/1.1 200 OK"), "{}", &got[..50]);
        assert!(!got.ends_with("0\r\n\r\n"), "it looks whole");
    }
}

#[tokio::test]
async fn silent_script_gives_504_at_the_response_timeout() {
    let url = scripted(|_, mut stream| async move {
        FastCgiRequest::read(&mut stream).await;
        std::future::pending::<()>().await;
    });
    let edge = edge_before(&url.await, "response_timeout = \"100ms\"\n");
    let answer = fetch(&edge, get("/")).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    let nowhere = edge_before("http://127.0.0.1:1", "connect_retry_timeout = \"1ms\"\n");
    let answer = fetch(&nowhere, get("/")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}
