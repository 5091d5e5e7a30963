//! Broadcasts over the Unix socket.

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::support::http::{Client, body, get};
use crate::support::{Edge, Laravel, Socket};

mod connections;
mod shutdown;

#[tokio::test]
async fn broadcast_reaches_its_room_only() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    let mut second_tab = Socket::joined(&edge, "3|ana", 1).await;
    let mut ben = Socket::joined(&edge, "4|ben", 2).await;
    let mut stranger = Socket::greeted(&edge, "5|desk").await;
    let event = r#"{"type":"new_message","payload":{"ticket_id":1,"message":{"id":14}}}"#;
    let reached = edge.broadcast(event).await;
    assert_eq!(reached, json!({ "sessions": 2, "users": [3] }));
    assert_eq!(ana.text().await, event);
    assert_eq!(second_tab.text().await, event);
    assert_eq!(ben.settle().await, [] as [Value; 0]);
    assert_eq!(stranger.settle().await, [] as [Value; 0]);
    let status = r#"{"type":"ticket_status_update","payload":{"ticket_id":2,"status":"closed"}}"#;
    assert_eq!(edge.broadcast(status).await["users"], json!([4]));
    assert_eq!(ben.text().await, status);
    assert_eq!(ana.settle().await, [] as [Value; 0]);
}

#[tokio::test]
async fn payload_arrives_byte_for_byte() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    let long = "ñ€😀".repeat(20_000);
    let payload = format!(
        r#"{{"ticket_id":1, "n": [1.10, 1e2, 12345678901234567890123], "s": "\u00e9\/ é 😀 {long}"}}"#
    );
    edge.broadcast(&format!(r#"{{"payload":{payload},"type":"new_message"}}"#))
        .await;
    let expected = format!(r#"{{"type":"new_message","payload":{payload}}}"#);
    assert!(ana.text().await == expected);
}

#[tokio::test]
async fn batch_arrives_in_order() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    let event = |n| format!(r#"{{"type":"new_message","payload":{{"ticket_id":1,"n":{n}}}}}"#);
    let body = format!("[{},{},{}]", event(1), event(2), event(3));
    let one = json!({ "sessions": 1, "users": [3] });
    assert_eq!(edge.broadcast(&body).await, json!([one, one, one]));
    for n in 1..=3 {
        assert_eq!(ana.text().await, event(n));
    }
}

#[tokio::test]
async fn batch_with_an_invalid_event_delivers_nothing() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    let good = r#"{"type":"new_message","payload":{"ticket_id":1}}"#;
    let bad = r#"{"type":"new_message","payload":{"ticket":1}}"#;
    let answer = edge.post("/broadcast", format!("[{good},{bad}]")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let reported = answer.json();
    assert_eq!(
        (&reported["index"], &reported["pointer"]),
        (&json!(1), &json!("/payload/ticket_id"))
    );
    assert!(reported["code"].is_string() && reported["message"].is_string());
    assert_eq!(ana.settle().await, [] as [Value; 0]);
}

#[tokio::test]
async fn invalid_broadcast_is_rejected_with_its_code() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[broadcast]\nmax_body_size = \"1 KiB\"\n");
    for (body, status, code) in [
        (
            "not json".to_owned(),
            StatusCode::BAD_REQUEST,
            "invalid_json",
        ),
        ("[]".to_owned(), StatusCode::BAD_REQUEST, "wrong_count"),
        (
            r#"{"type":"a","payload":{}}"#.to_owned(),
            StatusCode::BAD_REQUEST,
            "invalid_event",
        ),
        (" ".repeat(1025), StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
    ] {
        let answer = edge.post("/broadcast", body).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (status, &json!(code))
        );
    }
    let answer = edge.post("/elsewhere", "{}").await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (StatusCode::NOT_FOUND, &json!("not_found"))
    );
}

#[tokio::test]
async fn session_in_except_receives_no_broadcast() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::open(&edge, "3|ana").await;
    let session = ana.next().await["payload"]["session_id"].clone();
    ana.join(1).await;
    let mut second_tab = Socket::joined(&edge, "3|ana", 1).await;
    let event = json!({ "type": "a", "payload": { "ticket_id": 1 }, "except": session });
    assert_eq!(edge.broadcast(&event.to_string()).await["sessions"], 1);
    assert_eq!(
        second_tab.text().await,
        r#"{"type":"a","payload":{"ticket_id":1}}"#
    );
    assert_eq!(ana.settle().await, [] as [Value; 0]);
}

