use super::table::{MAX_CONTINUED_PER_TOKEN, MAX_SESSIONS, MAX_SESSIONS_PER_TOKEN};
use super::*;
use crate::auth::{AgentHash, Token};
use crate::core::ids::{RowId, SessionIds};

fn room(ticket: u64) -> RoomName {
    RoomName::ticket(RowId::new(ticket).unwrap())
}

fn browser(token: usize, agent: &'static str) -> Browser {
    let mut headers = hyper::HeaderMap::new();
    let agent = hyper::header::HeaderValue::from_static(agent);
    headers.insert(hyper::header::USER_AGENT, agent);
    Browser {
        token: Token::new(&format!("1|{token}")).unwrap().hash(),
        agent: AgentHash::from_headers(&headers),
    }
}

/// A session of a browser and user, lost in rooms at offsets.
fn lost(browser: Browser, user: u64, rooms: &[(u64, u64)]) -> LostSession {
    let rooms = rooms
        .iter()
        .map(|(ticket, offset)| (room(*ticket), *offset));
    LostSession {
        session: SessionIds::new().issue(),
        user: UserId::Number(user),
        browser,
        rooms: rooms.collect(),
    }
}

/// Claims a session and returns its rooms with their offsets.
fn claim(parked: &ParkedSessions, browser: Browser) -> Option<Vec<(u64, u64)>> {
    let mut claim = parked.claim(browser, &UserId::Number(3))?;
    let rooms = claim.take_rooms();
    claim.complete();
    let rooms = rooms.into_iter();
    Some(
        rooms
            .map(|(room, point)| match room {
                RoomName::Ticket(id) => (id.get(), point.offset),
                RoomName::Channel(_) => panic!("no room of a ticket: {room}"),
            })
            .collect(),
    )
}

fn parked() -> ParkedSessions {
    ParkedSessions::new(Duration::from_secs(120), Arc::default())
}

#[tokio::test(start_paused = true)]
async fn only_the_same_browser_claims_a_session_and_once() {
    let (parked, ana) = (parked(), browser(1, "a"));
    parked.park(lost(ana, 3, &[(7, 10), (8, 11)]));
    for other in [browser(2, "a"), browser(1, "b")] {
        assert_eq!(claim(&parked, other), None);
    }
    assert!(parked.claim(ana, &UserId::Number(4)).is_none());
    assert_eq!(claim(&parked, ana), Some(vec![(7, 10), (8, 11)]));
    assert_eq!(claim(&parked, ana), None);
    assert_eq!((parked.count(), parked.has(ana)), (0, false));
}

#[tokio::test(start_paused = true)]
async fn session_in_no_room_is_not_parked() {
    let parked = parked();
    parked.park(lost(browser(1, "a"), 3, &[]));
    assert_eq!(parked.count(), 0);
}

/// Nothing tells which tab returns first.
#[tokio::test(start_paused = true)]
async fn two_tabs_get_each_what_either_has_missed() {
    let (parked, ana) = (parked(), browser(1, "a"));
    parked.park(lost(ana, 3, &[(7, 10), (8, 30)]));
    parked.park(lost(ana, 3, &[(8, 20), (9, 40)]));
    assert_eq!(claim(&parked, ana), Some(vec![(7, 10), (8, 20), (9, 40)]));
    assert_eq!(parked.count(), 1);
    assert!(parked.has_room(ana, &room(7)));
    assert_eq!(claim(&parked, ana), Some(vec![(8, 20), (9, 40), (7, 10)]));
    assert_eq!(claim(&parked, ana), None);
    assert!(!parked.has_room(ana, &room(7)));
}

