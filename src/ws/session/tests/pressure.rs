//! Tests of clients that read too slowly or send too much.

use serde_json::json;

use super::*;

/// Queues hold four events, so that a client that does not read is soon too slow.
fn small() -> Settings {
    Settings {
        max_queued_events: PositiveCount::new(4),
        ..Settings::default()
    }
}

/// Publishes one message after the other, each once all sessions have taken the last.
async fn publish_slowly(edge: &Edge, messages: usize) -> Vec<Delivered> {
    let mut delivered = Vec::new();
    for number in 0..messages {
        delivered.push(edge.publish(7, &format!("{number}{}", "x".repeat(2000))));
        settled().await;
    }
    delivered
}

/// Revokes the token of a user with one session, and waits for its end.
async fn revoke(edge: &Edge, user: u64) {
    let token = Token::new(&Laravel::token(user)).unwrap();
    assert_eq!(edge.services.sessions.revoke(&token.hash()), 1);
    settled().await;
    assert_eq!(edge.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn slow_reader_is_closed_with_4008_and_delays_no_other() {
    let edge = Edge::with(small());
    let mut fast = edge.open_in(7, 3).await;
    let mut slow = edge.open_with_pipe(4, 1000).await;
    slow.join(7).await;
    let delivered = publish_slowly(&edge, 8).await;
    let sessions: Vec<_> = delivered
        .iter()
        .map(|delivered| delivered.sessions)
        .collect();
    // One event is being written, four wait, and one is too many.
    assert_eq!(sessions, [2, 2, 2, 2, 2, 1, 1, 1]);
    assert_eq!(fast.arrived().len(), 1 + 8);
    assert_eq!(slow.closed().await, Closed(4008));
}

#[tokio::test(start_paused = true)]
async fn eviction_interrupts_a_blocked_write() {
    let edge = Edge::with(small());
    let mut slow = edge.open_with_pipe(4, 1000).await;
    slow.join(7).await;
    publish_slowly(&edge, 5).await;
    assert_eq!(edge.sessions(), 1);
    let evicted = Instant::now();
    edge.publish(7, "one too many");
    slow.gone().await;
    assert_eq!(evicted.elapsed(), CLOSE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn revocation_interrupts_a_blocked_write() {
    let edge = Edge::new();
    let mut slow = edge.open_with_pipe(4, 1000).await;
    slow.join(7).await;
    publish_slowly(&edge, 1).await;
    revoke(&edge, 4).await;
    assert_eq!(slow.closed().await, Closed(4503));
}

/// Events that the session has taken to send are dropped.
#[tokio::test(start_paused = true)]
async fn revoked_slow_reader_gets_few_more_events_and_the_code() {
    let edge = Edge::new();
    let mut slow = edge.open_with_pipe(4, 1000).await;
    slow.join(7).await;
    publish_slowly(&edge, 100).await;
    // The session takes the queued events once the first is read.
    for _ in 0..2 {
        slow.event().await;
    }
    settled().await;
    revoke(&edge, 4).await;
    let mut heard = 0;
    let closed = loop {
        match slow.next().await {
            Ok(_) => heard += 1,
            Err(closed) => break closed,
        }
    };
    assert_eq!(closed, Closed(4503));
    assert!(heard <= 10, "{heard} of 98 that waited");
}

#[tokio::test(start_paused = true)]
async fn blocked_write_closes_the_session_after_ten_seconds() {
    let edge = Edge::new();
    let mut slow = edge.open_with_pipe(4, 1000).await;
    slow.join(7).await;
    publish_slowly(&edge, 1).await;
    tokio::time::sleep(10 * SECOND - 2 * MS).await;
    assert_eq!(edge.sessions(), 1);
    tokio::time::sleep(2 * MS).await;
    assert_eq!(edge.sessions(), 0);
    assert_eq!(slow.closed().await, Closed(4008));
}

#[tokio::test(start_paused = true)]
async fn client_that_pauses_reading_misses_nothing() {
    let edge = Edge::with(small());
    let mut slow = edge.open_with_pipe(4, 1000).await;
    slow.join(7).await;
    publish_slowly(&edge, 5).await;
    for number in 0..5 {
        let event = slow.event().await;
        let text = event["payload"]["message"].as_str().unwrap();
        assert!(text.starts_with(&number.to_string()), "{text}");
    }
    slow.assert_alive().await;
}

/// The client is slowed down to 20 messages a second, and closed after 10 s of that.
#[tokio::test(start_paused = true)]
async fn session_over_the_message_rate_is_closed_with_1008() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    for _ in 0..300 {
        ana.say("ping", json!({})).await;
    }
    let start = Instant::now();
    let mut pongs = 0;
    let told = loop {
        let event = ana.event().await;
        match event["type"].as_str() {
            Some("pong") => pongs += 1,
            _ => break event,
        }
    };
    assert_eq!(told["payload"]["code"], "too_many_messages");
    assert!((235..=245).contains(&pongs), "{pongs}");
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(ana.closed().await, Closed(1008));
}

#[tokio::test(start_paused = true)]
async fn burst_of_eighty_joins_is_accepted() {
    let edge = Edge::new();
    let mut desk = edge.open(3).await;
    for ticket in 100..180 {
        desk.say("join_ticket", json!({"ticket_id": ticket})).await;
    }
    for _ in 0..80 {
        assert_eq!(desk.event().await["type"], "ticket_joined");
    }
    desk.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn session_sending_twenty_messages_a_second_stays_open() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    for _ in 0..200 {
        ana.assert_alive().await;
        tokio::time::sleep(SECOND / 20).await;
    }
}

#[tokio::test(start_paused = true)]
async fn pongs_are_not_counted_as_messages() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    for _ in 0..100 {
        ana.send(Message::Pong(Bytes::new())).await;
    }
    ana.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn session_with_a_too_long_message_is_closed_with_1009() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    let longest = edge.settings.max_message_size.get();
    ana.send(Message::text("x".repeat(longest))).await;
    assert_eq!(ana.error().await, "invalid_json");
    ana.send(Message::text("x".repeat(longest + 1))).await;
    assert_eq!(ana.closed().await, Closed(1009));
}

/// The length is known from the header, long before the last bytes are sent.
#[tokio::test(start_paused = true)]
async fn client_still_sending_a_too_long_message_gets_1009() {
    let edge = Edge::new();
    let mut ana = edge.open_with_pipe(3, 1000).await;
    ana.send(Message::text("x".repeat(1024 * 1024))).await;
    assert_eq!(ana.closed().await, Closed(1009));
}
