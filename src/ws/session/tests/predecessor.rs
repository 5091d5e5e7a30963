//! Tests of clients that know no positions, and return after a disconnect.

use serde_json::json;

use super::*;

mod tabs;

/// An edge with a history in memory.
fn edge() -> Edge {
    Edge::with_history(Settings::default(), HistorySettings::default())
}

impl Edge {
    /// Publishes an event that the client reads and confirms.
    async fn publish_to_reader(&self, client: &mut Client, text: &str) {
        self.publish(7, text);
        settled().await;
        assert_eq!(client.arrived(), [text]);
        settled().await;
    }

    /// Opens a session of user 3 in ticket 7, which is lost after it has confirmed "a" but
    /// before it has read "b". Then publishes "c".
    async fn lose_session(&self) {
        let mut ana = self.open_in(7, 3).await;
        self.publish_to_reader(&mut ana, "a").await;
        self.publish(7, "b");
        settled().await;
        ana.lose().await;
        self.publish(7, "c");
    }

    /// Publishes an event to ticket 7 that leaves out a session.
    fn publish_except(&self, session: SessionId, text: &str) {
        let payload = json!({"ticket_id": 7, "message": text});
        self.services.rooms.publish(Broadcast {
            room: RoomName::ticket(RowId::new(7).unwrap()),
            text: json!({"type": "new_message", "payload": payload}).to_string(),
            audience: Audience::AllBut(session),
            to: None,
        });
    }

    fn parked(&self) -> usize {
        self.services.rooms.history_usage().unwrap().parked_sessions
    }
}

/// Reads what arrives within ten seconds.
async fn hear(client: &mut Client) -> Vec<String> {
    let mut heard = client.arrived();
    for _ in 0..100 {
        tokio::time::sleep(SECOND / 10).await;
        heard.extend(client.arrived());
    }
    heard
}

