//! Tests of revalidation: a denial removes a right, an outage does not.

use serde_json::json;

use super::*;

#[tokio::test(start_paused = true)]
async fn room_with_withdrawn_access_sends_no_more_events() {
    let edge = Edge::new();
    let mut ben = edge.open_in(7, 4).await;
    let mut ana = edge.open_in(7, 3).await;
    ana.join(8).await;
    edge.laravel.withdraw(3, 7);
    edge.revalidate(3);
    assert_eq!(ana.error().await, "access_withdrawn");
    edge.publish(7, "secret");
    edge.publish(8, "open");
    settled().await;
    assert_eq!(ana.arrived(), ["open"]);
    assert_eq!(ben.arrived(), ["user_joined", "user_left", "secret"]);
    let typing = json!({"ticket_id": 7, "is_typing": true});
    assert_eq!(ana.refused("typing_indicator", typing).await, "not_in_room");
    let ticket = json!({"ticket_id": 7});
    assert_eq!(ana.refused("join_ticket", ticket).await, "denied");
}

#[tokio::test(start_paused = true)]
async fn session_is_revalidated_within_five_minutes() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.withdraw(3, 7);
    edge.laravel.take_asked();
    let start = Instant::now();
    assert_eq!(ana.error().await, "access_withdrawn");
    let waited = start.elapsed();
    assert!(
        (240 * SECOND..=301 * SECOND).contains(&waited),
        "{waited:?}"
    );
    let asked = edge.laravel.take_asked();
    assert_eq!(asked, ["GET /api/user 3", "HEAD /api/support-tickets/7 3"]);
}

#[tokio::test(start_paused = true)]
async fn session_whose_token_is_revoked_is_closed_with_4503() {
    let edge = Edge::new();
    let mut ben = edge.open_in(7, 4).await;
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.revoked.extend([3]));
    edge.revalidate(3);
    assert_eq!(ana.closed().await, Closed(4503));
    assert_eq!(ben.arrived(), ["user_joined", "user_left"]);
}

/// Messages of a client over its rate wait; events from Laravel do not.
#[tokio::test(start_paused = true)]
async fn throttled_client_is_revalidated_at_once_and_gets_events() {
    let edge = Edge::with(Settings {
        join_burst: PositiveCount::new(1),
        joins_per_minute: PositiveCount::new(1),
        ..Settings::default()
    });
    let mut ana = edge.open_in(7, 3).await;
    ana.say("join_ticket", json!({"ticket_id": 8})).await;
    settled().await;
    edge.publish(7, "meanwhile");
    settled().await;
    assert_eq!(ana.arrived(), ["meanwhile"]);
    edge.laravel.withdraw(3, 7);
    edge.revalidate(3);
    let start = Instant::now();
    assert_eq!(ana.error().await, "access_withdrawn");
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    assert_eq!(ana.event().await["type"], "ticket_joined");
}

/// The round that is under way may have had its response before the change.
#[tokio::test(start_paused = true)]
async fn revalidation_requested_during_another_is_not_lost() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.delay = SECOND);
    edge.revalidate(3);
    settled().await;
    edge.laravel.withdraw(3, 7);
    edge.revalidate(3);
    let start = Instant::now();
    assert_eq!(ana.error().await, "access_withdrawn");
    assert!(start.elapsed() < 3 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn events_are_delivered_during_a_revalidation() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    edge.laravel.change(|app| app.delay = SECOND);
    edge.revalidate(3);
    settled().await;
    edge.publish(7, "meanwhile");
    settled().await;
    assert_eq!(ana.arrived(), ["meanwhile"]);
    ana.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn user_disconnected_by_laravel_is_removed_at_once() {
    let edge = Edge::new();
    let mut ben = edge.open_in(7, 4).await;
    let mut tabs = [edge.open_in(7, 3).await, edge.open_in(7, 3).await];
    let user = UserId::Number(3);
    assert_eq!(edge.services.sessions.disconnect_user(&user), 2);
    edge.publish(7, "secret");
    settled().await;
    assert_eq!(edge.sessions(), 1);
    for tab in &mut tabs {
        assert_eq!(tab.arrived(), [""; 0]);
    }
    assert_eq!(ben.arrived(), ["user_joined", "secret", "user_left"]);
}

#[tokio::test(start_paused = true)]
async fn session_disconnected_by_laravel_is_closed_with_4504() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    edge.services.sessions.disconnect_user(&UserId::Number(3));
    assert_eq!(ana.closed().await, Closed(4504));
}

/// Decisions cached before do not count, not even for a user who had no session when Laravel
/// asked for the revalidation.
#[tokio::test(start_paused = true)]
async fn invalidation_applies_to_later_joins() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    ana.say("leave_ticket", json!({"ticket_id": 7})).await;
    ana.assert_alive().await;
    edge.laravel.withdraw(3, 7);
    edge.services
        .invalidations
        .invalidate_user(&UserId::Number(3));
    let ticket = json!({"ticket_id": 7});
    assert_eq!(ana.refused("join_ticket", ticket).await, "denied");
}

#[tokio::test(start_paused = true)]
async fn invalidation_applies_to_a_pending_join() {
    let edge = Edge::new();
    let mut ana = edge.open(3).await;
    edge.laravel.change(|app| app.delay = SECOND);
    ana.say("join_ticket", json!({"ticket_id": 7})).await;
    settled().await;
    // Laravel has the request and will grant it; then the right is withdrawn.
    edge.services
        .invalidations
        .invalidate_user(&UserId::Number(3));
    edge.laravel.take_asked();
    assert_eq!(ana.event().await["type"], "ticket_joined");
    assert_eq!(edge.laravel.take_asked(), ["HEAD /api/support-tickets/7 3"]);
}

/// Two tokens of one user may have different abilities.
#[tokio::test(start_paused = true)]
async fn ticket_access_of_one_token_does_not_apply_to_another() {
    let edge = Edge::new();
    let _ana = edge.open_in(7, 3).await;
    edge.laravel
        .change(|app| app.weak.extend(["phone3".to_owned()]));
    let mut phone = edge.knock(Some("9|phone3")).await;
    assert_eq!(phone.event().await["payload"]["user_id"], 3);
    let ticket = json!({"ticket_id": 7});
    assert_eq!(phone.refused("join_ticket", ticket).await, "denied");
}

/// Sessions of any age ask the app of the configuration in use.
#[tokio::test(start_paused = true)]
async fn session_after_a_reload_queries_the_new_app() {
    let edge = Edge::new();
    let mut ana = edge.open_in(7, 3).await;
    let next = Laravel::start();
    next.withdraw(3, 7);
    let auth = Arc::new(crate::auth::settings::Settings::default());
    let (services, settings) = (&edge.services, &edge.settings);
    let old = services.backend.get();
    let new = backend(
        &next,
        &auth,
        settings,
        &services.invalidations,
        &services.drain,
        Some(&old),
    );
    services.backend.replace(Arc::new(new));
    drop(old);
    edge.laravel.take_asked();
    edge.revalidate(3);
    assert_eq!(ana.error().await, "access_withdrawn");
    ana.join(8).await;
    let asked = [
        "GET /api/user 3",
        "HEAD /api/support-tickets/7 3",
        "HEAD /api/support-tickets/8 3",
    ];
    assert_eq!(next.take_asked(), asked);
    assert_eq!(edge.laravel.take_asked(), [""; 0]);
}
