//! Laravel decides who joins a channel, by its own authorization of channels.

use hyper::StatusCode;
use pwd_edge::config::Config;
use serde_json::{Value, json};

use super::{event, join, member, start};
use crate::support::http::{Client, body};
use crate::support::{Edge, Laravel, Socket};

const HISTORY_OFF: &str = "[history]\nenabled = false\ndirectory = \"\"\n";

#[tokio::test]
async fn question_about_a_channel_is_that_of_laravel_echo() {
    let (laravel, edge) = start("").await;
    let mut ana = Socket::open(&edge, "3|ana").await;
    let session = ana.next().await["payload"]["session_id"].take();
    join(&mut ana, "private-desk").await;
    let asked = laravel.last();
    assert_eq!(
        (asked.method.as_str(), &*asked.target),
        ("POST", "/api/broadcasting/auth")
    );
    for (name, value) in [
        ("authorization", "Bearer ana"),
        ("accept", "application/json"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", "localhost"),
        ("x-edge-request", "authorization"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    let session = session.as_str().unwrap();
    let form = format!("channel_name=private%2Ddesk&socket_id={session}");
    assert_eq!(laravel.channel_forms(), [form]);
    assert!(!asked.looks_like_an_attack());
}

#[tokio::test]
async fn channel_not_granted_is_denied() {
    let (laravel, edge) = start("").await;
    let mut ben = Socket::greeted(&edge, "4|ben").await;
    for _ in 0..2 {
        let error = join(&mut ben, "private-desk").await;
        assert_eq!(
            error["payload"],
            json!({
                "message": "This channel does not exist or is not open to you",
                "code": "denied",
                "channel": "private-desk",
            })
        );
    }
    assert_eq!(laravel.channel_forms().len(), 1, "the denial is cached");
    let reached = edge.broadcast(&event(&["private-desk"], 1)).await;
    assert_eq!(reached["sessions"], 0);
    assert_eq!(ben.settle().await, [] as [Value; 0]);
}

#[tokio::test]
async fn malformed_channel_name_never_reaches_laravel() {
    let (laravel, edge) = start("").await;
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    for name in [
        json!(""),
        json!("private-a b"),
        json!("private-desk\n"),
        json!("private-desk/../x"),
        json!("private-desk&socket_id=1.2"),
        json!("#private-desk"),
        json!("a".repeat(201)),
        json!(7),
        json!(["private-desk"]),
        Value::Null,
    ] {
        for kind in ["join", "leave"] {
            ana.send(json!({ "type": kind, "payload": { "channel": name } }))
                .await;
            let code = &ana.next().await["payload"]["code"];
            assert_eq!(code, "invalid_payload", "{kind} {name}");
        }
    }
    assert_eq!(laravel.channel_forms(), [""; 0]);
}

#[tokio::test]
async fn public_channel_is_open_to_every_user_and_laravel_is_not_asked() {
    let (laravel, edge) = start("").await;
    let mut ben = member(&edge, "4|ben", "news").await;
    assert_eq!(laravel.channel_forms(), [""; 0]);
    edge.broadcast(&event(&["news"], 1)).await;
    assert_eq!(ben.next().await["payload"]["n"], 1);
    // A public channel is no back door to the private one.
    edge.broadcast(&event(&["private-news"], 2)).await;
    assert_eq!(ben.settle().await, [] as [Value; 0]);
}

#[tokio::test]
async fn channels_are_off_unless_their_path_is_set() {
    let laravel = Laravel::start().await;
    laravel.open_channel(3, "private-desk");
    let edge = Edge::before(&laravel);
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    for channel in ["private-desk", "presence-desk", "news"] {
        let error = join(&mut ana, channel).await;
        assert_eq!(error["payload"]["code"], "channels_disabled", "{error}");
        assert_eq!(error["payload"]["channel"], channel);
    }
    assert_eq!(laravel.channel_forms(), [""; 0]);
}

/// With the broadcast drivers `null` and `log`, Laravel responds 200 to everybody.
#[tokio::test]
async fn success_of_laravel_that_is_no_decision_lets_nobody_in() {
    let laravel = Laravel::start().await;
    let more = "[auth]\nchannel_path = \"/null/broadcasting/auth\"\nretry_timeout = \"5s\"\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    let error = join(&mut ana, "private-desk").await;
    assert_eq!(
        (&error["payload"]["code"], &error["payload"]["channel"]),
        (&json!("unavailable"), &json!("private-desk"))
    );
    let reached = edge.broadcast(&event(&["private-desk"], 1)).await;
    assert_eq!(reached["sessions"], 0);
}

#[tokio::test]
async fn revoked_access_ends_the_membership_in_a_channel() {
    let (laravel, edge) = start("").await;
    let mut ana = member(&edge, "3|ana", "private-desk").await;
    let mut desk = member(&edge, "5|desk", "private-desk").await;
    laravel.close_channel(3, "private-desk");
    let sessions = edge.post("/users/3/revalidate", "").await.json();
    assert_eq!(sessions["sessions"], 1);
    let error = ana.next().await;
    assert_eq!(
        error["payload"],
        json!({
            "message": "This channel is no longer open to you",
            "code": "access_withdrawn",
            "channel": "private-desk",
        })
    );
    let reached = edge.broadcast(&event(&["private-desk"], 1)).await;
    assert_eq!(reached["users"], json!([5]));
    assert_eq!(desk.next().await["payload"]["n"], 1);
    assert_eq!(ana.settle().await, [] as [Value; 0]);
}

#[tokio::test]
async fn channels_that_a_reload_switches_off_are_left() {
    let (laravel, edge) = start("").await;
    let mut ana = member(&edge, "3|ana", "private-desk").await;
    let upstream = format!("[upstream]\nurl = \"{}\"\n", laravel.url());
    let off = edge.reload_with(|config| {
        let defaults = Config::from_toml(&format!("{HISTORY_OFF}{upstream}")).unwrap();
        let before = std::mem::replace(config, defaults);
        config.server = before.server;
        config.tls = before.tls;
        config.broadcast = before.broadcast;
    });
    assert_eq!(off.await.unwrap(), [""; 0]);
    edge.post("/users/3/revalidate", "").await;
    assert_eq!(ana.next().await["payload"]["code"], "access_withdrawn");
}

#[tokio::test]
async fn logout_ends_the_membership_in_a_channel() {
    let (_laravel, edge) = start("").await;
    let mut ana = member(&edge, "3|ana", "private-desk").await;
    let request = hyper::Request::post("/api/logout")
        .header("host", "localhost")
        .header("accept", "application/json")
        .header("authorization", "Bearer 3|ana");
    let mut client = Client::http1(&edge).await;
    let answer = client.fetch(request.body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(ana.closed().await.0, 4503);
    let reached = edge.broadcast(&event(&["private-desk"], 1)).await;
    assert_eq!(reached["sessions"], 0);
}

#[tokio::test]
async fn channels_count_against_the_rooms_of_a_session() {
    let (_laravel, edge) = start("[websocket]\nmax_rooms = 2\n").await;
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    assert_eq!(join(&mut ana, "private-desk").await["type"], "joined");
    let error = join(&mut ana, "news").await;
    assert_eq!(
        (&error["payload"]["code"], &error["payload"]["channel"]),
        (&json!("too_many_rooms"), &json!("news"))
    );
}
