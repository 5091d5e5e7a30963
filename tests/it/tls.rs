//! TLS as the edge speaks it.

use rustls::NamedGroup;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http::{Client, body, connect, connect_with, get};
use crate::support::{Edge, Laravel};

#[tokio::test]
async fn both_versions_are_spoken_and_the_hybrid_key_exchange_comes_first() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let stream = connect_with(&edge, "http/1.1", &[version]).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(version.version));
        if version.version == rustls::ProtocolVersion::TLSv1_3 {
            let group = session.negotiated_key_exchange_group().unwrap().name();
            assert_eq!(group, NamedGroup::X25519MLKEM768);
        }
        let mut client = Client::over_http1(stream).await;
        let answer = client.fetch(get("/").body(body("")).unwrap()).await;
        assert_eq!(answer.text(), "hello from laravel");
    }
}

#[tokio::test]
async fn alpn_settles_the_protocol() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for alpn in ["h2", "http/1.1"] {
        let stream = connect(&edge, alpn).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
    }
    assert!(connect(&edge, "smtp").await.is_err());
}

#[tokio::test]
async fn what_is_no_tls_is_closed_and_others_are_served() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[tls]\nhandshake_timeout = \"100ms\"\n");
    let mut plain = TcpStream::connect(edge.address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP"));
    let mut silent = TcpStream::connect(edge.address).await.unwrap();
    assert!(matches!(silent.read(&mut [0]).await, Ok(0) | Err(_)));
    let answer = Client::http1(&edge)
        .await
        .fetch(get("/").body(body("")).unwrap())
        .await;
    assert_eq!(answer.text(), "hello from laravel");
}
