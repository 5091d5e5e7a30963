//! Proxies in front of the edge: trusted headers, and the client that limits count.

use hyper::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::http::{Client, body, get};
use crate::support::tls::any_certificate_config;
use crate::support::{Edge, Laravel, Socket};

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\"]\n";
/// Of a proxy that writes all of them itself.
const ALL_HEADERS: &str = "trusted_headers = [\"x-forwarded-for\", \"X-Forwarded-Proto\", \
    \"x-forwarded-host\", \"x-forwarded-port\", \"x-forwarded-prefix\", \"x-request-id\"]\n";

fn server(more: &str) -> String {
    format!("[server]\nlisten = [\"127.0.0.1:0\"]\n{more}")
}

fn request_with(headers: &[(&str, &str)]) -> Request<crate::support::http::Body> {
    let mut request = get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body("")).unwrap()
}

const FORWARDED_HEADERS: [(&str, &str); 5] = [
    ("x-forwarded-for", "6.6.6.6, 192.0.2.9, 127.0.0.1"),
    ("x-forwarded-host", "desk.example:8443"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-port", "8443"),
    ("x-request-id", "from-the-proxy"),
];

#[tokio::test]
async fn headers_of_a_trusted_proxy_reach_laravel() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), &server(&(TRUSTED.to_owned() + ALL_HEADERS)));
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        client.fetch(request_with(&FORWARDED_HEADERS)).await;
        let seen = laravel.last();
        assert_eq!(seen.header("x-forwarded-for"), Some("192.0.2.9"));
        assert_eq!(seen.header("host"), Some("desk.example:8443"));
        assert_eq!(seen.header("x-forwarded-host"), Some("desk.example:8443"));
        assert_eq!(seen.header("x-forwarded-port"), Some("8443"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("x-request-id"), Some("from-the-proxy"));
    }
}

/// As nginx, HAProxy and Cloudflare pass them on: written by the client.
#[tokio::test]
async fn forged_host_behind_a_proxy_reaches_neither_route_nor_laravel() {
    let laravel = Laravel::start().await;
    let routes = "[[routes]]\nhosts = [\"desk.example\"]\nstatus = 403\n";
    let edge = Edge::configured(&laravel.url(), &(server(TRUSTED) + routes));
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let mut headers = FORWARDED_HEADERS.to_vec();
        headers.push(("x-forwarded-prefix", "/evil"));
        assert_eq!(
            client.fetch(request_with(&headers)).await.status,
            StatusCode::OK
        );
        let seen = laravel.last();
        assert_eq!(seen.header("x-forwarded-for"), Some("192.0.2.9"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.header("host"), Some("localhost"));
        assert_eq!(seen.header("x-forwarded-host"), Some("localhost"));
        assert_eq!(seen.header("x-forwarded-port"), Some("443"));
        assert_eq!(seen.header("x-forwarded-prefix"), None);
        assert_ne!(seen.header("x-request-id"), Some("from-the-proxy"));
    }
}

#[tokio::test]
async fn headers_of_an_untrusted_peer_are_ignored() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    Client::http1(&edge)
        .await
        .fetch(request_with(&FORWARDED_HEADERS))
        .await;
    let seen = laravel.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("host"), Some("localhost"));
    assert_eq!(seen.header("x-forwarded-host"), Some("localhost"));
    assert_eq!(seen.header("x-forwarded-port"), Some("443"));
    assert_ne!(seen.header("x-request-id"), Some("from-the-proxy"));
}

