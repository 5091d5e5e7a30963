//! The user's own channel, which a session joins by itself.

use serde_json::{Value, json};

use super::{event, join, leave};
use crate::support::{Edge, Laravel, Socket};

const OWN: &str = "[auth]\nuser_channel = \"private-App.Models.User.{id}\"\n";
const ANAS: &str = "private-App.Models.User.3";

async fn start(more: &str) -> (Laravel, Edge) {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), &format!("{OWN}{more}"));
    (laravel, edge)
}

#[tokio::test]
async fn session_joins_the_users_own_channel_by_itself() {
    let (laravel, edge) = start("").await;
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    assert_eq!(
        ana.next().await,
        json!({ "type": "joined", "payload": { "channel": ANAS } })
    );
    let mut ben = Socket::greeted(&edge, "4|ben").await;
    let reached = edge.broadcast(&event(&[ANAS], 1)).await;
    assert_eq!(reached, json!({ "sessions": 1, "users": [3] }));
    assert_eq!(ana.next().await["channel"], ANAS);
    let own = ben.next().await;
    assert_eq!(own["payload"]["channel"], "private-App.Models.User.4");
    assert_eq!(ben.settle().await, [] as [Value; 0]);
    assert_eq!(laravel.channel_forms(), [""; 0]);
}

#[tokio::test]
async fn own_channel_of_another_user_is_not_joined() {
    let (laravel, edge) = start("channel_path = \"/api/broadcasting/auth\"\n").await;
    let mut ben = Socket::greeted(&edge, "4|ben").await;
    ben.until("joined").await;
    let error = join(&mut ben, ANAS).await;
    assert_eq!(error["payload"]["code"], "denied", "{error}");
    assert_eq!(laravel.channel_forms().len(), 1, "Laravel has decided it");
}

#[tokio::test]
async fn client_that_returns_gets_the_missed_events_of_its_own_channel() {
    let (_laravel, edge) = start("[history]\ndirectory = \"\"\n").await;
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    let since = ana.next().await["payload"]["position"].take();
    drop(ana);
    edge.broadcast(&event(&[ANAS], 1)).await;

    let path = |since: &str| format!("/ws?token=3%7Cana&since={since}");
    let url = path(since.as_str().unwrap());
    let mut ana = Socket::try_open(&edge, &url, &[]).await.unwrap();
    assert_eq!(ana.next().await["type"], "connection");
    assert_eq!(
        ana.next().await["payload"],
        json!({
            "channel": ANAS,
            "position": since,
            "recovered": true,
            "missed": 1,
        })
    );
    assert_eq!(ana.next().await["payload"]["n"], 1);

    let mut ana = Socket::try_open(&edge, &path("undefined"), &[])
        .await
        .unwrap();
    let joined = ana.until("joined").await;
    assert_eq!(
        (
            &joined["payload"]["recovered"],
            &joined["payload"]["reason"]
        ),
        (&json!(false), &json!("invalid"))
    );
}

#[tokio::test]
async fn own_channel_is_kept_while_laravel_accepts_the_token() {
    let (laravel, edge) = start("").await;
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    ana.until("joined").await;
    let before = laravel.requests().len();
    edge.post("/users/3/revalidate", "").await;
    while laravel.requests().len() == before {
        tokio::task::yield_now().await;
    }
    assert_eq!(ana.settle().await, [] as [Value; 0]);
    edge.broadcast(&event(&[ANAS], 1)).await;
    assert_eq!(ana.next().await["payload"]["n"], 1);
    laravel.revoke("3|ana");
    edge.post("/users/3/revalidate", "").await;
    assert_eq!(ana.closed().await.0, 4503);
}

#[tokio::test]
async fn own_channel_can_be_left_and_joined_again() {
    let (laravel, edge) = start("").await;
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    ana.until("joined").await;
    leave(&mut ana, ANAS).await;
    ana.settle().await;
    assert_eq!(edge.broadcast(&event(&[ANAS], 1)).await["sessions"], 0);
    assert_eq!(join(&mut ana, ANAS).await["type"], "joined");
    assert_eq!(edge.broadcast(&event(&[ANAS], 2)).await["sessions"], 1);
    assert_eq!(laravel.channel_forms(), [""; 0]);
}
