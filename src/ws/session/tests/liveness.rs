//! Tests of liveness: half-open connections are closed, and live ones are not.

use serde_json::json;

use super::*;

#[tokio::test(start_paused = true)]
async fn silent_client_is_closed_after_a_minute_with_4009() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    tokio::time::sleep(60 * SECOND - MS).await;
    assert_eq!(edge.sessions(), 1);
    tokio::time::sleep(2 * MS).await;
    assert_eq!(edge.sessions(), 0);
    assert_eq!(ana.closed().await, Closed(4009));
}

#[tokio::test(start_paused = true)]
async fn quiet_client_is_pinged_every_25_seconds_and_kept() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    let start = Instant::now();
    let mut last = start;
    while start.elapsed() < 1000 * SECOND {
        assert!(ana.frame().await.is_ping());
        let pause = last.elapsed();
        assert!(
            (20 * SECOND..=25 * SECOND + MS).contains(&pause),
            "{pause:?}"
        );
        last = Instant::now();
    }
    ana.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn frame_of_any_kind_keeps_the_session_alive() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    for frame in [
        Message::text("nonsense"),
        Message::Ping(Bytes::new()),
        Message::Pong(Bytes::new()),
    ] {
        tokio::time::sleep(59 * SECOND).await;
        ana.send(frame).await;
        settled().await;
    }
    tokio::time::sleep(59 * SECOND).await;
    assert_eq!(edge.sessions(), 1);
    tokio::time::sleep(SECOND).await;
    assert_eq!(edge.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn time_waiting_for_laravel_does_not_count_as_silence() {
    let edge = Edge::with(Settings {
        pong_timeout: ConfigDuration::seconds(3),
        ..Settings::default()
    });
    let mut ana = edge.open(3).await;
    edge.laravel.change(|app| app.delay = 4 * SECOND);
    ana.say("join_ticket", json!({"ticket_id": 7})).await;
    // The session waits for the join, and reads nothing that comes after it meanwhile.
    ana.say("leave_ticket", json!({"ticket_id": 7})).await;
    assert_eq!(ana.event().await["type"], "ticket_joined");
    ana.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn websocket_ping_gets_a_pong_at_once() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    ana.send(Message::Ping(Bytes::from_static(b"x"))).await;
    settled().await;
    assert_eq!(ana.frame().await, Message::Pong(Bytes::from_static(b"x")));
}
