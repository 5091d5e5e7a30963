//! Tests of the audience of a publication, its order, and the result of a delivery.

use std::collections::BTreeSet;
use std::pin::pin;

use bytes::Bytes;
use futures_util::future::join_all;

use super::*;
use crate::auth::{AgentHash, Token};
use crate::core::client_ip::ClientIp;
use crate::core::ids::UserId;
use crate::rooms::backpressure::BACKPRESSURE_TIMEOUT;

#[tokio::test(start_paused = true)]
async fn published_event_reaches_every_tab() {
    let desk = Desk::new();
    let tabs = [1, 1, 2, 2, 3].map(|user| desk.tab_in(7, user));
    for tab in &tabs {
        tab.heard();
    }
    desk.publish(7, "a");
    desk.publish(7, "b");
    for tab in &tabs {
        assert_eq!(tab.heard(), ["7: a", "7: b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn users_in_different_rooms_get_no_events_of_each_other() {
    let desk = Desk::new();
    let (ana, mut ben) = (desk.tab_in(7, 1), desk.tab_in(8, 2));
    desk.publish(7, "for ana");
    ana.place(7).typing(true);
    desk.publish(8, "for ben");
    ben.leave(8);
    assert_eq!(ana.heard(), ["7: for ana"]);
    assert_eq!(ben.heard(), ["8: for ben"]);
}

#[tokio::test(start_paused = true)]
async fn member_that_left_receives_nothing_more() {
    let desk = Desk::new();
    let _ana = desk.tab_in(7, 1);
    let mut ben = desk.tab_in(7, 2);
    ben.leave(7);
    desk.publish(7, "a");
    assert_eq!(ben.heard(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn broadcast_excludes_the_sending_session_if_requested() {
    let desk = Desk::new();
    let (sender, own, other) = (desk.tab_in(7, 1), desk.tab_in(7, 1), desk.tab_in(7, 2));
    sender.heard();
    own.heard();
    let delivered = desk.publish_to(7, "a", Audience::AllBut(sender.id));
    assert_eq!(delivered.sessions, 2);
    assert_eq!(sender.heard(), [""; 0]);
    assert_eq!(own.heard(), ["7: a"]);
    assert_eq!(other.heard(), ["7: a"]);
}

#[tokio::test(start_paused = true)]
async fn broadcast_counts_sessions_and_lists_users_once() {
    let desk = Desk::new();
    let _tabs = [1, 1, 2].map(|user| desk.tab_in(7, user));
    let delivered = desk.publish(7, "a");
    let users: BTreeSet<_> = delivered.users.iter().map(UserId::to_string).collect();
    assert_eq!((delivered.sessions, delivered.missed), (3, 0));
    assert_eq!(delivered.users.len(), 2);
    assert_eq!(users, BTreeSet::from(["1".to_owned(), "2".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn broadcast_lists_a_hundred_users_at_most() {
    let desk = Desk::new();
    let _tabs: Vec<_> = (1..=120).map(|user| desk.tab_in(7, user)).collect();
    let delivered = desk.publish(7, "a");
    assert_eq!((delivered.sessions, delivered.users.len()), (120, 100));
}

#[tokio::test(start_paused = true)]
async fn broadcast_without_members_and_history_creates_no_room() {
    let desk = Desk::with_history(HistorySettings::off());
    assert_eq!(desk.publish(7, "a"), Delivered::default());
    assert!(desk.rooms.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn session_with_a_full_queue_is_evicted_and_others_unaffected() {
    let desk = Desk::new();
    let fast = desk.tab_in(7, 1);
    let mut slow = desk.tab_with_queue(2, 2);
    slow.enter(7);
    fast.heard();
    assert_eq!(desk.publish(7, "a").missed, 0);
    assert_eq!(desk.publish(7, "b").missed, 0);
    let delivered = desk.publish(7, "c");
    assert_eq!((delivered.sessions, delivered.missed), (1, 1));
    assert_eq!(delivered.users, [UserId::Number(1)]);
    assert_eq!(fast.heard(), ["7: a", "7: b", "7: c"]);
    let eviction = slow.inbox.evicted().now_or_never();
    assert_eq!(eviction, Some(Eviction::Slow));
}

#[test]
fn members_receive_concurrent_publications_in_one_order() {
    let desk = Desk::new();
    let tabs: Vec<_> = (1..=8).map(|user| desk.tab_in(7, user)).collect();
    for tab in &tabs {
        tab.heard();
    }
    std::thread::scope(|threads| {
        for name in ["a", "b", "c", "d"] {
            let desk = &desk;
            threads.spawn(move || {
                for number in 0..200 {
                    desk.publish(7, &format!("{name}{number}"));
                }
            });
        }
    });
    let first = tabs[0].heard();
    assert_eq!(first.len(), 800);
    for tab in &tabs[1..] {
        assert!(tab.heard() == first, "two members saw two orders");
    }
}

#[test]
fn frame_is_encoded_once_for_all_members() {
    let desk = Desk::new();
    let tabs = [1, 2, 3].map(|user| desk.tab_in(7, user));
    for tab in &tabs {
        tab.heard();
    }
    desk.publish(7, "a");
    let mut made = 0;
    for tab in &tabs {
        let Some(SessionEvent::Batch(batch)) = tab.inbox.next().now_or_never() else {
            panic!("nothing came");
        };
        let frame = batch[0].frame(Wire::Desk, |_| {
            made += 1;
            Bytes::from_static(b"frame")
        });
        assert_eq!(frame, "frame");
    }
    assert_eq!(made, 1);
}

#[test]
fn sessions_are_found_by_user_and_by_token() {
    let desk = Desk::new();
    let sessions = Sessions::default();
    let tabs = [(1, "1|a"), (1, "1|b"), (2, "2|c")].map(|(user, token)| {
        let (tab, token) = (desk.tab(user), Token::new(token).unwrap().hash());
        let entry = SessionEntry {
            client: ClientIp::new([127, 0, 0, 1].into()),
            since: tokio::time::Instant::now(),
            user: tab.user.id().clone(),
            browser: Browser {
                token,
                agent: AgentHash::from_headers(&hyper::HeaderMap::new()),
            },
            outbox: tab.outbox.clone(),
            receipts: None,
        };
        let registration = sessions.register(tab.id, entry);
        (tab, registration)
    });
    let eviction = |nth: usize| tabs[nth].0.inbox.evicted().now_or_never();
    assert_eq!(sessions.revalidate_user(&UserId::Number(1)), 2);
    assert_eq!(sessions.revoke(&Token::new("1|b").unwrap().hash()), 1);
    assert_eq!((eviction(0), eviction(1)), (None, Some(Eviction::Revoked)));
    assert_eq!(sessions.disconnect_user(&UserId::Number(2)), 1);
    assert_eq!(eviction(2), Some(Eviction::Disconnected));
    drop(tabs);
    assert_eq!(sessions.count(), 0);
}

/// A tab in room 7 that is behind: its queue of eight holds three events.
fn behind(desk: &Desk) -> Tab {
    let mut tab = desk.tab_with_queue(1, 8);
    tab.enter(7);
    tab.heard();
    for text in ["a", "b", "c"] {
        desk.publish(7, text);
    }
    tab
}

async fn keep_pace(desk: &Desk) {
    desk.rooms.apply_backpressure(&[room(6), room(7)]).await;
}

#[tokio::test(start_paused = true)]
async fn publisher_waits_until_sessions_are_served() {
    let desk = Desk::new();
    let tab = behind(&desk);
    let mut pace = pin!(keep_pace(&desk));
    for _ in 0..100 {
        assert!(futures_util::poll!(&mut pace).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(tab.heard(), ["7: a", "7: b", "7: c"]);
    pace.await;
}

/// The queue holds eight events; four times as many are published at once.
#[tokio::test(start_paused = true)]
async fn concurrent_publishers_wait_for_a_session_that_reads() {
    const PUBLISHERS: usize = 32;
    let desk = Desk::new();
    let mut tab = desk.tab_with_queue(1, 8);
    tab.enter(7);
    tab.heard();
    let publishing = join_all((0..PUBLISHERS).map(|number| {
        let desk = &desk;
        async move {
            keep_pace(desk).await;
            desk.publish(7, &number.to_string());
        }
    }));
    let reading = async {
        let mut heard = Vec::new();
        while heard.len() < PUBLISHERS {
            heard.extend(tab.heard());
            tokio::task::yield_now().await;
        }
        heard
    };
    let (heard, _) = tokio::join!(reading, publishing);
    let expected = (0..PUBLISHERS).map(|number| format!("7: {number}"));
    assert_eq!(heard, expected.collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn publisher_does_not_wait_for_slow_or_departed_members() {
    let desk = Desk::new();
    let _other = desk.tab_in(7, 2);
    let mut tab = behind(&desk);
    assert!(tab.inbox.evicted().now_or_never().is_none());
    keep_pace(&desk).now_or_never().unwrap();
    tab.lose();
    let mut tab = behind(&desk);
    tab.lose();
    keep_pace(&desk).now_or_never().unwrap();
}

#[tokio::test(start_paused = true)]
async fn publisher_waits_for_the_last_session_that_is_behind() {
    for first in [0, 1] {
        for leaves in [false, true] {
            let desk = Desk::new();
            let mut tabs = [1, 2].map(|user| {
                let mut tab = desk.tab_with_queue(user, 8);
                tab.enter(7);
                tab
            });
            tabs.iter().for_each(|tab| drop(tab.heard()));
            for text in ["a", "b", "c"] {
                desk.publish(7, text);
            }
            let mut pace = pin!(keep_pace(&desk));
            if leaves {
                tabs[first].lose();
            } else {
                tabs[first].heard();
            }
            assert!(futures_util::poll!(&mut pace).is_pending());
            tabs[1 - first].heard();
            pace.await;
        }
    }
}

/// Typing is dropped when a queue is half full, which must not hide a session that is behind.
#[tokio::test(start_paused = true)]
async fn dropped_typing_event_does_not_release_the_publisher() {
    let desk = Desk::new();
    let typist = desk.tab_in(7, 2);
    let tab = behind(&desk);
    desk.publish(7, "d");
    typist.place(7).typing(true);
    assert!(keep_pace(&desk).now_or_never().is_none());
    tab.heard();
    keep_pace(&desk).now_or_never().unwrap();
}

#[tokio::test(start_paused = true)]
async fn publisher_stops_waiting_at_the_timeout() {
    let desk = Desk::new();
    let _tab = behind(&desk);
    let time = tokio::time::advance(BACKPRESSURE_TIMEOUT);
    tokio::join!(keep_pace(&desk), time);
}
