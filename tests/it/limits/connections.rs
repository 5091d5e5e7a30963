//! Limits of connections and of TLS handshakes.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::http::{Client, connect};
use crate::support::{Edge, Laravel, Socket};

#[tokio::test]
async fn connection_beyond_the_clients_share_is_closed() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[limits]\nmax_connections_per_client = 2\n");
    let held = [Client::http1(&edge).await, Client::http1(&edge).await];
    let mut third = TcpStream::connect(edge.address).await.unwrap();
    assert!(matches!(third.read(&mut [0]).await, Ok(0) | Err(_)));
    drop(held);
    // The edge needs a moment to see that they are gone.
    while connect(&edge, "http/1.1").await.is_err() {}
}

/// The share is the session's for as long as it lives.
#[tokio::test]
async fn session_counts_as_a_connection_while_it_is_open() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[limits]\nmax_connections_per_client = 1\n");
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    assert!(connect(&edge, "http/1.1").await.is_err());
    socket.0.close(None).await.unwrap();
    while connect(&edge, "http/1.1").await.is_err() {}
}

#[tokio::test]
async fn connection_over_the_rate_is_closed() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nconnections_per_second = 1\nconnection_burst = 2\n";
    let edge = Edge::configured(&laravel.url(), more);
    for _ in 0..2 {
        drop(connect(&edge, "h2").await.unwrap());
    }
    // On a slow machine a second passes, and one more connection is accepted.
    while connect(&edge, "h2").await.is_ok() {}
}

#[tokio::test]
async fn stalled_handshakes_block_only_their_client() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nmax_handshakes_per_client = 2\nmax_handshakes = 3\n\
                connections_per_second = 1000000\nconnection_burst = 1000000\n";
    let edge = Edge::configured(&laravel.url(), more);
    let idle = [
        TcpStream::connect(edge.address).await.unwrap(),
        TcpStream::connect(edge.address).await.unwrap(),
    ];
    // Until both are counted.
    let mut refused = false;
    for _ in 0..1000 {
        refused |= connect(&edge, "h2").await.is_err();
        if refused {
            break;
        }
    }
    assert!(refused);
    drop(idle);
    while connect(&edge, "h2").await.is_err() {}
}
