//! Tests of the events about users who come and go, and of their times.

use super::*;

#[tokio::test(start_paused = true)]
async fn others_are_told_at_the_first_session_and_at_the_last() {
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
async fn nobody_is_told_about_himself() {
    let desk = Desk::new();
    let first = desk.tab_in(7, 1);
    let mut second = desk.tab_in(7, 1);
    second.leave(7);
    drop(desk.tab_in(7, 1));
    desk.pass(2 * GRACE).await;
    assert_eq!(first.heard(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn who_enters_is_told_who_is_here_himself_included() {
    let desk = Desk::new();
    let (mut ana, mut ben) = (desk.tab(1), desk.tab(2));
    assert_eq!(ana.enter(7), ["user1"]);
    assert_eq!(ben.enter(7), ["user1", "user2"]);
    assert_eq!(names(&ben.place(7).users()), ["user1", "user2"]);
    assert_eq!(ben.heard(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_told_after_the_grace_and_not_before() {
    let desk = Desk::new();
    let ana = desk.tab_in(7, 1);
    drop(desk.tab_in(7, 2));
    ana.heard();
    desk.pass(GRACE - MS).await;
    assert_eq!(ana.heard(), [""; 0]);
    assert_eq!(names(&desk.rooms.occupants(room(7)).0), ["user1", "user2"]);
    desk.pass(MS).await;
    assert_eq!(ana.heard(), ["7: 2 goes"]);
    assert_eq!(names(&desk.rooms.occupants(room(7)).0), ["user1"]);
}

#[tokio::test(start_paused = true)]
async fn who_returns_within_the_grace_was_never_away() {
    let desk = Desk::new();
    let ana = desk.tab_in(7, 1);
    drop(desk.tab_in(7, 2));
    ana.heard();
    desk.pass(GRACE - MS).await;
    let _ben = desk.tab_in(7, 2);
    desk.pass(10 * GRACE).await;
    assert_eq!(ana.heard(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn who_returns_after_the_grace_comes_again() {
    let desk = Desk::new();
    let ana = desk.tab_in(7, 1);
    drop(desk.tab_in(7, 2));
    desk.pass(GRACE).await;
    let _ben = desk.tab_in(7, 2);
    assert_eq!(ana.heard(), ["7: 2 comes", "7: 2 goes", "7: 2 comes"]);
}

#[tokio::test(start_paused = true)]
async fn a_grace_counts_from_the_last_loss() {
    let desk = Desk::new();
    let ana = desk.tab_in(7, 1);
    drop(desk.tab_in(7, 2));
    desk.pass(GRACE / 2).await;
    drop(desk.tab_in(7, 2));
    ana.heard();
    desk.pass(GRACE - MS).await;
    assert_eq!(ana.heard(), [""; 0]);
    desk.pass(MS).await;
    assert_eq!(ana.heard(), ["7: 2 goes"]);
}

/// A room that was empty in between is a new room of the same name.
#[tokio::test(start_paused = true)]
async fn a_grace_of_an_earlier_room_ends_nothing_in_a_later_one() {
    let desk = Desk::new();
    let mut ana = desk.tab_in(7, 1);
    drop(desk.tab_in(7, 2));
    ana.leave(7);
    assert_eq!(desk.rooms.count(), 0);
    desk.pass(GRACE / 2).await;
    ana.enter(7);
    drop(desk.tab_in(7, 2));
    ana.heard();
    desk.pass(GRACE - MS).await;
    assert_eq!(ana.heard(), [""; 0]);
    desk.pass(MS).await;
    assert_eq!(ana.heard(), ["7: 2 goes"]);
}

#[tokio::test(start_paused = true)]
async fn leaving_during_the_grace_of_another_tab_is_told_once() {
    let desk = Desk::new();
    let ana = desk.tab_in(7, 1);
    let mut staying = desk.tab_in(7, 2);
    drop(desk.tab_in(7, 2));
    ana.heard();
    staying.leave(7);
    assert_eq!(ana.heard(), ["7: 2 goes"]);
    desk.pass(2 * GRACE).await;
    assert_eq!(ana.heard(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_room_lasts_as_long_as_somebody_is_in_it() {
    let desk = Desk::new();
    let mut ana = desk.tab_in(7, 1);
    ana.enter(8);
    assert_eq!(desk.rooms.count(), 2);
    ana.leave(7);
    assert_eq!(desk.rooms.count(), 1);
    drop(ana);
    assert_eq!(desk.rooms.count(), 0);
    desk.pass(2 * GRACE).await;
    assert_eq!(desk.rooms.count(), 0);
    assert_eq!(desk.tab(2).enter(8), ["user2"]);
}
