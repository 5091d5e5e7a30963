//! Tests of typing: who gets the events, how often, and that it never stays on.

use super::*;

/// A tab that watches, and a tab that types.
fn two(desk: &Desk) -> (Tab, Tab) {
    let (ana, ben) = (desk.tab_in(7, 1), desk.tab_in(7, 2));
    ana.heard();
    (ana, ben)
}

#[tokio::test(start_paused = true)]
async fn typing_reaches_every_tab_of_other_users_only() {
    let desk = Desk::new();
    let (ana, ben) = two(&desk);
    let (ana_again, ben_again) = (desk.tab_in(7, 1), desk.tab_in(7, 2));
    ben.place(7).typing(true);
    ben.place(7).typing(false);
    for tab in [&ana, &ana_again] {
        assert_eq!(tab.heard(), ["7: 2 types", "7: 2 stops"]);
    }
    for tab in [&ben, &ben_again] {
        assert_eq!(tab.heard(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn typing_is_announced_once_a_second_at_most() {
    let desk = Desk::new();
    let (ana, ben) = two(&desk);
    let ben_again = desk.tab_in(7, 2);
    for _ in 0..4 {
        ben.place(7).typing(true);
        ben_again.place(7).typing(true);
        desk.pass(SECOND / 4 - MS).await;
    }
    assert_eq!(ana.heard(), ["7: 2 types"]);
    desk.pass(4 * MS).await;
    ben_again.place(7).typing(true);
    assert_eq!(ana.heard(), ["7: 2 types"]);
}

#[tokio::test(start_paused = true)]
async fn typing_in_one_room_does_not_affect_another() {
    let desk = Desk::new();
    let (mut ana, mut ben) = two(&desk);
    ana.enter(8);
    ben.enter(8);
    ana.heard();
    ben.place(7).typing(true);
    ben.place(8).typing(true);
    assert_eq!(ana.heard(), ["7: 2 types", "8: 2 types"]);
    ben.place(7).typing(false);
    assert_eq!(ana.heard(), ["7: 2 stops"]);
}

#[tokio::test(start_paused = true)]
async fn typing_ends_after_six_seconds_of_silence() {
    let desk = Desk::new();
    let (ana, ben) = two(&desk);
    ben.place(7).typing(true);
    desk.pass(6 * SECOND - MS).await;
    assert_eq!(ana.heard(), ["7: 2 types"]);
    desk.pass(MS).await;
    assert_eq!(ana.heard(), ["7: 2 stops"]);
    desk.pass(60 * SECOND).await;
    assert_eq!(ana.heard(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn typing_signal_not_passed_on_still_extends_typing() {
    let desk = Desk::new();
    let (ana, ben) = two(&desk);
    ben.place(7).typing(true);
    desk.pass(SECOND / 2).await;
    ben.place(7).typing(true);
    desk.pass(6 * SECOND - MS).await;
    assert_eq!(ana.heard(), ["7: 2 types"]);
    desk.pass(MS).await;
    assert_eq!(ana.heard(), ["7: 2 stops"]);
}

#[tokio::test(start_paused = true)]
async fn stop_without_typing_is_not_announced() {
    let desk = Desk::new();
    let (ana, ben) = two(&desk);
    ben.place(7).typing(false);
    ben.place(7).typing(true);
    ben.place(7).typing(false);
    ben.place(7).typing(false);
    assert_eq!(ana.heard(), ["7: 2 types", "7: 2 stops"]);
}

#[tokio::test(start_paused = true)]
async fn typing_member_that_leaves_stops_typing_first() {
    let desk = Desk::new();
    let (ana, mut ben) = two(&desk);
    ben.place(7).typing(true);
    ben.leave(7);
    assert_eq!(ana.heard(), ["7: 2 types", "7: 2 stops", "7: 2 goes"]);
}

#[tokio::test(start_paused = true)]
async fn typing_member_that_is_lost_stops_at_once() {
    let desk = Desk::new();
    let (ana, mut ben) = two(&desk);
    ben.place(7).typing(true);
    ben.lose();
    assert_eq!(ana.heard(), ["7: 2 types", "7: 2 stops"]);
    desk.pass(GRACE).await;
    assert_eq!(ana.heard(), ["7: 2 goes"]);
}

#[tokio::test(start_paused = true)]
async fn typing_ends_with_the_typing_tab_only() {
    let desk = Desk::new();
    let (ana, mut ben) = two(&desk);
    let mut idle = desk.tab_in(7, 2);
    let _third = desk.tab_in(7, 2);
    ben.place(7).typing(true);
    idle.lose();
    assert_eq!(ana.heard(), ["7: 2 types"]);
    ben.lose();
    assert_eq!(ana.heard(), ["7: 2 stops"]);
}

/// Every start of typing needs a deadline, but those of earlier starts must not stay: a
/// client that starts and stops for a day would pile them up.
#[tokio::test(start_paused = true)]
async fn repeated_typing_accumulates_no_deadlines() {
    let desk = Desk::new();
    let (ana, mut ben) = two(&desk);
    for _ in 0..60 {
        ben.place(7).typing(true);
        desk.pass(SECOND).await;
        ben.place(7).typing(false);
        ben.place(7).typing(true);
        desk.pass(SECOND).await;
        ben.leave(7);
        ben.enter(7);
        ana.heard();
    }
    let most = 16;
    let deadlines = desk.rooms.deadlines.len();
    assert!(deadlines <= most, "{deadlines} deadlines");
}
