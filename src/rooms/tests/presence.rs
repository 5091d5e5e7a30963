//! Tests of the events about users who come and go, and of their times.

use super::*;

#[tokio::test(start_paused = true)]
async fn presence_is_announced_at_the_first_and_last_session() {
    let desk = Desk::new();
    let ana = desk.tab_in(7, 1);
    let mut first = desk.tab_in(7, 2);
    assert_eq!(ana.heard(), ["7: 2 comes"]);
    let mut second = desk.tab_in(7, 2);
    first.leave(7);
    assert_eq!(ana.heard(), [""; 0]);
    second.leave(7);
    assert_eq!(ana.heard(), ["7: 2 goes"]);
}

#[tokio::test(start_paused = true)]
async fn user_receives_no_presence_events_about_themselves() {
    let desk = Desk::new();
    let first = desk.tab_in(7, 1);
    let mut second = desk.tab_in(7, 1);
    second.leave(7);
    desk.tab_in(7, 1).lose();
    desk.pass(2 * GRACE).await;
    assert_eq!(first.heard(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn joining_user_gets_the_list_of_users_including_themselves() {
    let desk = Desk::new();
    let (mut ana, mut ben) = (desk.tab(1), desk.tab(2));
    assert_eq!(ana.enter(7), ["user1"]);
    assert_eq!(ben.enter(7), ["user1", "user2"]);
    assert_eq!(names(&ben.place(7).users()), ["user1", "user2"]);
    assert_eq!(ben.heard(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn lost_connection_is_announced_only_after_the_grace() {
    let desk = Desk::new();
    let ana = desk.tab_in(7, 1);
    desk.tab_in(7, 2).lose();
    ana.heard();
    desk.pass(GRACE - MS).await;
    assert_eq!(ana.heard(), [""; 0]);
    assert_eq!(names(&desk.rooms.occupants(&room(7)).0), ["user1", "user2"]);
    desk.pass(MS).await;
    assert_eq!(ana.heard(), ["7: 2 goes"]);
    assert_eq!(names(&desk.rooms.occupants(&room(7)).0), ["user1"]);
}

#[tokio::test(start_paused = true)]
async fn user_that_returns_within_the_grace_is_not_announced() {
    let desk = Desk::new();
    let ana = desk.tab_in(7, 1);
    desk.tab_in(7, 2).lose();
    ana.heard();
    desk.pass(GRACE - MS).await;
    let _ben = desk.tab_in(7, 2);
    desk.pass(10 * GRACE).await;
    assert_eq!(ana.heard(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn user_that_returns_after_the_grace_is_announced_again() {
    let desk = Desk::new();
    let ana = desk.tab_in(7, 1);
    desk.tab_in(7, 2).lose();
    desk.pass(GRACE).await;
    let _ben = desk.tab_in(7, 2);
    assert_eq!(ana.heard(), ["7: 2 comes", "7: 2 goes", "7: 2 comes"]);
}

#[tokio::test(start_paused = true)]
async fn grace_counts_from_the_last_lost_connection() {
    let desk = Desk::new();
    let ana = desk.tab_in(7, 1);
    desk.tab_in(7, 2).lose();
    desk.pass(GRACE / 2).await;
    desk.tab_in(7, 2).lose();
    ana.heard();
    desk.pass(GRACE - MS).await;
    assert_eq!(ana.heard(), [""; 0]);
    desk.pass(MS).await;
    assert_eq!(ana.heard(), ["7: 2 goes"]);
}

/// A room that was empty in between is a new room of the same name.
#[tokio::test(start_paused = true)]
async fn grace_of_an_earlier_room_does_not_affect_a_later_one() {
    let desk = Desk::new();
    let mut ana = desk.tab_in(7, 1);
    desk.tab_in(7, 2).lose();
    ana.leave(7);
    assert_eq!(desk.rooms.count(), 0);
    desk.pass(GRACE / 2).await;
    ana.enter(7);
    desk.tab_in(7, 2).lose();
    ana.heard();
    desk.pass(GRACE - MS).await;
    assert_eq!(ana.heard(), [""; 0]);
    desk.pass(MS).await;
    assert_eq!(ana.heard(), ["7: 2 goes"]);
}

#[tokio::test(start_paused = true)]
async fn leave_during_the_grace_of_another_tab_is_announced_once() {
    let desk = Desk::new();
    let ana = desk.tab_in(7, 1);
    let mut staying = desk.tab_in(7, 2);
    desk.tab_in(7, 2).lose();
    ana.heard();
    staying.leave(7);
    assert_eq!(ana.heard(), ["7: 2 goes"]);
    desk.pass(2 * GRACE).await;
    assert_eq!(ana.heard(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn room_exists_while_it_has_a_member() {
    let desk = Desk::new();
    let mut ana = desk.tab_in(7, 1);
    ana.enter(8);
    assert_eq!(desk.rooms.count(), 2);
    ana.leave(7);
    assert_eq!(desk.rooms.count(), 1);
    ana.lose();
    assert_eq!(desk.rooms.count(), 0);
    desk.pass(2 * GRACE).await;
    assert_eq!(desk.rooms.count(), 0);
    assert_eq!(desk.tab(2).enter(8), ["user2"]);
}

/// A session that panics leaves its rooms by no call of its own.
#[tokio::test(start_paused = true)]
async fn session_that_panics_is_announced_after_the_grace() {
    let desk = Desk::new();
    let (ana, ben) = (desk.tab_in(7, 1), desk.tab_in(7, 2));
    ana.heard();
    let session = desk.drain.spawn(async move {
        ben.place(7).typing(true);
        let _ben = ben;
        panic!("as this test wants it");
    });
    assert!(session.await.unwrap_err().is_panic());
    // A stop that begins now waits for the task that leaves.
    assert_eq!(desk.drain.stop(SECOND).await, 0);
    assert_eq!(ana.heard(), ["7: 2 types", "7: 2 stops"]);
    assert_eq!(desk.rooms.occupants(&room(7)).1, 1);
    desk.pass(GRACE).await;
    assert_eq!(ana.heard(), ["7: 2 goes"]);
}