/// A client can send the id of another's session as its own.
#[tokio::test]
async fn except_with_another_users_session_has_no_effect() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::open(&edge, "3|ana").await;
    let session = ana.next().await["payload"]["session_id"].clone();
    ana.join(1).await;
    for (user, sessions) in [(json!(5), 1), (json!("desk"), 1), (json!(3), 0)] {
        let event = json!({
            "type": "a", "payload": { "ticket_id": 1 }, "except": session, "except_user": user,
        });
        let reached = edge.broadcast(&event.to_string()).await;
        assert_eq!(reached["sessions"], sessions, "{user}");
    }
    assert_eq!(ana.settle().await.len(), 2);
}

#[tokio::test]
async fn caller_with_an_unlisted_uid_is_rejected() {
    let laravel = Laravel::start().await;
    let more = "[broadcast]\nallowed_uids = [4294967294]\n";
    let edge = Edge::configured(&laravel.url(), more);
    let answer = edge
        .post("/broadcast", r#"{"type":"a","payload":{"ticket_id":1}}"#)
        .await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (StatusCode::FORBIDDEN, &json!("forbidden"))
    );
}

#[tokio::test]
async fn disconnect_closes_the_sessions_of_the_user_with_4504() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    let mut ben = Socket::joined(&edge, "4|ben", 2).await;
    let answer = edge.post("/users/3/disconnect", "").await;
    assert_eq!(answer.json(), json!({ "sessions": 1 }));
    assert_eq!(ana.closed().await.0, 4504);
    ana.gone().await;
    assert_eq!(
        edge.get("/status").await.json()["sessions_closed"],
        json!({ "disconnected": 1 })
    );
    assert_eq!(ben.settle().await, [] as [Value; 0]);
}

#[tokio::test]
async fn withdrawn_access_ends_at_a_revalidation() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    desk.join(2).await;
    laravel.withdraw(5, 1);
    assert_eq!(
        edge.post("/users/5/revalidate", "").await.json(),
        json!({ "sessions": 1 })
    );
    let reported = desk.next().await;
    assert_eq!(reported["payload"]["code"], "access_withdrawn");
    assert_eq!(reported["payload"]["ticket_id"], 1);
    let reached = edge
        .broadcast(r#"{"type":"a","payload":{"ticket_id":1}}"#)
        .await;
    assert_eq!(reached["sessions"], 0);
    let reached = edge
        .broadcast(r#"{"type":"a","payload":{"ticket_id":2}}"#)
        .await;
    assert_eq!(reached["sessions"], 1);
}

#[tokio::test]
async fn revalidation_closes_a_revoked_token_but_not_in_an_outage() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    laravel.fail_with(Some(StatusCode::INTERNAL_SERVER_ERROR));
    let before = laravel.requests().len();
    edge.post("/users/3/revalidate", "").await;
    while laravel.requests().len() < before + 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ana.settle().await, [] as [Value; 0]);
    laravel.fail_with(None);
    laravel.revoke("3|ana");
    edge.post("/users/3/revalidate", "").await;
    assert_eq!(ana.closed().await.0, 4503);
}

#[tokio::test]
async fn broadcast_repeated_with_its_key_is_delivered_once() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    let event = r#"{"type":"a","payload":{"ticket_id":1}}"#;
    let first = edge
        .post_with("/broadcast", event, &[("idempotency-key", "job-1")])
        .await;
    assert_eq!(ana.text().await, event);
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    assert_eq!(ana.next().await["type"], "user_joined");
    let again = edge
        .post_with("/broadcast", event, &[("idempotency-key", "job-1")])
        .await;
    assert_eq!(again.body, first.body);
    assert_eq!(desk.settle().await, [] as [Value; 0]);
    assert_eq!(ana.settle().await, [] as [Value; 0]);
    let other = edge
        .post_with("/broadcast", event, &[("idempotency-key", "job-2")])
        .await;
    assert_eq!(other.json()["sessions"], 2);
    let wrong = edge
        .post_with("/broadcast", event, &[("idempotency-key", "a b")])
        .await;
    assert_eq!(
        (wrong.status, &wrong.json()["code"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_key"))
    );
}

/// The body of a job's retry may hold another time than that of its first attempt.
#[tokio::test]
async fn retry_matched_by_key_gets_the_first_response() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    let event = |n| format!(r#"{{"type":"a","payload":{{"ticket_id":1,"n":{n}}}}}"#);
    let key = ("idempotency-key", "job-1");
    let by_key = [key, ("idempotency-match", "key")];
    let first = edge.post_with("/broadcast", event(1), &by_key).await;
    assert_eq!(ana.text().await, event(1));
    let again = edge.post_with("/broadcast", event(2), &by_key).await;
    assert_eq!((again.status, &again.body), (StatusCode::OK, &first.body));
    for (headers, status, code) in [
        (vec![key], StatusCode::CONFLICT, "key_reused"),
        (
            vec![key, ("idempotency-match", "body")],
            StatusCode::BAD_REQUEST,
            "invalid_key",
        ),
    ] {
        let refused = edge.post_with("/broadcast", event(3), &headers).await;
        let reported = (refused.status, refused.json()["code"].clone());
        assert_eq!(reported, (status, json!(code)));
    }
    assert_eq!(ana.settle().await, [] as [Value; 0]);
}

/// Two workers may have the same job, if the first takes longer than the queue waits.
#[tokio::test]
async fn concurrent_requests_with_one_key_deliver_once() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    let headers = [("idempotency-key", "job-1"), ("idempotency-match", "key")];
    let event = |n| format!(r#"{{"type":"a","payload":{{"ticket_id":1,"n":{n}}}}}"#);
    let crowd = (0..20).map(|n| edge.post_with("/broadcast", event(n), &headers));
    for answer in futures_util::future::join_all(crowd).await {
        assert_eq!(answer.json(), json!({ "sessions": 1, "users": [3] }));
    }
    assert_eq!(ana.settle().await.len(), 1);
}

/// A mistake is not the answer that a corrected request shall get.
#[tokio::test]
async fn rejection_is_not_stored_under_its_key() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let key = [("idempotency-key", "job-1")];
    let wrong = edge.post_with("/broadcast", "{}", &key).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let event = r#"{"type":"a","payload":{"ticket_id":1}}"#;
    let right = edge.post_with("/broadcast", event, &key).await;
    assert_eq!(right.status, StatusCode::OK);
}