/// The other tab is closed for good, which nothing tells.
#[tokio::test(start_paused = true)]
async fn tab_that_never_returns_repeats_no_event_after_its_time() {
    let (parked, ana) = (parked(), browser(1, "a"));
    for _ in 0..2 {
        parked.park(lost(ana, 3, &[(7, 10)]));
    }
    let mut offsets = Vec::new();
    for minute in 1..=5 {
        offsets.push(claim(&parked, ana).unwrap()[0].1);
        parked.park(lost(ana, 3, &[(7, 10 + minute)]));
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    assert_eq!(offsets, [10, 10, 12, 13, 14]);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!((parked.count(), claim(&parked, ana)), (0, None));
    assert_eq!(parked.table.lock().sizes().0, 0);
}

/// What the other tab has missed may be kept no more.
#[tokio::test(start_paused = true)]
async fn point_of_several_tabs_has_the_newest_for_a_gap() {
    let (parked, ana) = (parked(), browser(1, "a"));
    let mut only = lost(ana, 3, &[(7, 20), (8, 5)]);
    parked.park(lost(ana, 3, &[(7, 10)]));
    let other = only.session;
    parked.park(only.clone());
    only.rooms.truncate(1);
    only.rooms[0].1 = 15;
    parked.park(only);
    let mut claim = parked.claim(ana, &UserId::Number(3)).unwrap();
    let rooms = claim.take_rooms();
    let newest = rooms[0].1.after_gap().unwrap();
    assert_eq!((rooms[0].1.offset, newest.offset), (10, 20));
    assert_eq!(newest.after_gap(), None);
    assert_eq!(rooms[1].1, ResumePoint::new(other, 5));
    assert_eq!(rooms[1].1.after_gap(), None);
}

/// Two tabs that show different tickets.
#[tokio::test(start_paused = true)]
async fn rooms_are_bounded_for_each_session() {
    let (parked, ana) = (parked(), browser(1, "a"));
    for first in [100, 200] {
        let rooms: Vec<_> = (first..first + 10).map(|ticket| (ticket, 5)).collect();
        parked.park(lost(ana, 3, &rooms));
    }
    for _ in 0..2 {
        assert_eq!(claim(&parked, ana).unwrap().len(), 20);
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_claim_leaves_the_session_to_the_next_one() {
    let (parked, ana) = (parked(), browser(1, "a"));
    parked.park(lost(ana, 3, &[(7, 10)]));
    let claimed = parked.claim(ana, &UserId::Number(3)).unwrap();
    assert!(parked.claim(ana, &UserId::Number(3)).is_none());
    // Meanwhile its user is not absent.
    assert!(parked.is_expected(&UserId::Number(3), &room(7)));
    drop(claimed);
    assert_eq!(claim(&parked, ana), Some(vec![(7, 10)]));
    assert!(!parked.is_expected(&UserId::Number(3), &room(7)));
}

#[tokio::test(start_paused = true)]
async fn parked_session_expires() {
    let (parked, ana) = (parked(), browser(1, "a"));
    parked.park(lost(ana, 3, &[(7, 10)]));
    tokio::time::advance(Duration::from_secs(60)).await;
    parked.park(lost(ana, 3, &[(7, 20)]));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(parked.count(), 1);
    assert_eq!(claim(&parked, ana), Some(vec![(7, 20)]));
}

#[tokio::test(start_paused = true)]
async fn token_and_user_are_dropped_at_once() {
    let parked = parked();
    let (ana, phone, ben) = (browser(1, "a"), browser(2, "a"), browser(3, "a"));
    for browser in [ana, ana, phone] {
        parked.park(lost(browser, 3, &[(7, 10)]));
    }
    parked.park(lost(ben, 4, &[(7, 10)]));
    parked.drop_token(&ana.token);
    assert_eq!(parked.count(), 2);
    assert!(parked.is_expected(&UserId::Number(3), &room(7)));
    parked.drop_user(&UserId::Number(3));
    assert!(!parked.is_expected(&UserId::Number(3), &room(7)));
    assert_eq!((parked.count(), parked.has(ben)), (1, true));
    parked.drop_token(&ben.token);
    let table = parked.table.lock();
    assert_eq!((table.sizes().0, table.sizes().1), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn discarded_room_is_not_replayed_to_the_next_session() {
    let (parked, ana) = (parked(), browser(1, "a"));
    parked.park(lost(ana, 3, &[(7, 10), (8, 11)]));
    parked.park(lost(ana, 3, &[(7, 12)]));
    parked.discard_room(ana, &room(7));
    assert!(parked.has_room(ana, &room(7)));
    parked.discard_room(ana, &room(7));
    assert!(!parked.has_room(ana, &room(7)));
    assert_eq!(
        (parked.count(), claim(&parked, ana)),
        (1, Some(vec![(8, 11)]))
    );
}

#[tokio::test(start_paused = true)]
async fn token_keeps_its_newest_four_sessions() {
    let (parked, ana) = (parked(), browser(1, "a"));
    for offset in 0..10 {
        parked.park(lost(ana, 3, &[(7 + offset, offset)]));
    }
    assert_eq!(parked.count(), MAX_SESSIONS_PER_TOKEN);
    let rooms = claim(&parked, ana).unwrap();
    assert_eq!(rooms, [(13, 6), (14, 7), (15, 8), (16, 9)]);
}

#[tokio::test(start_paused = true)]
async fn session_keeps_the_rooms_that_it_joined_last() {
    let (parked, ana) = (parked(), browser(1, "a"));
    let rooms: Vec<_> = (1..=100).map(|ticket| (ticket, 5)).collect();
    parked.park(lost(ana, 3, &rooms));
    assert_eq!(claim(&parked, ana).unwrap(), rooms[100 - MAX_ROOMS..]);
}

#[tokio::test(start_paused = true)]
async fn table_is_bounded_and_drops_the_oldest() {
    let parked = parked();
    for token in 0..MAX_SESSIONS + 10 {
        parked.park(lost(browser(token, "a"), token as u64, &[(7, 10)]));
    }
    assert_eq!(parked.count(), MAX_SESSIONS);
    assert!(!parked.has(browser(9, "a")));
    assert!(parked.has(browser(10, "a")));
    let table = parked.table.lock();
    let (tokens, users, order) = table.sizes();
    assert_eq!((tokens, users), (MAX_SESSIONS, MAX_SESSIONS));
    assert!(order <= 2 * MAX_SESSIONS + 64, "{order}");
}

#[tokio::test(start_paused = true)]
async fn continued_sessions_are_bounded() {
    let (parked, ana) = (parked(), browser(1, "a"));
    parked.park(lost(ana, 3, &[(6, 10)]));
    for offset in 0..100 {
        parked.park(lost(ana, 3, &[(7, offset)]));
        // The oldest lends its room for its whole time.
        assert!(claim(&parked, ana).unwrap().contains(&(6, 10)));
        assert_eq!(parked.count(), 1);
        assert!(parked.table.lock().session_count() <= 1 + MAX_CONTINUED_PER_TOKEN);
    }
}

/// A browser that is lost and returns again and again leaves nothing behind.
#[tokio::test(start_paused = true)]
async fn claimed_sessions_leave_the_table() {
    let (parked, ana) = (parked(), browser(1, "a"));
    for _ in 0..1000 {
        parked.park(lost(ana, 3, &[(7, 10)]));
        assert!(claim(&parked, ana).is_some());
    }
    let table = parked.table.lock();
    let (tokens, users, order) = table.sizes();
    assert_eq!((tokens, users), (0, 0));
    assert!(order <= 66, "{order}");
}

#[test]
fn parked_session_takes_less_than_a_kib() {
    let bytes = Table::max_session_bytes();
    println!("a parked session: at most {bytes} bytes");
    assert!(bytes <= 1024, "{bytes} bytes");
}
