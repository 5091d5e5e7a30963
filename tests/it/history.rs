//! Clients that return and get what they have missed, and the failures that this survives.
//!
//! | happening | member | Laravel | tests |
//! |---|---|---|---|
//! | the connection is cut or reset | gets each missed event once | hears nothing | `returns::client_whose_connection_is_reset_gets_exactly_what_it_missed`, `returns::client_that_returns_before_its_cut_is_noticed_gets_exactly_what_it_missed` |
//! | connections are cut while many events come | gets each event once, in order | – | `restarts::connections_cut_again_and_again_under_load_miss_and_repeat_no_event` |
//! | the edge is killed before an event is written | never gets it | its retry publishes it once | `restarts::requests_under_way_at_a_kill_are_published_once_by_their_retries` |
//! | the edge is killed between the write and the response | gets it once, now or when it returns | its retry gets the position of the first attempt | the same test, and `log::retry_after_a_killed_process_publishes_no_second_event` |
//! | the edge is killed again and again under load | gets each event once | no acknowledged event is lost | `soak`, `log::acknowledged_events_survive_a_killed_process` |
//! | the edge restarts, or the package is upgraded | is closed with 1012, then gets each event once | each request is acknowledged, some after a retry | `restarts::restarts_with_passed_sockets_lose_and_repeat_no_event` |
//! | the configuration is reloaded | stays, and gets each event once | no request fails | `restarts::reloads_under_load_close_no_session_and_lose_no_event` |
//! | the machine loses power, the log is damaged, or the disk takes nothing | hears of the gap | learns what is not stored | `failures`, `log`, and the unit tests of `event_log` |
//! | the clock steps back a day | gets each event once | – | `failures::clock_that_steps_back_a_day_loses_nothing` |
//! | the client is away for too long, or the room has too many events | hears `too_old`, and continues | – | `returns::client_whose_events_are_no_longer_kept_hears_too_old_and_continues` |
//! | nothing happens in the room, and the edge drops it | hears `recovered` or `too_old`, never wrongly the former | – | `returns::client_of_a_quiet_room_hears_recovered_only_while_the_edge_knows` |
//! | a slow client is closed with 4008 | gets each event once when it returns | sees it in the status | `returns::slow_client_that_was_closed_with_4008_gets_all_events_when_it_returns` |
//! | the client missed more than half a queue | hears `too_much`, and is not closed | – | `returns::client_that_missed_more_than_half_a_queue_hears_too_much_and_stays` |
//! | its right is withdrawn meanwhile | hears `denied`, and gets nothing | – | `returns::client_whose_right_was_withdrawn_meanwhile_gets_nothing_replayed` |
//! | the user logs out meanwhile | is closed with 4503 or 4502, and gets nothing | – | `returns::client_that_was_logged_out_meanwhile_gets_nothing_replayed` |
//! | two connections use one key, and the edge is killed between them | gets one event | both get one position | `restarts::requests_under_way_at_a_kill_are_published_once_by_their_retries` |
//! | an event is published while a client returns | gets it once | – | `cargo test --lib returning`: all orders of the locks |
//! | all sessions return at once | get each event once | has few questions at once | `restarts::sessions_that_return_at_once_after_a_kill_are_recovered_within_the_limit_of_questions` |
//! | two tabs of a user are cut | each gets what it missed | – | `returns::two_tabs_that_return_get_what_each_of_them_missed` |
//! | a client returns to many tickets with one message | gets each event once, or hears of each gap | – | `resume` |
//!
//! The same for an old client, which knows no positions, and sends nothing when it returns. Events
//! that it has not confirmed can come twice.
//!
//! | happening | old client | tests in `old_clients` |
//! |---|---|---|
//! | the connection is cut | gets what it has not confirmed | `old_client_gets_what_it_missed_while_its_connection_was_cut` |
//! | the connection is cut while many events come | gets each event, the unconfirmed ones twice | `old_client_cut_in_a_stream_of_events_gets_all_and_few_twice` |
//! | its network is gone, and the edge hears of no end | gets what it has not confirmed | `old_client_continues_its_session_whose_connection_is_dead` |
//! | it joins the ticket again by itself | gets each missed event once | `old_client_that_joins_again_gets_the_missed_events_once` |
//! | it was replaced by a client with positions | gets each missed event once | `client_with_positions_gets_the_missed_events_once` |
//! | the edge is killed | gets what it has not confirmed | `restarts::old_client_continues_after_a_killed_process` |
//! | the edge restarts | gets each event once | `restarts::old_client_continues_after_a_restart` |
//! | its right is withdrawn meanwhile | gets nothing | `old_client_whose_right_was_withdrawn_gets_nothing` |
//! | the user logs out, or is disconnected | gets nothing | `logout_and_disconnect_drop_what_is_parked`, `session_closed_by_a_logout_is_not_parked` |
//! | two tabs of a user are cut | each gets what it missed | `two_old_tabs_of_one_browser_get_both_what_they_missed` |
//! | Laravel asks who has an event | is `confirmed`, `pending` or `parked` | `receipts` |