#[tokio::test(start_paused = true)]
async fn old_client_that_returns_gets_what_it_has_not_confirmed() {
    let edge = edge();
    edge.lose_session().await;
    assert_eq!(edge.parked(), 1);
    let mut ana = edge.open(3).await;
    assert_eq!(hear(&mut ana).await, ["b", "c"]);
    assert_eq!((edge.parked(), edge.publish(7, "d").sessions), (0, 1));
    assert_eq!(hear(&mut ana).await, ["d"]);
    // Once only.
    let mut other = edge.open(3).await;
    assert_eq!(hear(&mut other).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn old_client_that_joins_by_itself_gets_the_missed_events_once() {
    let edge = edge();
    edge.lose_session().await;
    let mut ana = edge.open(3).await;
    ana.join(7).await;
    assert_eq!(hear(&mut ana).await, ["b", "c"]);
    ana.join(7).await;
    assert_eq!(hear(&mut ana).await, [""; 0]);
    assert_eq!(edge.parked(), 0);
}

#[tokio::test(start_paused = true)]
async fn join_of_another_ticket_changes_nothing() {
    let edge = edge();
    edge.lose_session().await;
    let mut ana = edge.open(3).await;
    ana.join(8).await;
    assert_eq!(hear(&mut ana).await, ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn client_with_since_gets_the_missed_events_once() {
    let edge = edge();
    let mut ana = edge.open_in(7, 3).await;
    edge.publish(7, "a");
    let since = ana.event().await["position"].take();
    ana.lose().await;
    edge.publish(7, "b");
    let mut ana = edge.open(3).await;
    let payload = json!({"ticket_id": 7, "since": since});
    ana.say("join_ticket", payload).await;
    let joined = ana.event().await;
    assert_eq!(joined["payload"]["missed"], 1, "{joined}");
    assert_eq!(hear(&mut ana).await, ["b"]);
    assert_eq!(edge.parked(), 0);
}

#[tokio::test(start_paused = true)]
async fn page_that_closes_its_socket_is_not_parked() {
    let edge = edge();
    let mut ana = edge.open_in(7, 3).await;
    ana.send(Message::Close(None)).await;
    ana.gone().await;
    assert_eq!(edge.parked(), 0);
}

#[tokio::test(start_paused = true)]
async fn revoked_token_and_disconnected_user_are_not_parked() {
    let edge = edge();
    let token = Token::new(&Laravel::token(3)).unwrap().hash();
    for is_open in [true, false] {
        let mut ana = Some(edge.open_in(7, 3).await);
        if !is_open {
            ana.take().unwrap().lose().await;
            assert_eq!(edge.parked(), 1);
        }
        edge.services.sessions.disconnect_user(&UserId::Number(3));
        if let Some(mut ana) = ana {
            ana.gone().await;
        }
        assert_eq!(edge.parked(), 0);
    }
    edge.lose_session().await;
    assert_eq!(edge.parked(), 1);
    edge.services.sessions.revoke(&token);
    assert_eq!(edge.parked(), 0);
}

#[tokio::test(start_paused = true)]
async fn token_that_laravel_rejects_is_not_parked() {
    let edge = edge();
    edge.lose_session().await;
    edge.laravel.change(|app| app.revoked.extend([3]));
    edge.services
        .invalidations
        .invalidate_user(&UserId::Number(3));
    let mut ana = edge.knock(Some(&Laravel::token(3))).await;
    assert_eq!(ana.closed().await, Closed(4502));
    assert_eq!(edge.parked(), 0);
}

#[tokio::test(start_paused = true)]
async fn ticket_that_is_no_longer_open_to_the_user_is_not_replayed() {
    let edge = edge();
    edge.lose_session().await;
    edge.laravel.withdraw(3, 7);
    edge.services
        .invalidations
        .invalidate_user(&UserId::Number(3));
    let mut ana = edge.open(3).await;
    assert_eq!(hear(&mut ana).await, [""; 0]);
    assert_eq!((edge.parked(), edge.publish(7, "d").sessions), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn return_waits_silently_for_laravel() {
    let edge = edge();
    edge.lose_session().await;
    let mut ana = edge.open(3).await;
    edge.laravel.change(|app| app.down = true);
    edge.services
        .invalidations
        .invalidate_user(&UserId::Number(3));
    assert_eq!(hear(&mut ana).await, [""; 0]);
    edge.laravel.change(|app| app.down = false);
    assert_eq!(hear(&mut ana).await, ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn client_that_joins_while_laravel_is_down_hears_of_the_late_join() {
    let edge = edge();
    edge.lose_session().await;
    let mut ana = edge.open(3).await;
    edge.laravel.change(|app| app.down = true);
    edge.services
        .invalidations
        .invalidate_user(&UserId::Number(3));
    assert_eq!(hear(&mut ana).await, [""; 0]);
    ana.say("join_ticket", json!({"ticket_id": 7})).await;
    assert_eq!(hear(&mut ana).await, [""; 0]);
    edge.laravel.change(|app| app.down = false);
    assert_eq!(hear(&mut ana).await, ["ticket_joined", "b", "c"]);
}

/// Its network is gone, and no event has come that would show it.
#[tokio::test(start_paused = true)]
async fn dead_session_is_found_when_its_client_returns() {
    let edge = edge();
    let mut dead = edge.open_in(7, 3).await;
    edge.publish_to_reader(&mut dead, "a").await;
    tokio::time::sleep(SECOND).await;
    let mut ana = edge.open(3).await;
    edge.publish(7, "b");
    assert_eq!(hear(&mut ana).await, ["b"]);
    assert_eq!(edge.publish(7, "c").sessions, 2);
    assert_eq!(hear(&mut ana).await, ["c"]);
    // What the dead one had is continued, so its end parks nothing.
    dead.lose().await;
    assert_eq!(edge.parked(), 0);
}

#[tokio::test(start_paused = true)]
async fn client_that_joins_before_its_dead_session_is_found_gets_all() {
    let edge = edge();
    let mut dead = edge.open_in(7, 3).await;
    edge.publish_to_reader(&mut dead, "a").await;
    edge.publish(7, "b");
    settled().await;
    let mut ana = edge.open(3).await;
    ana.join(7).await;
    edge.publish(7, "c");
    let mut heard = hear(&mut ana).await;
    heard.sort();
    assert_eq!(heard, ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn session_lost_again_before_it_has_read_is_continued_again() {
    let edge = edge();
    edge.lose_session().await;
    for _ in 0..3 {
        let ana = edge.open(3).await;
        tokio::time::sleep(4 * SECOND).await;
        ana.lose().await;
    }
    let mut ana = edge.open(3).await;
    assert_eq!(hear(&mut ana).await, ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn slow_reader_is_continued() {
    let small = Settings {
        max_queued_events: PositiveCount::new(64),
        ..Settings::default()
    };
    let edge = Edge::with_history(small, HistorySettings::default());
    let mut slow = edge.open_with_pipe(3, 1000).await;
    slow.join(7).await;
    let texts: Vec<_> = (0..20)
        .map(|number| format!("{number}-{}", "x".repeat(2000)))
        .collect();
    edge.publish(7, &texts[0]);
    tokio::time::sleep(11 * SECOND).await;
    assert_eq!(edge.sessions(), 0);
    for text in &texts[1..] {
        edge.publish(7, text);
    }
    let mut ana = edge.open(3).await;
    assert_eq!(hear(&mut ana).await, texts);
}

#[tokio::test(start_paused = true)]
async fn too_many_missed_events_are_a_plain_join() {
    let small = Settings {
        max_queued_events: PositiveCount::new(4),
        ..Settings::default()
    };
    let edge = Edge::with_history(small, HistorySettings::default());
    edge.lose_session().await;
    edge.publish(7, "d");
    let mut ana = edge.open(3).await;
    assert_eq!(hear(&mut ana).await, [""; 0]);
    edge.publish(7, "e");
    assert_eq!(hear(&mut ana).await, ["e"]);
}

#[tokio::test(start_paused = true)]
async fn old_clients_that_are_off_cost_nothing() {
    let history = HistorySettings::without_old_clients();
    let edge = Edge::with_history(Settings::default(), history);
    let mut ana = edge.open_in(7, 3).await;
    edge.publish(7, "a");
    settled().await;
    assert!(ana.frame().await.is_text());
    // The keep-alive, and nothing before it.
    assert_eq!(ana.frame().await, Message::Ping(Bytes::new()));
    ana.lose().await;
    assert_eq!(edge.parked(), 0);
}

#[tokio::test(start_paused = true)]
async fn idle_session_gets_no_ping_but_the_keep_alive() {
    let edge = edge();
    let mut ana = edge.open_in(7, 3).await;
    edge.publish(7, "a");
    assert!(ana.frame().await.is_text());
    assert!(ana.frame().await.is_ping());
    let start = Instant::now();
    for _ in 0..10 {
        let last = Instant::now();
        assert!(ana.frame().await.is_ping());
        assert!(last.elapsed() >= 15 * SECOND, "{:?}", last.elapsed());
    }
    assert!(start.elapsed() >= 180 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn busy_session_gets_at_most_one_ping_a_second() {
    let edge = edge();
    let mut ana = edge.open_in(7, 3).await;
    let (mut pings, mut last) = (0, None::<Instant>);
    for number in 0..200 {
        edge.publish(7, &number.to_string());
        loop {
            let frame = tokio::time::timeout(SECOND / 20, ana.frame()).await;
            match frame {
                Ok(frame) if frame.is_ping() => {
                    let pause = last.map(|last| last.elapsed());
                    assert!(pause.is_none_or(|pause| pause >= SECOND), "{pause:?}");
                    (pings, last) = (pings + 1, Some(Instant::now()));
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    // Twenty a second, for ten seconds.
    assert!((9..=11).contains(&pings), "{pings}");
}

#[tokio::test(start_paused = true)]
async fn returning_client_does_not_get_what_it_was_left_out_of() {
    let edge = edge();
    let mut ana = edge.open(3).await;
    let mut other = edge.open(4).await;
    other.join(7).await;
    ana.join(7).await;
    let id = edge.services.sessions.of_user(&UserId::Number(3))[0].id;
    edge.publish_except(id, "own");
    settled().await;
    ana.lose().await;
    let mut ana = edge.open(3).await;
    assert_eq!(hear(&mut ana).await, [""; 0]);
    assert_eq!(edge.publish(7, "b").sessions, 2);
}

#[tokio::test(start_paused = true)]
async fn user_with_a_parked_session_is_not_absent() {
    let edge = edge();
    edge.lose_session().await;
    let absent = |user| {
        let delivered = edge.services.rooms.publish(Broadcast {
            room: RoomName::ticket(RowId::new(7).unwrap()),
            text: r#"{"type":"a","payload":{"ticket_id":7}}"#.to_owned(),
            audience: Audience::All,
            to: Some(vec![UserId::Number(user)]),
        });
        delivered.absent.unwrap().len()
    };
    assert_eq!((absent(3), absent(4)), (0, 1));
    tokio::time::sleep(120 * SECOND).await;
    assert_eq!(absent(3), 1);
}
