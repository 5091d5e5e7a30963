//! Tests of several tabs of one browser, which nothing tells apart.

use super::*;

#[tokio::test(start_paused = true)]
async fn second_tab_beside_a_living_one_gets_nothing() {
    let edge = edge();
    let mut first = edge.open_in(7, 3).await;
    edge.publish(7, "a");
    let mut second = edge.open(3).await;
    for _ in 0..100 {
        tokio::time::sleep(SECOND / 10).await;
        first.arrived();
        assert_eq!(second.arrived(), [""; 0]);
    }
    assert_eq!(edge.publish(7, "b").sessions, 1);
}

/// Nothing tells which of them returns first.
#[tokio::test(start_paused = true)]
async fn two_lost_tabs_get_each_at_least_what_they_have_missed() {
    let edge = edge();
    let (mut first, mut second) = (edge.open_in(7, 3).await, edge.open_in(8, 3).await);
    edge.publish_to_reader(&mut first, "a").await;
    tokio::time::sleep(SECOND).await;
    settled().await;
    second.arrived();
    first.lose().await;
    second.lose().await;
    edge.publish(7, "b");
    edge.publish(8, "c");
    for _ in 0..2 {
        let mut ana = edge.open(3).await;
        let mut heard = hear(&mut ana).await;
        heard.sort();
        assert_eq!(heard, ["b", "c"]);
        // Its socket is closed properly, so that it is not lost again.
        ana.send(Message::Close(None)).await;
        ana.gone().await;
    }
    assert_eq!(edge.parked(), 0);
}

/// Another tab was lost with it, and is gone.
#[tokio::test(start_paused = true)]
async fn tab_that_returns_alone_gets_all_that_it_missed_in_a_busy_room() {
    let settings = HistorySettings {
        max_events_per_room: PositiveCount::new(10),
        ..HistorySettings::default()
    };
    let edge = Edge::with_history(Settings::default(), settings);
    let mut ana = edge.open_in(7, 3).await;
    edge.open_in(7, 3).await.lose().await;
    for round in 0..4 {
        for number in 0..15 {
            let text = format!("{round}-{number}");
            edge.publish(7, &text);
            tokio::time::sleep(SECOND / 10).await;
            assert!(ana.arrived().contains(&text));
        }
        hear(&mut ana).await;
        ana.lose().await;
        let missed = format!("{round}-missed");
        edge.publish(7, &missed);
        ana = edge.open(3).await;
        assert_eq!(hear(&mut ana).await, [missed]);
    }
}

#[tokio::test(start_paused = true)]
async fn event_that_left_out_one_lost_tab_reaches_the_other() {
    let edge = edge();
    let (first, second) = (edge.open_in(7, 3).await, edge.open_in(7, 3).await);
    let id = edge.services.sessions.of_user(&UserId::Number(3))[0].id;
    edge.publish_except(id, "own");
    first.lose().await;
    second.lose().await;
    for _ in 0..2 {
        let mut ana = edge.open(3).await;
        assert_eq!(hear(&mut ana).await, ["own"]);
        ana.send(Message::Close(None)).await;
        ana.gone().await;
    }
    assert_eq!(edge.parked(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_tabs_with_many_tickets_get_all_of_them() {
    let edge = edge();
    let mut tabs = [edge.open(3).await, edge.open(3).await];
    for ticket in 1..=14 {
        tabs[usize::from(ticket > 7)].join(ticket).await;
    }
    for tab in tabs {
        tab.lose().await;
    }
    for ticket in 1..=14 {
        edge.publish(ticket, &ticket.to_string());
    }
    for _ in 0..2 {
        let mut ana = edge.open(3).await;
        assert_eq!(hear(&mut ana).await.len(), 14);
        ana.send(Message::Close(None)).await;
        ana.gone().await;
    }
}
