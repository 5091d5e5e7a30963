//! Upgrades that an app behind the edge answers itself.

use hyper::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_rustls::client::TlsStream;

use crate::support::app::{head, scripted};
use crate::support::http::{Client, body, connect, get};
use crate::support::{Edge, Laravel};

const ROUTE: &str = "[[routes]]\npath = \"/app\"\npass_upgrades = true\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const HANDSHAKE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const H2C: &str =
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n";
/// Right for [`KEY`].
const ACCEPT: &str = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// An app that speaks every protocol: it switches with `switch` as headers whenever an
/// upgrade is asked for, or always, and then says back what it hears. The heads of all
/// requests, in lower case.
async fn app(switch: String, always: bool) -> (String, UnboundedReceiver<String>) {
    let (seen, heads) = unbounded_channel();
    let url = scripted(move |_, mut stream| {
        let (seen, switch) = (seen.clone(), switch.clone());
        async move {
            loop {
                let request = head(&mut stream).await.to_ascii_lowercase();
                if request.is_empty() {
                    return;
                }
                let is_upgrade = request.contains("\r\nupgrade:");
                let _ = seen.send(request);
                if is_upgrade || always {
                    let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{switch}\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    break;
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
            }
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    (url.await, heads)
}

/// An app that accepts WebSockets as it should.
async fn echo() -> (String, UnboundedReceiver<String>) {
    app(
        format!("connection: upgrade\r\nupgrade: websocket\r\n{ACCEPT}"),
        false,
    )
    .await
}

/// Sends a request with `headers`, and `more` behind its head; the head of the answer, in
/// lower case, and the connection.
async fn send(
    edge: &Edge,
    line: &str,
    headers: &str,
    more: &str,
) -> (String, TlsStream<TcpStream>) {
    let mut stream = connect(edge, "http/1.1").await.unwrap();
    let request = format!("{line}\r\nHost: localhost\r\n{headers}\r\n{more}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    (head, stream)
}

async fn read_head(stream: &mut TlsStream<TcpStream>) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

/// Asks for a WebSocket on `path`.
async fn open_tunnel(edge: &Edge, path: &str) -> (String, TlsStream<TcpStream>) {
    send(edge, &format!("GET {path} HTTP/1.1"), HANDSHAKE, "").await
}

#[tokio::test]
async fn tunnel_passes_data_both_ways_across_a_reload() {
    let (url, _heads) = echo().await;
    let edge = Edge::configured(&url, ROUTE);
    let (head, stream) = open_tunnel(&edge, "/app/key?protocol=7").await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(head.contains(&ACCEPT.to_ascii_lowercase()), "{head}");
    edge.reload_with(|config| config.routes.clear())
        .await
        .unwrap();
    let (mut from, mut to) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let echo = sent.clone();
    let saying = tokio::spawn(async move {
        to.write_all(&echo).await.unwrap();
        to
    });
    let mut heard = vec![0; sent.len()];
    from.read_exact(&mut heard).await.unwrap();
    assert!(heard == sent, "not what was sent");
    drop(saying.await.unwrap());
}

/// Through `h2c` a client would send requests that no route sees.
#[tokio::test]
async fn upgrade_to_another_protocol_becomes_an_ordinary_request() {
    let (url, mut heads) = app("connection: upgrade\r\nupgrade: h2c\r\n".to_owned(), false).await;
    let edge = Edge::configured(&url, ROUTE);
    for headers in [
        H2C,
        "Connection: upgrade\r\nUpgrade: H2C\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: TLS/1.0, HTTP/2.0\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket/13\r\n",
        "Connection: Upgrade\r\nUpgrade: \"websocket\"\r\n",
        "Connection: keep-alive\r\nUpgrade: websocket\r\nHTTP2-Settings: AAMAAABk\r\n",
    ] {
        for path in ["/app", "/elsewhere"] {
            let line = format!("GET {path} HTTP/1.1");
            let (head, _stream) = send(&edge, &line, headers, "").await;
            assert!(head.starts_with("http/1.1 200 "), "{headers}: {head}");
            let seen = heads.recv().await.unwrap();
            let leftovers = ["upgrade", "http2-settings"];
            assert!(!leftovers.iter().any(|it| seen.contains(it)), "{seen}");
        }
    }
    // Over HTTP/2, where no connection names it.
    let mut client = Client::http2(&edge).await;
    let request = get("/app").header("http2-settings", "AAMAAABk");
    let answer = client.fetch(request.body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let seen = heads.recv().await.unwrap();
    assert!(!seen.contains("http2-settings"), "{seen}");
}

#[tokio::test]
async fn bytes_after_an_ignored_upgrade_are_routed_as_requests() {
    let (url, mut heads) = app("connection: upgrade\r\nupgrade: h2c\r\n".to_owned(), false).await;
    let routes = format!("{ROUTE}[[routes]]\npath = \"/closed\"\nstatus = 403\n");
    let edge = Edge::configured(&url, &routes);
    let more = "GET /closed HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (head, mut stream) = send(&edge, "GET /app HTTP/1.1", H2C, more).await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("http/1.1 403 "), "{head}");
    // With a body, and HTTP/2 itself behind it.
    let headers = format!("{H2C}Content-Length: 3\r\n");
    let more = "abcPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let (head, mut stream) = send(&edge, "POST /app HTTP/1.1", &headers, more).await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400 "));
    heads.close();
    let mut requests = 0;
    while let Some(seen) = heads.recv().await {
        assert!(
            !seen.contains("closed") && !seen.contains("pri *"),
            "{seen}"
        );
        requests += 1;
    }
    assert_eq!(requests, 2);
}

#[tokio::test]
async fn websocket_among_other_offers_is_requested_alone() {
    let (url, mut heads) = echo().await;
    let edge = Edge::configured(&url, ROUTE);
    let version = "Sec-WebSocket-Version: 13\r\n";
    for headers in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, WebSocket\r\n\
         HTTP2-Settings: AAMAAABk\r\n",
        "Connection: Upgrade\r\nConnection: http2-settings\r\nUpgrade: websocket\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: uPGRADE, Sec-WebSocket-Key, Sec-WebSocket-Version\r\n\
         Upgrade: WEBSOCKET\r\n",
    ] {
        let headers = format!("{headers}{version}{KEY}");
        let (head, mut stream) = send(&edge, "GET /app HTTP/1.1", &headers, "early").await;
        assert!(head.starts_with("http/1.1 101 "), "{headers}: {head}");
        let seen = heads.recv().await.unwrap();
        for wanted in [
            "\r\nupgrade: websocket\r\n",
            "\r\nconnection: upgrade\r\n",
            "\r\nsec-websocket-version: 13\r\n",
            "\r\nsec-websocket-key: dghlihnhbxbszsbub25jzq==\r\n",
        ] {
            assert_eq!(seen.matches(wanted).count(), 1, "{wanted}: {seen}");
        }
        assert!(!seen.contains("h2"), "{seen}");
        assert!(
            seen.ends_with("\r\n\r\n"),
            "something came too early: {seen}"
        );
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"early");
    }
}

#[tokio::test]
async fn invalid_websocket_handshake_is_rejected() {
    let (url, mut heads) = echo().await;
    let edge = Edge::configured(&url, ROUTE);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    for (line, headers, status) in [
        ("POST", format!("{version}{KEY}"), 400),
        ("GET", version.to_owned(), 400),
        ("GET", format!("{version}Sec-WebSocket-Key: x\r\n"), 400),
        ("GET", format!("{version}{KEY}{KEY}"), 400),
        ("GET", KEY.to_owned(), 426),
        ("GET", format!("{version}{version}{KEY}"), 426),
        ("GET", format!("Sec-WebSocket-Version: 8\r\n{KEY}"), 426),
        ("GET", format!("{version}{KEY}Content-Length: 3\r\n"), 400),
        (
            "GET",
            format!("{version}{KEY}Transfer-Encoding: chunked\r\n"),
            400,
        ),
    ] {
        // In a tunnel, and where the edge answers by itself.
        for path in ["/app", "/ws"] {
            let line = format!("{line} {path} HTTP/1.1");
            let headers = format!("{upgrade}{headers}");
            let (head, _stream) = send(&edge, &line, &headers, "").await;
            let wanted = format!("http/1.1 {status} ");
            assert!(head.starts_with(&wanted), "{line} {headers}: {head}");
        }
    }
    heads.close();
    assert_eq!(heads.recv().await, None, "the app got a request");
}

#[tokio::test]
async fn mismatched_101_response_gives_502() {
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    for switch in [
        format!("connection: upgrade\r\nupgrade: h2c\r\n{ACCEPT}"),
        format!("connection: upgrade\r\n{ACCEPT}"),
        format!("upgrade: websocket\r\n{ACCEPT}"),
        format!("{upgrade}upgrade: h2c\r\n{ACCEPT}"),
        format!("connection: upgrade\r\nupgrade: websocket, h2c\r\n{ACCEPT}"),
        format!("{upgrade}sec-websocket-accept: x\r\n"),
        format!("{upgrade}{ACCEPT}{ACCEPT}"),
        upgrade.to_owned(),
    ] {
        let (url, _heads) = app(switch.clone(), false).await;
        let edge = Edge::configured(&url, ROUTE);
        let (head, _stream) = open_tunnel(&edge, "/app").await;
        assert!(head.starts_with("http/1.1 502 "), "{switch}: {head}");
    }
}

#[tokio::test]
async fn unrequested_101_response_gives_502() {
    let switch = format!("connection: upgrade\r\nupgrade: websocket\r\n{ACCEPT}");
    let (url, _heads) = app(switch, true).await;
    let edge = Edge::configured(&url, ROUTE);
    for (line, headers) in [
        ("GET /app HTTP/1.1", ""),
        ("GET /app HTTP/1.1", H2C),
        ("POST /api/logout HTTP/1.1", "Authorization: Bearer a\r\n"),
        ("GET /elsewhere HTTP/1.1", HANDSHAKE),
        ("GET /app HTTP/1.0", HANDSHAKE),
    ] {
        let (head, _stream) = send(&edge, line, headers, "").await;
        assert!(head.contains(" 502 "), "{line} {headers}: {head}");
    }
    let mut client = Client::http2(&edge).await;
    let answer = client.fetch(get("/app").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn listed_protocol_is_tunnelled_instead_of_websocket() {
    let (url, mut heads) = app(
        "connection: upgrade\r\nupgrade: Example/1\r\n".to_owned(),
        false,
    )
    .await;
    let route = format!("{ROUTE}upgrade_protocols = [\"example/1\"]\n");
    let edge = Edge::configured(&url, &route);
    let headers = "Connection: upgrade\r\nUpgrade: EXAMPLE/1\r\n";
    let (head, mut stream) = send(&edge, "POST /app HTTP/1.1", headers, "").await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    stream.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    heads.recv().await.unwrap();
    // With a body it is no upgrade, and a WebSocket is none of those listed.
    let with_body = format!("{headers}Content-Length: 3\r\n");
    for (headers, more) in [(&*with_body, "abc"), (HANDSHAKE, "")] {
        let (head, _stream) = send(&edge, "POST /app HTTP/1.1", headers, more).await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let seen = heads.recv().await.unwrap();
        assert!(!seen.contains("upgrade"), "{seen}");
    }
}

#[tokio::test]
async fn request_outside_the_route_is_not_tunnelled() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ROUTE);
    let (head, _stream) = open_tunnel(&edge, "/application").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(laravel.last().header("upgrade"), None);
}

#[tokio::test]
async fn tunnel_is_closed_when_silent_and_at_shutdown() {
    let (url, _heads) = echo().await;
    let short = format!("[http]\ntunnel_timeout = \"100ms\"\n{ROUTE}");
    let edge = Edge::configured(&url, &short);
    let (_, mut stream) = open_tunnel(&edge, "/app").await;
    // The edge closes it by itself: the client sends nothing.
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);

    let edge = Edge::configured(&url, ROUTE);
    let (_, mut stream) = open_tunnel(&edge, "/app").await;
    let ended = edge.stop();
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(ended.await.unwrap(), 0, "something was cut off");
}
