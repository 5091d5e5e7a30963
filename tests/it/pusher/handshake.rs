//! The connection of a Pusher client.

use hyper::StatusCode;

use super::{data, edge};
use crate::support::Socket;
use crate::support::pusher::{KEY, PusherSocket};

#[tokio::test]
async fn connection_is_established_before_anything_else() {
    let (edge, _held) = edge("activity_timeout = \"45s\"\n").await;
    let path = format!("/app/{KEY}?protocol=7&client=js&version=8.6.0&flash=false");
    let mut socket = Socket::try_open(&edge, &path, &[]).await.unwrap();
    let greeting = socket.next().await;
    assert_eq!(greeting["event"], "pusher:connection_established");
    let data = data(&greeting);
    assert_eq!(data["activity_timeout"], 45);
    // The form that Laravel demands of `X-Socket-ID`.
    let (first, second) = data["socket_id"].as_str().unwrap().split_once('.').unwrap();
    assert!(first.parse::<u64>().is_ok() && second.parse::<u64>().is_ok());
}

#[tokio::test]
async fn client_that_is_not_served_learns_why_and_stays_away() {
    let (edge, _held) = edge("paths = [\"/app\", \"/ws/app\"]\n").await;
    for (path, code) in [
        ("/app/other?protocol=7", 4001),
        ("/app/edgekey/x?protocol=7", 4001),
        ("/app/edgekey?protocol=x", 4006),
        ("/app/edgekey?protocol=4", 4007),
        ("/app/edgekey?protocol=8", 4007),
        ("/ws/app/edgekey", 4008),
        ("/app/edgekey?protocol=", 4008),
    ] {
        let mut socket = Socket::try_open(&edge, path, &[]).await.unwrap();
        let error = socket.next().await;
        assert_eq!(error["event"], "pusher:error", "{path}");
        assert_eq!(error["data"]["code"], code, "{path}");
        assert_eq!(socket.closed().await.0, code, "{path}");
    }
    let java = Socket::try_open(&edge, "/ws/app/edgekey?client=java-client&protocol=5", &[]).await;
    PusherSocket::greeted(java.unwrap()).await;
}

#[tokio::test]
async fn page_of_another_site_is_rejected_before_the_upgrade() {
    let (edge, _held) = edge("[websocket]\nallowed_origins = [\"https://app.example\"]\n").await;
    let path = format!("/app/{KEY}?protocol=7");
    for (origin, status) in [
        ("https://evil.example", Some(StatusCode::FORBIDDEN)),
        ("https://localhost", None),
        ("https://app.example", None),
    ] {
        let opened = Socket::try_open(&edge, &path, &[("origin", origin)]).await;
        assert_eq!(opened.err(), status, "{origin}");
    }
}

#[tokio::test]
async fn connection_over_the_limit_is_rejected_before_the_upgrade() {
    let (edge, _held) = edge("[limits]\nmax_sessions_per_client = 1\n").await;
    let path = format!("/app/{KEY}?protocol=7");
    // It is counted without a subscription.
    let _first = PusherSocket::open(&edge).await;
    let second = Socket::try_open(&edge, &path, &[]).await;
    assert_eq!(second.err(), Some(StatusCode::TOO_MANY_REQUESTS));
}

#[tokio::test]
async fn connection_without_a_subscription_is_counted() {
    let (edge, _held) = edge("").await;
    let _socket = PusherSocket::open(&edge).await;
    assert_eq!(edge.get("/status").await.json()["sessions"], 1);
}
