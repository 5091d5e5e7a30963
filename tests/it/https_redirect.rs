//! Plain HTTP on port 80: redirects, ACME challenges and HSTS.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http::{Client, body, get};
use crate::support::{Edge, Laravel};

const LISTEN: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\nredirect_listen = [\"127.0.0.1:0\"]\n";

async fn send_plain_http(edge: &Edge, request: &str) -> String {
    let mut stream = TcpStream::connect(edge.redirects[0]).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn plain_http_request_is_redirected_to_https() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), LISTEN);
    let port = edge.address.port();
    for (request, location) in [
        (
            "GET /a/b?c=%20d HTTP/1.1\r\nHost: desk.example\r\n\r\n",
            "/a/b?c=%20d",
        ),
        ("GET / HTTP/1.1\r\nHost: desk.example:80\r\n\r\n", "/"),
        (
            "POST /api HTTP/1.1\r\nHost: desk.example\r\nContent-Length: 2\r\n\r\nhi",
            "/api",
        ),
        (
            "GET http://desk.example/x HTTP/1.1\r\nHost: other\r\n\r\n",
            "/x",
        ),
        (
            "GET //evil.example/ HTTP/1.1\r\nHost: desk.example\r\n\r\n",
            "//evil.example/",
        ),
    ] {
        let answer = send_plain_http(&edge, request).await;
        assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
        let location = format!("location: https://desk.example:{port}{location}\r\n");
        assert!(answer.contains(&location), "{answer}");
    }
    assert!(laravel.requests().is_empty());
}

/// A load balancer takes any redirect for a healthy server.
#[tokio::test]
async fn plain_http10_request_without_host_is_redirected() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), LISTEN);
    let answer = send_plain_http(&edge, "OPTIONS / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 308 "), "{answer}");
    assert!(answer.contains("location: https://localhost:"), "{answer}");
}

#[tokio::test]
async fn plain_http_request_without_a_valid_host_is_rejected() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), LISTEN);
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: evil.example/@desk.example\r\n\r\n",
    ] {
        let answer = send_plain_http(&edge, request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let unknown = "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: desk.example\r\n\r\n";
    let answer = send_plain_http(&edge, unknown).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

/// As nginx's 497. A browser gets here by an address with the port but without `https`.
#[tokio::test]
async fn plain_http_on_the_tls_port_gets_400_with_the_https_address() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for (request, address) in [
        (
            "GET /a?b HTTP/1.1\r\nHost: desk.example:8443\r\n\r\n",
            ": https://desk.example:8443/\n",
        ),
        ("GET / HTTP/1.0\r\n\r\n", "address\n"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "address\n"),
        (
            "POST / HTTP/1.1\r\nHost: desk.example\r\nContent-Length: 2\r\n\r\nhi",
            ": https://desk.example/\n",
        ),
    ] {
        let mut stream = TcpStream::connect(edge.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1."), "{answer}");
        assert!(answer[8..].starts_with(" 400 "), "{answer}");
        assert!(answer.contains("content-type: text/plain"), "{answer}");
        assert!(answer.ends_with(address), "{answer}");
    }
    assert!(laravel.requests().is_empty());
}

/// The end does not destroy the response while the body is on its way.
#[tokio::test]
async fn plain_http_upload_gets_its_response() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), LISTEN);
    for (address, status) in [(edge.redirects[0], 308), (edge.address, 400)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = vec![b'x'; 20_000_000];
        let length = body.len();
        let head =
            format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.expect("the edge reads on");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn hsts_header_is_sent_only_if_configured() {
    let laravel = Laravel::start().await;
    for (more, hsts) in [
        ("", None),
        (
            "[http]\nhsts_max_age = \"365d\"\n",
            Some("max-age=31536000"),
        ),
    ] {
        let edge = Edge::configured(&laravel.url(), more);
        let mut client = Client::http1(&edge).await;
        let answer = client.fetch(get("/").body(body("")).unwrap()).await;
        let header = answer.headers.get("strict-transport-security");
        assert_eq!(header.map(|header| header.to_str().unwrap()), hsts);
    }
}
