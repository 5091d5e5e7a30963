//! Upgrades that an app behind the edge answers itself.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::Edge;
use crate::support::app::{head, scripted};
use crate::support::http::connect;

const ROUTE: &str = "[[routes]]\npath = \"/app\"\ntunnel = true\n";

/// An app that switches to `protocol` and then says back what it hears.
async fn echo(protocol: &'static str) -> String {
    scripted(move |_, mut stream| async move {
        let request = head(&mut stream).await.to_ascii_lowercase();
        let asked = request.contains("\r\nupgrade: websocket\r\n")
            && request.contains("\r\nconnection: upgrade\r\n");
        let answer = match asked {
            true => format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                 upgrade: {protocol}\r\nsec-websocket-accept: x\r\n\r\n"
            ),
            false => "HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    })
    .await
}

/// Asks for a WebSocket on `path`; the head of the answer and the connection.
async fn ask(edge: &Edge, path: &str) -> (String, TlsStream<TcpStream>) {
    let mut stream = connect(edge, "http/1.1").await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (
        String::from_utf8(head).unwrap().to_ascii_lowercase(),
        stream,
    )
}

#[tokio::test]
async fn both_ends_hear_each_other_and_a_reload_is_not_noticed() {
    let edge = Edge::configured(&echo("websocket").await, ROUTE);
    let (head, stream) = ask(&edge, "/app/key?protocol=7").await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(head.contains("\r\nsec-websocket-accept: x\r\n"), "{head}");
    edge.reload_with(|config| config.routes.clear())
        .await
        .unwrap();
    let (mut from, mut to) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let said = sent.clone();
    let saying = tokio::spawn(async move {
        to.write_all(&said).await.unwrap();
        to
    });
    let mut heard = vec![0; sent.len()];
    from.read_exact(&mut heard).await.unwrap();
    assert!(heard == sent, "not what was said");
    drop(saying.await.unwrap());
}

#[tokio::test]
async fn another_protocol_than_was_asked_for_is_an_error() {
    let edge = Edge::configured(&echo("other").await, ROUTE);
    let (head, _stream) = ask(&edge, "/app").await;
    assert!(head.starts_with("http/1.1 502 "), "{head}");
}

#[tokio::test]
async fn without_the_route_nothing_is_tunnelled() {
    let edge = Edge::configured(&echo("websocket").await, ROUTE);
    let (head, _stream) = ask(&edge, "/application").await;
    assert!(head.starts_with("http/1.1 426 "), "{head}");
}

#[tokio::test]
async fn a_silent_tunnel_ends_and_so_does_one_at_a_stop() {
    let short = format!("[http]\ntunnel_timeout = \"100ms\"\n{ROUTE}");
    let edge = Edge::configured(&echo("websocket").await, &short);
    let (_, mut stream) = ask(&edge, "/app").await;
    // It ends without a word of the client's: there is nobody else to end it.
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);

    let edge = Edge::configured(&echo("websocket").await, ROUTE);
    let (_, mut stream) = ask(&edge, "/app").await;
    let ended = edge.stop();
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(ended.await.unwrap(), 0, "something was cut off");
}
