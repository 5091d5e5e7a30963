//! Tests of rights that are in doubt or that Laravel does not confirm: which end, and when.

use serde_json::json;

use super::*;

/// Laravel grants nobody anything, so a missing confirmation is not held against the user.
#[tokio::test(start_paused = true)]
async fn outage_during_periodic_revalidation_keeps_the_session() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.down = true);
    ana.assert_quiet_for(3600 * SECOND).await;
    assert!(!edge.laravel.take_asked().is_empty());
    edge.publish(7, "still here");
    settled().await;
    assert_eq!(ana.arrived(), ["still here"]);
    // The rights that the outage left open are confirmed soon after it.
    edge.laravel.withdraw(3, 7);
    edge.laravel.change(|app| app.down = false);
    let start = Instant::now();
    assert_eq!(ana.error().await, "access_withdrawn");
    assert!(start.elapsed() <= 17 * SECOND, "{:?}", start.elapsed());
}

/// In an outage, and while Laravel throttles the user, a withdrawn right cannot be noticed.
#[tokio::test(start_paused = true)]
async fn right_unconfirmed_in_an_outage_ends_within_30_seconds() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.down = true);
    edge.revalidate(3);
    let start = Instant::now();
    assert_eq!(ana.closed().await, Closed(1013));
    assert!(start.elapsed() <= 31 * SECOND, "{:?}", start.elapsed());
    assert_eq!(edge.publish(7, "secret").sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn unconfirmed_right_of_a_throttled_user_ends_in_30_seconds() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.withdraw(3, 7);
    edge.laravel.change(|app| app.throttled.extend([(3, 59)]));
    edge.revalidate(3);
    let start = Instant::now();
    assert_eq!(ana.closed().await, Closed(1013));
    assert!(start.elapsed() <= 31 * SECOND, "{:?}", start.elapsed());
}

/// The retry comes when Laravel's `Retry-After` has passed, and ignores the token's backoff.
#[tokio::test(start_paused = true)]
async fn revalidation_of_a_throttled_user_waits_for_retry_after() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.withdraw(3, 7);
    edge.laravel.change(|app| app.throttled.extend([(3, 20)]));
    edge.revalidate(3);
    settled().await;
    edge.laravel.change(|app| app.throttled.clear());
    edge.laravel.take_asked();
    let start = Instant::now();
    assert_eq!(ana.error().await, "access_withdrawn");
    let waited = start.elapsed();
    assert!((19 * SECOND..=22 * SECOND).contains(&waited), "{waited:?}");
    // Once about the token and once about the ticket.
    assert!(edge.laravel.take_asked().len() <= 2);
}

/// A deleted token is distinguished from a throttled one, whatever came before.
#[tokio::test(start_paused = true)]
async fn invalidation_of_a_throttled_user_is_queried_at_once() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.throttled.extend([(3, 600)]));
    let ticket = json!({"ticket_id": 8});
    assert_eq!(ana.refused("join_ticket", ticket).await, "unavailable");
    edge.laravel.change(|app| app.revoked.extend([3]));
    edge.revalidate(3);
    let start = Instant::now();
    assert_eq!(ana.closed().await, Closed(4503));
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

/// A user who keeps Laravel's throttle busy is no outage: the session ends after one more
/// interval.
#[tokio::test(start_paused = true)]
async fn session_of_an_always_throttled_user_ends_in_two_intervals() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.throttled.extend([(3, 59)]));
    let start = Instant::now();
    assert_eq!(ana.closed().await, Closed(1013));
    let waited = start.elapsed();
    assert!(
        (480 * SECOND..=602 * SECOND).contains(&waited),
        "{waited:?}"
    );
}

/// Laravel responds to others, so the failure concerns this user alone.
#[tokio::test(start_paused = true)]
async fn session_whose_user_alone_fails_ends_in_two_intervals() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    let mut ben = edge.open_in(8, 4).await;
    edge.laravel.change(|app| app.failing.extend([3]));
    let start = Instant::now();
    let closed = tokio::select! {
        closed = ana.closed() => closed,
        () = ben.assert_quiet_for(3600 * SECOND) => panic!("ana stays"),
    };
    assert_eq!(closed, Closed(1013));
    assert!(start.elapsed() <= 620 * SECOND, "{:?}", start.elapsed());
    ben.assert_alive().await;
}

/// Only the ticket cannot be confirmed: the session continues without it.
#[tokio::test(start_paused = true)]
async fn unconfirmed_room_is_left_with_access_unconfirmed() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    ana.join(8).await;
    edge.laravel.change(|app| app.failing_tickets.extend([7]));
    edge.revalidate(3);
    assert_eq!(ana.error().await, "access_unconfirmed");
    assert_eq!(edge.publish(7, "secret").sessions, 0);
    assert_eq!(edge.publish(8, "open").sessions, 1);
    edge.laravel.change(|app| app.failing_tickets.clear());
    assert_eq!(ana.event().await["type"], "new_message");
    ana.join(7).await;
}

/// A long ping interval does not postpone an earlier deadline.
#[tokio::test(start_paused = true)]
async fn revalidation_retry_does_not_wait_for_the_next_ping() {
    let edge = Edge::with(Settings {
        ping_interval: ConfigDuration::seconds(600),
        pong_timeout: ConfigDuration::seconds(1800),
        ..Settings::default()
    });
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.down = true);
    edge.revalidate(3);
    settled().await;
    edge.laravel.withdraw(3, 7);
    edge.laravel.change(|app| app.down = false);
    let start = Instant::now();
    assert_eq!(ana.error().await, "access_withdrawn");
    assert!(start.elapsed() <= 4 * SECOND, "{:?}", start.elapsed());
}

