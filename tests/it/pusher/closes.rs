//! The ends of Pusher connections: their codes decide whether pusher-js comes back.

use hyper::StatusCode;
use serde_json::json;

use super::edge;
use crate::support::pusher::PusherSocket;

const ANA: &str = r#"{"user_id":42}"#;

#[tokio::test]
async fn disconnected_user_is_closed_with_4009() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    let mut stranger = PusherSocket::open(&edge).await;
    ana.enter("presence-a", ANA).await;
    let answer = edge.post("/users/42/disconnect", "").await;
    assert_eq!(answer.json(), json!({ "sessions": 1 }));
    assert_eq!(ana.socket.closed().await.0, 4009);
    assert!(stranger.settle().await.is_empty());
}

/// pusher-js reconnects, and Laravel decides about each channel again.
#[tokio::test]
async fn user_to_be_revalidated_is_closed_with_4100() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    ana.enter("presence-a", ANA).await;
    let answer = edge.post("/users/42/revalidate", "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(ana.socket.closed().await.0, 4100);
}

#[tokio::test]
async fn restart_closes_with_4100() {
    let (edge, _held) =
        edge("[server]\nlisten = [\"127.0.0.1:0\"]\nclose_spread = \"1ms\"\n").await;
    let mut ana = PusherSocket::open(&edge).await;
    let stopping = edge.stop();
    assert_eq!(ana.socket.closed().await.0, 4100);
    assert_eq!(stopping.await.unwrap(), 0);
}

#[tokio::test]
async fn oversized_message_is_closed_with_1009() {
    let (edge, _held) = edge("").await;
    let mut ana = PusherSocket::open(&edge).await;
    ana.socket.send_text(&" ".repeat(64 * 1024 + 1)).await;
    assert_eq!(ana.socket.closed().await.0, 1009);
}