mod failures;
mod load;
mod log;
mod old_clients;
mod restarts;
mod resume;
mod returns;
mod soak;

use serde_json::{Value, json};

use crate::support::{Edge, Laravel, Socket};

/// Joins a ticket with a position of an earlier session; returns the payload of the response.
pub(crate) async fn rejoin(socket: &mut Socket, ticket: u64, since: &Value) -> Value {
    let payload = json!({ "ticket_id": ticket, "since": since });
    socket
        .send(json!({ "type": "join_ticket", "payload": payload }))
        .await;
    socket.until("ticket_joined").await["payload"].take()
}

/// Asserts that the client of `joined` gets all that it missed, which is so many events.
#[track_caller]
fn assert_recovered(joined: &Value, missed: u64) {
    assert_eq!(
        (&joined["recovered"], &joined["missed"]),
        (&json!(true), &json!(missed))
    );
}

/// Asserts that the client of `joined` hears that it may have missed events, and why.
#[track_caller]
fn assert_gap(joined: &Value, reason: &str) {
    assert_eq!(
        (&joined["recovered"], &joined["reason"]),
        (&json!(false), &json!(reason))
    );
}

fn event(ticket: u64, number: u64) -> String {
    json!({ "type": "new_message", "payload": { "ticket_id": ticket, "n": number } }).to_string()
}

const ON: &str = "[history]\ndirectory = \"\"\n";

#[tokio::test]
async fn client_that_returns_gets_the_missed_events_with_their_positions() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let joined = rejoin(&mut socket, 1, &Value::Null).await;
    assert!(joined.get("recovered").is_none(), "{joined}");
    let report = edge.broadcast(&event(1, 1)).await;
    assert_eq!(
        (&report["sessions"], &report["stored"]),
        (&json!(1), &json!(false))
    );
    let first = socket.until("new_message").await;
    assert_eq!(first["position"], report["position"]);
    drop(socket);

    edge.broadcast(&event(1, 2)).await;
    edge.broadcast(&event(2, 3)).await;
    edge.broadcast(&event(1, 4)).await;
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let joined = rejoin(&mut socket, 1, &first["position"]).await;
    assert_recovered(&joined, 2);
    let live = edge.broadcast(&event(1, 5)).await;
    let numbers = [2, 4, 5].map(|number| json!(number));
    for number in &numbers {
        assert_eq!(&socket.until("new_message").await["payload"]["n"], number);
    }
    assert_eq!(socket.settle().await, [] as [Value; 0]);

    let joined = rejoin(
        &mut Socket::greeted(&edge, "5|desk").await,
        1,
        &live["position"],
    )
    .await;
    assert_recovered(&joined, 0);
}

#[tokio::test]
async fn position_that_cannot_be_used_joins_all_the_same() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    for (since, reason) in [
        (json!("abc"), "invalid"),
        (json!(7), "invalid"),
        (json!({ "a": [] }), "invalid"),
        (json!("kQzVbTfa.1"), "other_epoch"),
    ] {
        let mut socket = Socket::greeted(&edge, "3|ana").await;
        let joined = rejoin(&mut socket, 1, &since).await;
        assert_eq!(joined["recovered"], json!(false), "{since}");
        assert_eq!(joined["reason"], reason, "{since}");
        edge.broadcast(&event(1, 1)).await;
        socket.until("new_message").await;
    }
    let off = Edge::before(&laravel);
    let joined = rejoin(
        &mut Socket::greeted(&off, "3|ana").await,
        1,
        &json!("kQzVbTfa.1"),
    )
    .await;
    assert_gap(&joined, "disabled");
    assert!(joined.get("position").is_none(), "{joined}");
}

#[tokio::test]
async fn user_without_the_right_gets_nothing_replayed() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    let since = rejoin(&mut ana, 1, &Value::Null).await["position"].take();
    edge.broadcast(&event(1, 1)).await;
    let mut ben = Socket::greeted(&edge, "4|ben").await;
    let payload = json!({ "ticket_id": 1, "since": since });
    ben.send(json!({ "type": "join_ticket", "payload": payload }))
        .await;
    let answers = ben.settle().await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0]["payload"]["code"], "denied");
}

#[tokio::test]
async fn response_names_the_users_who_are_absent() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), ON);
    let _ana = Socket::joined(&edge, "3|ana", 1).await;
    let event = json!({ "type": "a", "payload": { "ticket_id": 1 }, "to": [3, "9", "uuid-7"] });
    let report = edge.broadcast(&event.to_string()).await;
    assert_eq!(report["absent"], json!([9, "uuid-7"]));
    let without = edge.broadcast(&self::event(1, 1)).await;
    assert!(without.get("absent").is_none(), "{without}");
}
