//! Tests of channels over time: joins that Laravel does not decide in time, and rights that end.

use serde_json::json;

use super::laravel::CHANNEL_PATH;
use super::*;

/// An edge that asks Laravel about channels.
fn edge() -> Edge {
    let auth = crate::auth::settings::Settings {
        channel_path: Some(CHANNEL_PATH.to_owned().try_into().unwrap()),
        ..crate::auth::settings::Settings::default()
    };
    Edge::with_auth(Settings::default(), auth, HistorySettings::off())
}

async fn open_in_channel(edge: &Edge, user: u64) -> Client {
    let mut client = edge.open(user).await;
    client.say("join", json!({"channel": DESK})).await;
    assert_eq!(client.event().await["type"], "joined");
    client
}

fn publish(edge: &Edge) -> Delivered {
    edge.services.rooms.publish(Broadcast {
        room: RoomName::parse("channel/private-desk").unwrap(),
        text: r#"{"type":"news","payload":{},"channel":"private-desk"}"#.to_owned(),
        audience: Audience::All,
        to: None,
    })
}

#[tokio::test(start_paused = true)]
async fn join_of_a_channel_reported_unavailable_is_completed_later() {
    let edge = edge();
    let mut ana = edge.open(3).await;
    edge.laravel.change(|app| app.down = true);
    let channel = json!({"channel": DESK});
    assert_eq!(ana.refused("join", channel.clone()).await, "unavailable");
    // Another join changes nothing.
    ana.say("join", channel).await;
    ana.assert_quiet_for(60 * SECOND).await;
    edge.laravel.change(|app| app.down = false);
    let joined = ana.event().await;
    assert_eq!(
        (&joined["type"], &joined["payload"]["channel"]),
        (&json!("joined"), &json!(DESK))
    );
    assert_eq!(publish(&edge).sessions, 1);
}

#[tokio::test(start_paused = true)]
async fn leave_cancels_a_late_join_of_a_channel() {
    let edge = edge();
    let mut ana = edge.open(3).await;
    edge.laravel.change(|app| app.down = true);
    let channel = json!({"channel": DESK});
    assert_eq!(ana.refused("join", channel.clone()).await, "unavailable");
    ana.say("leave", channel).await;
    settled().await;
    edge.laravel.change(|app| app.down = false);
    ana.assert_quiet_for(60 * SECOND).await;
    assert_eq!(publish(&edge).sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn periodic_revalidation_ends_a_channel_that_laravel_denies() {
    let edge = edge();
    let mut ana = open_in_channel(&edge, 3).await;
    edge.laravel.change(|app| app.without_channels.extend([3]));
    edge.laravel.take_asked();
    assert_eq!(ana.error().await, "access_withdrawn");
    let asked = edge.laravel.take_asked();
    assert_eq!(asked, ["GET /api/user 3", "POST /broadcasting/auth 3"]);
    assert_eq!(publish(&edge).sessions, 0);
    ana.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn channel_not_confirmed_after_a_doubt_is_left() {
    let edge = edge();
    let mut ana = open_in_channel(&edge, 3).await;
    edge.laravel.change(|app| app.delay = 100 * SECOND);
    edge.revalidate(3);
    assert_eq!(ana.error().await, "access_unconfirmed");
    assert_eq!(publish(&edge).sessions, 0);
    ana.assert_alive().await;
}

const DESK: &str = "private-desk";