/// A doubt does not wait for a round that an outage delays.
#[tokio::test(start_paused = true)]
async fn invalidation_replaces_a_stalled_periodic_revalidation() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.down = true);
    ana.assert_quiet_for(900 * SECOND).await;
    edge.laravel.change(|app| app.down = false);
    edge.laravel.withdraw(3, 7);
    edge.revalidate(3);
    let start = Instant::now();
    assert_eq!(ana.error().await, "access_withdrawn");
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

/// A logout may have been executed although its request failed: the session is revalidated.
#[tokio::test(start_paused = true)]
async fn token_invalidation_reaches_its_sessions_and_handshakes() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    let secret = Token::new(&Laravel::token(3)).unwrap().hash();
    edge.laravel.change(|app| app.revoked.extend([3]));
    edge.services.invalidations.invalidate_token(secret);
    assert_eq!(edge.services.sessions.revalidate_token(&secret), 1);
    let start = Instant::now();
    assert_eq!(ana.closed().await, Closed(4503));
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    let mut again = edge.knock(Some(&Laravel::token(3))).await;
    assert_eq!(again.error().await, "authentication_failed");
}

/// A doubt starts requests at once, also while an earlier one waits for Laravel.
#[tokio::test(start_paused = true)]
async fn invalidation_does_not_wait_for_an_earlier_one() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    ana.join(8).await;
    edge.laravel.change(|app| app.failing_tickets.extend([8]));
    edge.revalidate(3);
    let start = Instant::now();
    ana.assert_quiet_for(2 * SECOND).await;
    edge.laravel.withdraw(3, 7);
    edge.revalidate(3);
    assert_eq!(ana.error().await, "access_withdrawn");
    assert!(start.elapsed() < 3 * SECOND, "{:?}", start.elapsed());
    // The other right gets no more time.
    assert_eq!(ana.error().await, "access_unconfirmed");
    assert!(start.elapsed() <= 31 * SECOND, "{:?}", start.elapsed());
}

/// Users get no more time by casting doubt on their own token.
#[tokio::test(start_paused = true)]
async fn repeated_invalidations_do_not_extend_the_deadline() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.withdraw(3, 7);
    edge.laravel.change(|app| app.throttled.extend([(3, 59)]));
    edge.revalidate(3);
    let start = Instant::now();
    let secret = Token::new(&Laravel::token(3)).unwrap().hash();
    let closed = loop {
        edge.services.invalidations.invalidate_token(secret);
        edge.services.sessions.revalidate_token(&secret);
        match tokio::time::timeout(SECOND / 4, ana.closed()).await {
            Ok(closed) => break closed,
            Err(_) => assert!(start.elapsed() < 60 * SECOND),
        }
    };
    assert_eq!(closed, Closed(1013));
    assert!(start.elapsed() <= 31 * SECOND, "{:?}", start.elapsed());
    // At most one round per second.
    let asked = edge.laravel.take_asked().len();
    assert!(asked <= 2 * 35, "{asked}");
}

/// 401 for a ticket is a denial if the token itself is valid.
#[tokio::test(start_paused = true)]
async fn ticket_with_status_401_is_withdrawn_at_once() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel
        .change(|app| app.unauthorized_tickets.extend([7, 8]));
    edge.revalidate(3);
    let start = Instant::now();
    assert_eq!(ana.error().await, "access_withdrawn");
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    edge.laravel.take_asked();
    let ticket = json!({"ticket_id": 8});
    assert_eq!(ana.refused("join_ticket", ticket).await, "denied");
    ana.assert_alive().await;
}

/// The throttle's Redis is down, and the token is checked before it: unknown tokens are denied,
/// known ones get 500. A denial of an unknown client does not end the outage.
#[tokio::test(start_paused = true)]
async fn rejected_unknown_tokens_do_not_end_an_outage() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.failing.extend([3]));
    for _ in 0..120 {
        let mut stranger = edge.knock(Some("unknown")).await;
        assert_eq!(stranger.error().await, "authentication_failed");
        ana.assert_quiet_for(15 * SECOND).await;
    }
    edge.publish(7, "still here");
    settled().await;
    assert_eq!(ana.arrived(), ["still here"]);
}

/// A session is found by its user's id, so it cannot continue under another.
#[tokio::test(start_paused = true)]
async fn session_whose_token_changed_its_user_is_closed() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.renamed.extend([(3, 33)]));
    edge.revalidate(3);
    let start = Instant::now();
    assert_eq!(ana.closed().await, Closed(1013));
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

/// A room that was lost and joined again does not end by the old doubt.
#[tokio::test(start_paused = true)]
async fn rejoined_room_has_its_own_deadline() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    ana.join(8).await;
    edge.laravel
        .change(|app| app.failing_tickets.extend([7, 8]));
    edge.revalidate(3);
    ana.assert_quiet_for(10 * SECOND).await;
    edge.laravel
        .change(|app| assert!(app.failing_tickets.remove(&8)));
    ana.assert_quiet_for(10 * SECOND).await;
    // The rest of the first doubt ends at its time, and no later.
    assert_eq!(ana.error().await, "access_unconfirmed");
    edge.laravel.change(|app| app.failing_tickets.clear());
    ana.join(7).await;
    edge.laravel.change(|app| app.failing_tickets.extend([7]));
    edge.revalidate(3);
    ana.assert_quiet_for(20 * SECOND).await;
    edge.laravel.change(|app| app.failing_tickets.clear());
    ana.assert_quiet_for(60 * SECOND).await;
    ana.assert_alive().await;
}
