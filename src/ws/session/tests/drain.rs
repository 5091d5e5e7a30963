//! Tests of the stop of the process: sessions end one after the other, and serve until then.

use super::*;

#[tokio::test(start_paused = true)]
async fn sessions_at_shutdown_serve_until_closed_within_the_spread() {
    let edge = Edge::with(Settings {
        max_sessions_per_user: PositiveCount::new(100),
        ..Settings::default()
    });
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(edge.open_in(7, 3).await);
    }
    let start = Instant::now();
    edge.services.drain.token().cancel();
    tokio::time::sleep(CLOSE_SPREAD / 2).await;
    let left = edge.sessions();
    assert!((1..20).contains(&left), "{left} of 20 sessions are left");
    assert_eq!(edge.publish(7, "to the last").sessions, left);
    settled().await;
    for client in &mut clients {
        assert_eq!(client.closed().await, Closed(1012));
    }
    let waited = start.elapsed();
    assert!(waited <= CLOSE_SPREAD + MS, "{waited:?}");
    assert_eq!(edge.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn session_waiting_to_close_still_serves() {
    let edge = Edge::with(Settings {
        max_sessions_per_user: PositiveCount::new(100),
        ..Settings::default()
    });
    let mut ana = edge.open_in(7, 3).await;
    edge.services.drain.token().cancel();
    settled().await;
    ana.assert_alive().await;
    edge.publish(7, "to the last");
    assert_eq!(ana.event().await["type"], "new_message");
    assert_eq!(ana.closed().await, Closed(1012));
}

#[tokio::test(start_paused = true)]
async fn client_that_does_not_read_does_not_delay_shutdown() {
    let edge = Edge::with(Settings {
        max_sessions_per_user: PositiveCount::new(100),
        ..Settings::default()
    });
    let mut ana = edge.open_with_pipe(3, 1000).await;
    ana.join(7).await;
    edge.publish(7, &"x".repeat(5000));
    settled().await;
    let start = Instant::now();
    edge.services.drain.token().cancel();
    ana.gone().await;
    let waited = start.elapsed();
    assert!(waited <= CLOSE_SPREAD + CLOSE_TIMEOUT, "{waited:?}");
}
