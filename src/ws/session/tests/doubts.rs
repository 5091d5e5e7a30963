//! Tests of rights that are in doubt or that Laravel does not confirm: which end, and when.

use serde_json::json;

use super::*;

/// Laravel grants nobody anything, so a missing confirmation is not held against the user.
#[tokio::test(start_paused = true)]
async fn outage_takes_nothing_from_the_periodic_round() {
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
async fn right_in_doubt_that_an_outage_leaves_open_ends_within_thirty_seconds() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.down = true);
    edge.recheck(3);
    let start = Instant::now();
    assert_eq!(ana.closed().await, Closed(1013));
    assert!(start.elapsed() <= 31 * SECOND, "{:?}", start.elapsed());
    assert_eq!(edge.publish(7, "secret").sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn throttled_user_does_not_keep_a_right_that_is_in_doubt() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.withdraw(3, 7);
    edge.laravel.change(|app| app.throttled.extend([(3, 59)]));
    edge.recheck(3);
    let start = Instant::now();
    assert_eq!(ana.closed().await, Closed(1013));
    assert!(start.elapsed() <= 31 * SECOND, "{:?}", start.elapsed());
}

/// The retry comes when Laravel's `Retry-After` has passed, and ignores the token's backoff.
#[tokio::test(start_paused = true)]
async fn doubt_about_a_throttled_user_is_settled_when_laravel_said() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.withdraw(3, 7);
    edge.laravel.change(|app| app.throttled.extend([(3, 20)]));
    edge.recheck(3);
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
async fn doubt_is_asked_about_although_the_user_is_throttled() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.throttled.extend([(3, 600)]));
    let ticket = json!({"ticket_id": 8});
    assert_eq!(ana.refused("join_ticket", ticket).await, "unavailable");
    edge.laravel.change(|app| app.revoked.extend([3]));
    edge.recheck(3);
    let start = Instant::now();
    assert_eq!(ana.closed().await, Closed(4503));
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

/// A user who keeps Laravel's throttle busy is no outage: the session ends after one more
/// interval.
#[tokio::test(start_paused = true)]
async fn throttled_user_is_not_kept_by_the_periodic_round_for_ever() {
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
async fn user_whose_requests_alone_fail_is_not_kept_for_ever() {
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
async fn room_that_is_not_confirmed_is_left_with_a_code_that_says_come_back() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    ana.join(8).await;
    edge.laravel.change(|app| app.failing_tickets.extend([7]));
    edge.recheck(3);
    assert_eq!(ana.error().await, "access_unconfirmed");
    assert_eq!(edge.publish(7, "secret").sessions, 0);
    assert_eq!(edge.publish(8, "open").sessions, 1);
    edge.laravel.change(|app| app.failing_tickets.clear());
    assert_eq!(ana.event().await["type"], "new_message");
    ana.join(7).await;
}

/// A long ping interval does not postpone an earlier deadline.
#[tokio::test(start_paused = true)]
async fn retry_does_not_wait_for_the_next_ping() {
    let edge = Edge::with(Settings {
        ping_interval: ConfigDuration::seconds(600),
        pong_timeout: ConfigDuration::seconds(1800),
        ..Settings::default()
    });
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.down = true);
    edge.recheck(3);
    settled().await;
    edge.laravel.withdraw(3, 7);
    edge.laravel.change(|app| app.down = false);
    let start = Instant::now();
    assert_eq!(ana.error().await, "access_withdrawn");
    assert!(start.elapsed() <= 4 * SECOND, "{:?}", start.elapsed());
}

/// A doubt does not wait for a round that an outage delays.
#[tokio::test(start_paused = true)]
async fn doubt_takes_the_place_of_a_periodic_round() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.down = true);
    ana.assert_quiet_for(900 * SECOND).await;
    edge.laravel.change(|app| app.down = false);
    edge.laravel.withdraw(3, 7);
    edge.recheck(3);
    let start = Instant::now();
    assert_eq!(ana.error().await, "access_withdrawn");
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

/// A logout may have been executed although its request failed: the session is revalidated.
#[tokio::test(start_paused = true)]
async fn doubt_about_a_token_reaches_its_sessions_and_its_joins() {
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
async fn doubt_does_not_wait_for_the_round_of_another() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    ana.join(8).await;
    edge.laravel.change(|app| app.failing_tickets.extend([8]));
    edge.recheck(3);
    let start = Instant::now();
    ana.assert_quiet_for(2 * SECOND).await;
    edge.laravel.withdraw(3, 7);
    edge.recheck(3);
    assert_eq!(ana.error().await, "access_withdrawn");
    assert!(start.elapsed() < 3 * SECOND, "{:?}", start.elapsed());
    // The other right gets no more time.
    assert_eq!(ana.error().await, "access_unconfirmed");
    assert!(start.elapsed() <= 31 * SECOND, "{:?}", start.elapsed());
}

/// Users get no more time by casting doubt on their own token.
#[tokio::test(start_paused = true)]
async fn doubts_without_end_give_no_more_time() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.withdraw(3, 7);
    edge.laravel.change(|app| app.throttled.extend([(3, 59)]));
    edge.recheck(3);
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
async fn ticket_that_is_answered_401_is_withdrawn_at_once() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel
        .change(|app| app.unauthorized_tickets.extend([7, 8]));
    edge.recheck(3);
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
async fn strangers_who_are_refused_make_no_outage_end() {
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
async fn session_whose_token_is_another_users_now_ends() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.renamed.extend([(3, 33)]));
    edge.recheck(3);
    let start = Instant::now();
    assert_eq!(ana.closed().await, Closed(1013));
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

/// A room that was lost and joined again does not end by the old doubt.
#[tokio::test(start_paused = true)]
async fn room_that_is_joined_anew_has_its_own_time() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    ana.join(8).await;
    edge.laravel
        .change(|app| app.failing_tickets.extend([7, 8]));
    edge.recheck(3);
    ana.assert_quiet_for(10 * SECOND).await;
    edge.laravel
        .change(|app| assert!(app.failing_tickets.remove(&8)));
    ana.assert_quiet_for(10 * SECOND).await;
    // The rest of the first doubt ends at its time, and no later.
    assert_eq!(ana.error().await, "access_unconfirmed");
    edge.laravel.change(|app| app.failing_tickets.clear());
    ana.join(7).await;
    edge.laravel.change(|app| app.failing_tickets.extend([7]));
    edge.recheck(3);
    ana.assert_quiet_for(20 * SECOND).await;
    edge.laravel.change(|app| app.failing_tickets.clear());
    ana.assert_quiet_for(60 * SECOND).await;
    ana.assert_alive().await;
}