/// Ten thousand citizens behind one proxy are not one client, and one of them
/// is not all.
#[tokio::test]
async fn limits_count_the_client_that_the_proxy_names() {
    let laravel = Laravel::start().await;
    let limits = "[limits]\nmax_connections_per_client = 1\n[[routes]]\nrequests_per_minute = 1\n";
    let edge = Edge::configured(&laravel.url(), &(server(TRUSTED) + limits));
    let mut proxy = [Client::http1(&edge).await, Client::http1(&edge).await];
    let mut fetch = async |number: usize| {
        let client = format!("192.0.2.{number}");
        let request = request_with(&[("x-forwarded-for", &client)]);
        proxy[number % 2].fetch(request).await.status
    };
    for number in [1, 2] {
        assert_eq!(fetch(number).await, StatusCode::OK);
    }
    let mut again = StatusCode::OK;
    // On a slow machine a second passes, and one more request is served.
    while again == StatusCode::OK {
        again = fetch(2).await;
    }
    assert_eq!(again, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(fetch(3).await, StatusCode::OK);
}

#[tokio::test]
async fn session_query_names_the_client_that_the_proxy_names() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), &server(&(TRUSTED.to_owned() + ALL_HEADERS)));
    let headers = [
        ("x-forwarded-for", "192.0.2.9"),
        ("x-forwarded-host", "desk.example"),
    ];
    let mut session = Socket::try_open(&edge, "/ws?token=3%7Cana", &headers)
        .await
        .unwrap();
    assert_eq!(session.next().await["type"], "connection");
    let seen = laravel.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("192.0.2.9"));
    assert_eq!(seen.header("host"), Some("desk.example"));
}

/// A connection that begins with `header`; none if it is closed for that.
async fn connect_after_header(edge: &Edge, header: &[u8]) -> Option<TlsStream<TcpStream>> {
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    let _ = stream.write_all(header).await;
    let config = any_certificate_config(rustls::ALL_VERSIONS);
    let name = "localhost".try_into().unwrap();
    TlsConnector::from(std::sync::Arc::new(config))
        .connect(name, stream)
        .await
        .ok()
}

#[tokio::test]
async fn proxy_protocol_header_names_the_client() {
    let laravel = Laravel::start().await;
    let more = format!(
        "{TRUSTED}proxy_protocol = [\"127.0.0.1:0\"]\n[limits]\nmax_connections_per_client = 1\n"
    );
    let edge = Edge::configured(&laravel.url(), &server(&more));
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([192, 0, 2, 10, 127, 0, 0, 1, 1, 2, 1, 187]);
    let mut held = Vec::new();
    for (header, client) in [
        (
            &b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 443\r\n"[..],
            "192.0.2.9",
        ),
        (&v2, "192.0.2.10"),
        (b"PROXY TCP6 2001:db8::9 ::1 4711 443\r\n", "2001:db8::9"),
        // The balancer for itself, as it looks whether we are there.
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ] {
        let stream = connect_after_header(&edge, header).await.unwrap();
        let mut client_of = Client::over_http1(stream).await;
        // What passes through unread was written by the client, also where the header
        // does not say by whom.
        let answer = client_of.fetch(request_with(&FORWARDED_HEADERS)).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(laravel.last().header("x-forwarded-for"), Some(client));
        held.push(client_of);
    }
    // Connections are counted for whom they are.
    let again = connect_after_header(&edge, b"PROXY TCP4 192.0.2.9 127.0.0.1 4712 443\r\n").await;
    assert!(again.is_none());
    for garbage in [
        &b""[..],
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 a b c d\r\n",
    ] {
        assert!(
            connect_after_header(&edge, garbage).await.is_none(),
            "{garbage:?}"
        );
    }
}

#[tokio::test]
async fn untrusted_or_silent_proxy_protocol_peer_is_closed() {
    let laravel = Laravel::start().await;
    let foreign = "trusted_proxies = [\"192.0.2.1\"]\nproxy_protocol = [\"127.0.0.1:0\"]\n";
    let edge = Edge::configured(&laravel.url(), &server(foreign));
    assert!(
        connect_after_header(&edge, b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 443\r\n")
            .await
            .is_none()
    );

    let silent = format!(
        "{TRUSTED}proxy_protocol = [\"127.0.0.1:0\"]\n[tls]\nhandshake_timeout = \"50ms\"\n"
    );
    let edge = Edge::configured(&laravel.url(), &server(&silent));
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(b"PROXY TCP4 ").await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
}