#[tokio::test]
async fn status_and_room_queries_report_sessions_and_users() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let _ana = Socket::joined(&edge, "3|ana", 1).await;
    let _second_tab = Socket::joined(&edge, "3|ana", 1).await;
    let _desk = Socket::greeted(&edge, "5|desk").await;
    let status = edge.get("/status").await.json();
    assert_eq!(
        (&status["sessions"], &status["rooms"]),
        (&json!(3), &json!(1))
    );
    let upstream = json!({ "healthy": true, "contacted": true, "required": true });
    assert_eq!(status["upstream"], upstream);
    assert_eq!(status["sessions_closed"], json!({}));
    assert!(status["version"].is_string() && status["uptime_seconds"].is_u64());
    let room = edge.get("/rooms/ticket/1").await.json();
    let users = json!([{ "user_id": 3, "user_name": "ana" }]);
    assert_eq!(
        room,
        json!({ "room": "ticket/1", "sessions": 2, "users": users })
    );
    assert_eq!(edge.get("/rooms/ticket/2").await.json()["sessions"], 0);
    assert_eq!(
        edge.get("/rooms/ticket/1;2").await.json()["code"],
        "invalid_room"
    );
}

#[tokio::test]
async fn status_reports_an_unhealthy_upstream() {
    let laravel = Laravel::start().await;
    let more = format!(
        "[upstream]\nurl = \"{}\"\nconnect_retry_timeout = \"10ms\"\n",
        laravel.url()
    );
    let edge = Edge::configured("", &more);
    laravel.stop();
    let mut client = Client::http1(&edge).await;
    while client.fetch(get("/").body(body("")).unwrap()).await.status == StatusCode::OK {}
    let reported = edge.get("/status").await.json();
    assert_eq!(reported["upstream"]["healthy"], false);
    assert!(
        reported["upstream"]["failure"]
            .as_str()
            .unwrap()
            .contains("cannot connect")
    );
    laravel.restart().await;
    client.fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(
        edge.get("/status").await.json()["upstream"]["healthy"],
        true
    );
}

/// Partial requests and clients that vanish delay no other request.
#[tokio::test]
async fn partial_requests_on_the_socket_do_not_delay_others() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    let mut half = Vec::new();
    for number in 0..500 {
        let mut stream = UnixStream::connect(&edge.broadcasts).await.unwrap();
        let head = "POST /broadcast HTTP/1.1\r\nhost: edge\r\ncontent-length: 100\r\n\r\n{\"type\"";
        stream
            .write_all(&head.as_bytes()[..head.len() - number % 40])
            .await
            .unwrap();
        if number % 2 == 0 {
            half.push(stream);
        }
    }
    let event = r#"{"type":"a","payload":{"ticket_id":1}}"#;
    let crowd = (0..300).map(|_| edge.broadcast(event));
    let answers = futures_util::future::join_all(crowd).await;
    assert!(answers.iter().all(|answer| answer["sessions"] == 1));
    for _ in 0..300 {
        assert_eq!(ana.text().await, event);
    }
}
