//! Responses that come before the request's body has ended. The client gets each of them,
//! whatever it still sends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::http::connect;
use crate::support::{Edge, Laravel};

const ROUTES: &str = "\
    [limits]\nexempt = [\"127.0.0.0/8\"]\n\
    [[routes]]\npath = \"/403\"\nstatus = 403\n\
    [[routes]]\npath = \"/404\"\nstatus = 404\n\
    [[routes]]\npath = \"/308\"\nredirect = \"https://new.example\"\n\
    [[routes]]\npath = \"/413\"\nmax_body_size = \"100 B\"\n";

fn post(path: &str, lines: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n").into_bytes()
}

/// Reads a response with a declared length. Returns its head.
async fn read_response(stream: &mut TlsStream<TcpStream>) -> String {
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\n") {
        got.push(stream.read_u8().await.expect("a response"));
    }
    let head = String::from_utf8(got).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    head
}

/// As 20 of 20 log-ins of 200 bytes have it.
#[tokio::test]
async fn connection_is_kept_after_an_early_response_to_a_short_body() {
    let laravel = Laravel::start().await;
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("a.txt"), "a").unwrap();
    let routes = format!(
        "{ROUTES}[[routes]]\npath = \"/405\"\nfiles = \"{}\"\n\
         [[routes]]\npath = \"/429\"\nrequests_per_minute = 1\n",
        files.path().display()
    );
    let edge = Edge::configured(
        &laravel.url(),
        &routes.replace("exempt = [\"127.0.0.0/8\"]\n", ""),
    );
    for (path, status) in [
        ("/403", 403),
        ("/404", 404),
        ("/308", 308),
        ("/405/a.txt", 405),
        ("/429", 429),
    ] {
        let mut stream = connect(&edge, "http/1.1").await.unwrap();
        if status == 429 {
            stream
                .write_all(&post(path, "Content-Length: 0"))
                .await
                .unwrap();
            read_response(&mut stream).await;
        }
        for _ in 0..5 {
            stream
                .write_all(&post(path, "Content-Length: 200"))
                .await
                .unwrap();
            // The response does not wait for the body.
            let head = read_response(&mut stream).await;
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status} ")),
                "{path}: {head}"
            );
            assert!(!head.contains("connection: close"), "{path}: {head}");
            stream.write_all(&[b'x'; 200]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn upload_that_is_rejected_is_read_until_the_client_reads_the_response() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ROUTES);
    let body = vec![b'x'; 40_000_000];
    let length = format!("Content-Length: {}", body.len());
    let chunked = "Transfer-Encoding: chunked".to_owned();
    for (path, lines, status) in [
        ("/413", &length, 413),
        ("/403", &length, 403),
        ("/308", &length, 308),
        ("/404", &chunked, 404),
        // hyper rejects these itself.
        ("/\"<>", &length, 400),
        (
            "/",
            &format!("{length}\r\nX-Long: {}", "x".repeat(70_000)),
            431,
        ),
    ] {
        let mut stream = connect(&edge, "http/1.1").await.unwrap();
        let mut request = post(path, lines);
        if lines == &chunked {
            request.extend(format!("{:x}\r\n", body.len()).into_bytes());
        }
        stream.write_all(&request).await.unwrap();
        // Like a browser, it reads nothing before it has sent everything.
        stream.write_all(&body).await.expect("the edge reads on");
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .await
            .expect("TLS is closed properly");
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
        assert!(
            answer.contains("\r\nconnection: close\r\n"),
            "{path}: {answer}"
        );
    }
    assert!(laravel.requests().is_empty());
}

#[tokio::test]
async fn client_that_waits_for_100_gets_the_rejection_and_the_end() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ROUTES);
    let mut stream = connect(&edge, "http/1.1").await.unwrap();
    let lines = "Content-Length: 200\r\nExpect: 100-continue";
    stream.write_all(&post("/413", lines)).await.unwrap();
    let head = read_response(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

/// hyper hands a connection over to the last upgrade, even if that was rejected.
#[tokio::test]
async fn connection_of_a_rejected_upgrade_ends_with_a_close_of_tls() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ROUTES);
    let mut stream = connect(&edge, "http/1.1").await.unwrap();
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1000000";
    stream.write_all(&post("/ws", lines)).await.unwrap();
    stream.write_all(&vec![0; 1_000_000]).await.unwrap();
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .await
        .expect("TLS is closed properly");
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
}
