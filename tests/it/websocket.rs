//! WebSocket sessions through the whole edge.

use futures_util::SinkExt;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::http::{Client, body, get};
use crate::support::{Edge, Laravel, Socket};

#[tokio::test]
async fn session_with_a_valid_token_opens_on_both_paths() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for path in ["/?token=3|ana", "/ws?token=3%7Cana"] {
        let mut socket = Socket::try_open(&edge, path, &[]).await.unwrap();
        let greeting = socket.next().await;
        assert_eq!(greeting["type"], "connection");
        assert_eq!(greeting["payload"]["status"], "connected");
        assert_eq!(greeting["payload"]["user_id"], 3);
        assert!(
            greeting["payload"]["session_id"]
                .as_str()
                .unwrap()
                .contains('.')
        );
    }
}

/// What the app's middleware demands of a question.
#[tokio::test]
async fn auth_requests_carry_the_headers_that_laravel_needs() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    Socket::joined(&edge, "3|ana", 1).await;
    let [who, may] = &laravel.requests()[..] else {
        panic!("two questions: {:?}", laravel.requests());
    };
    assert_eq!((who.method.as_str(), &*who.target), ("GET", "/api/user"));
    assert_eq!(
        (may.method.as_str(), &*may.target),
        ("HEAD", "/api/support-tickets/1")
    );
    for question in [who, may] {
        // Sanctum finds a token by its secret alone.
        assert_eq!(question.header("authorization"), Some("Bearer ana"));
        assert_eq!(question.header("x-edge-request"), Some("authorization"));
        assert_eq!(question.header("accept"), Some("application/json"));
        assert_eq!(question.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(question.header("x-forwarded-proto"), Some("https"));
        assert_eq!(question.header("host"), Some("localhost"));
        let agent = question.header("user-agent").unwrap();
        assert!(agent.len() >= 10 && !agent.contains(['(', ')']), "{agent}");
        assert!(!question.looks_like_an_attack());
    }
}

/// An app whose token model wants the id gets all of the token.
#[tokio::test]
async fn token_form_full_sends_the_whole_token() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[auth]\ntoken_form = \"full\"\n");
    Socket::joined(&edge, "3|ana", 1).await;
    for question in laravel.requests() {
        assert_eq!(question.header("authorization"), Some("Bearer 3|ana"));
    }
}

/// Laravel can exempt the edge's own requests from its throttle, and no others.
#[tokio::test]
async fn forged_x_edge_request_header_is_removed() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let forged = hyper::Request::get("/api/user")
        .header("host", "localhost")
        .header("authorization", "Bearer 3|ana")
        .header("x-edge-request", "authorization");
    fetch(&edge, forged).await;
    assert_eq!(laravel.requests()[0].header("x-edge-request"), None);
}

/// To Laravel the token ends at the comma, so both spellings are one token.
#[tokio::test]
async fn token_with_a_comma_is_no_second_token() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut comma = Socket::open(&edge, "3|ana,x").await;
    assert_eq!(comma.closed().await.0, 4501);
    let mut plain = Socket::greeted(&edge, "3|ana").await;
    let log_out = hyper::Request::post("/api/logout")
        .header("host", "localhost")
        .header("accept", "application/json")
        .header("authorization", "Bearer 3|ana,x");
    assert_eq!(fetch(&edge, log_out).await, StatusCode::OK);
    assert_eq!(plain.closed().await.0, 4503);
    let mut again = Socket::open(&edge, "3|ana").await;
    assert_eq!(again.closed().await.0, 4502);
}

/// Laravel reads the token between bytes that are no ASCII.
#[tokio::test]
async fn logout_with_non_ascii_bytes_closes_its_sessions() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    let odd = hyper::header::HeaderValue::from_bytes(b"\xe9 Bearer 3|ana").unwrap();
    let log_out = hyper::Request::post("/api/logout")
        .header("host", "localhost")
        .header("authorization", odd);
    assert_eq!(fetch(&edge, log_out).await, StatusCode::OK);
    assert_eq!(ana.closed().await.0, 4503);
}

/// One client and one app could read different tokens in them.
#[tokio::test]
async fn request_with_two_authorization_headers_is_rejected() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let twice = hyper::Request::post("/api/logout")
        .header("host", "localhost")
        .header("authorization", "Bearer 3|ana")
        .header("authorization", "Bearer 4|ben");
    assert_eq!(fetch(&edge, twice).await, StatusCode::BAD_REQUEST);
    assert!(laravel.requests().is_empty());
}

/// What throttles one user is no reason to leave another at the same address waiting.
#[tokio::test]
async fn colleague_of_a_throttled_user_is_admitted() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[auth]\nretry_timeout = \"100ms\"\n");
    laravel.fail_with(Some(StatusCode::TOO_MANY_REQUESTS));
    let mut ana = Socket::open(&edge, "3|ana").await;
    assert_eq!(ana.closed().await.0, 1013);
    laravel.fail_with(None);
    Socket::joined(&edge, "5|desk", 1).await;
    let mut ana = Socket::open(&edge, "3|ana").await;
    assert_eq!(ana.closed().await.0, 1013, "Retry-After was a minute");
}

/// `artisan down --retry=600` may be over long before.
#[tokio::test]
async fn outage_with_a_long_retry_after_ends_at_the_next_success() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[auth]\nretry_timeout = \"100ms\"\n");
    laravel.fail_with(Some(StatusCode::SERVICE_UNAVAILABLE));
    let mut ana = Socket::open(&edge, "3|ana").await;
    assert_eq!(ana.closed().await.0, 1013);
    laravel.fail_with(None);
    Socket::joined(&edge, "5|desk", 1).await;
    Socket::joined(&edge, "3|ana", 1).await;
}

#[tokio::test]
async fn token_in_a_header_is_accepted() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let bearer = [("authorization", "Bearer 3|ana")];
    let mut socket = Socket::try_open(&edge, "/ws", &bearer).await.unwrap();
    assert_eq!(socket.next().await["payload"]["user_id"], 3);
    let offered = [("sec-websocket-protocol", "bearer, 4|ben")];
    let (mut socket, headers) = Socket::handshake(&edge, "/ws", &offered).await.unwrap();
    assert_eq!(headers["sec-websocket-protocol"], "bearer");
    assert!(headers.contains_key("x-request-id"));
    assert_eq!(socket.next().await["payload"]["user_id"], 4);
}

#[tokio::test]
async fn session_without_a_valid_token_is_closed_with_4501_or_4502() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for (path, message, code) in [
        ("/ws", "No authentication token provided", 4501),
        ("/ws?token=", "No authentication token provided", 4501),
        ("/ws?token[]=x", "No authentication token provided", 4501),
        ("/ws?token=3|wrong", "Authentication failed", 4502),
    ] {
        let mut socket = Socket::try_open(&edge, path, &[]).await.unwrap();
        let error = socket.next().await;
        assert_eq!(
            (&error["type"], &error["payload"]["message"]),
            (&json!("error"), &json!(message))
        );
        assert_eq!(socket.closed().await.0, code, "{path}");
    }
}

#[tokio::test]
async fn laravel_failure_is_unavailable_and_not_denied() {
    let laravel = Laravel::start().await;
    laravel.fail_with(Some(StatusCode::INTERNAL_SERVER_ERROR));
    let edge = Edge::configured(&laravel.url(), "[auth]\nretry_timeout = \"100ms\"\n");
    let mut socket = Socket::open(&edge, "3|ana").await;
    assert_eq!(socket.next().await["payload"]["code"], "unavailable");
    assert_eq!(socket.closed().await, (1013, "try again later".to_owned()));
    laravel.fail_with(None);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    laravel.fail_with(Some(StatusCode::SERVICE_UNAVAILABLE));
    socket
        .send(json!({ "type": "join_ticket", "payload": { "ticket_id": 1 } }))
        .await;
    assert_eq!(socket.next().await["payload"]["code"], "unavailable");
    laravel.fail_with(None);
    socket.join(1).await;
}

#[tokio::test]
async fn join_in_a_short_outage_is_retried() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let before = laravel.requests().len();
    laravel.fail_with(Some(StatusCode::SERVICE_UNAVAILABLE));
    socket
        .send(json!({ "type": "join_ticket", "payload": { "ticket_id": 1 } }))
        .await;
    while laravel.requests().len() == before {
        tokio::task::yield_now().await;
    }
    laravel.fail_with(None);
    assert_eq!(socket.next().await["type"], "ticket_joined");
}

#[tokio::test]
async fn join_of_a_ticket_not_granted_is_denied() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut socket = Socket::greeted(&edge, "4|ben").await;
    for ticket in [1, 999] {
        socket
            .send(json!({ "type": "join_ticket", "payload": { "ticket_id": ticket } }))
            .await;
        let error = socket.next().await;
        assert_eq!(error["payload"]["code"], "denied", "{error}");
        assert_eq!(error["payload"]["ticket_id"], ticket);
    }
    socket
        .send(json!({ "type": "join_ticket", "payload": { "ticket_id": "2" } }))
        .await;
    let joined = socket.next().await;
    let users = json!([{ "user_id": 4, "user_name": "ben" }]);
    let expected =
        json!({ "type": "ticket_joined", "payload": { "ticket_id": 2, "users": users } });
    assert_eq!(joined, expected);
}

#[tokio::test]
async fn malformed_ticket_id_never_reaches_laravel() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    let before = laravel.requests().len();
    for id in [
        json!("1abc"),
        json!("01"),
        json!("1;2"),
        json!(" 1"),
        json!("archived"),
        json!(1.0),
        json!([1]),
        json!(0),
        json!(-1),
        Value::Null,
    ] {
        socket
            .send(json!({ "type": "join_ticket", "payload": { "ticket_id": id } }))
            .await;
        assert_eq!(
            socket.next().await["payload"]["code"],
            "invalid_payload",
            "{id}"
        );
    }
    assert_eq!(laravel.requests().len(), before);
}

#[tokio::test]
async fn invalid_message_gets_an_error_and_keeps_the_session() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    assert_eq!(ana.next().await["type"], "user_joined");
    for (text, code) in [
        ("x", "invalid_json"),
        ("\"ping\"", "invalid_json"),
        ("{}", "missing_type"),
        (r#"{"type":["ping"]}"#, "missing_type"),
        (
            r#"{"type":"new_message","payload":{"ticket_id":1,"message":{}}}"#,
            "unknown_type",
        ),
        (
            r#"{"type":"typing_indicator","payload":{"ticket_id":1,"is_typing":{"a":"<b>"}}}"#,
            "invalid_payload",
        ),
        (
            r#"{"type":"typing_indicator","payload":{"ticket_id":2,"is_typing":true}}"#,
            "not_in_room",
        ),
        (
            r#"{"type":"message_seen","payload":{"message_id":"no-such"}}"#,
            "invalid_payload",
        ),
    ] {
        ana.send_text(text).await;
        let error = ana.next().await;
        assert_eq!(
            (&error["type"], &error["payload"]["code"]),
            (&json!("error"), &json!(code)),
            "{text}"
        );
    }
    ana.0.send(Message::binary("{}")).await.unwrap();
    assert_eq!(ana.next().await["payload"]["code"], "invalid_chunk");
    assert_eq!(
        desk.settle().await,
        [] as [Value; 0],
        "something was relayed"
    );
}

#[tokio::test]
async fn ping_gets_a_pong_with_the_time() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    socket.send(json!({ "type": "ping" })).await;
    let pong = socket.next().await;
    assert_eq!(pong["type"], "pong");
    assert!(pong["payload"]["timestamp"].as_u64().unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn member_that_left_receives_nothing_more() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut socket = Socket::joined(&edge, "3|ana", 1).await;
    socket
        .send(json!({ "type": "leave_ticket", "payload": { "ticket_id": 1 } }))
        .await;
    socket.settle().await;
    let reached = edge
        .broadcast(r#"{"type":"new_message","payload":{"ticket_id":1}}"#)
        .await;
    assert_eq!(reached["sessions"], 0);
    assert_eq!(socket.settle().await, [] as [Value; 0]);
}

#[tokio::test]
async fn origin_of_another_site_gets_403() {
    let laravel = Laravel::start().await;
    let more = "[websocket]\nallowed_origins = [\"https://desk.example\"]\n";
    let edge = Edge::configured(&laravel.url(), more);
    for origin in [
        "https://evil.example",
        "null",
        "http://localhost",
        "https://desk.example.evil",
    ] {
        let refused = Socket::try_open(&edge, "/ws?token=3|ana", &[("origin", origin)]).await;
        assert_eq!(refused.err(), Some(StatusCode::FORBIDDEN), "{origin}");
    }
    for origin in [
        "https://localhost",
        "https://LOCALHOST:443",
        // The old front end connects to another port than its page's.
        "https://localhost:8080",
        "https://desk.example",
    ] {
        let opened = Socket::try_open(&edge, "/ws?token=3|ana", &[("origin", origin)]).await;
        assert!(opened.is_ok(), "{origin}");
    }
}

#[tokio::test]
async fn invalid_handshake_is_rejected_or_passed_to_laravel() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let refused = Socket::try_open(&edge, "/ws", &[("sec-websocket-version", "8")]).await;
    assert_eq!(refused.err(), Some(StatusCode::UPGRADE_REQUIRED));
    let refused = Socket::try_open(&edge, "/ws", &[("sec-websocket-key", "short")]).await;
    assert_eq!(refused.err(), Some(StatusCode::BAD_REQUEST));
    let plain = Client::http1(&edge)
        .await
        .fetch(get("/ws").body(body("")).unwrap())
        .await;
    assert_eq!(plain.text(), "hello from laravel", "no upgrade: Laravel's");
    let elsewhere = Socket::try_open(&edge, "/other", &[]).await;
    assert_eq!(
        elsewhere.err(),
        Some(StatusCode::OK),
        "another path: Laravel's"
    );
}

#[tokio::test]
async fn logout_closes_the_sessions_of_its_token() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    let mut desk = Socket::greeted(&edge, "5|desk").await;
    let request = hyper::Request::post("/api/logout")
        .header("host", "localhost")
        .header("accept", "application/json")
        .header("authorization", "Bearer 3|ana");
    let answer = Client::http1(&edge)
        .await
        .fetch(request.body(body("")).unwrap())
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(ana.closed().await.0, 4503);
    assert_eq!(desk.settle().await, [] as [Value; 0]);
    let mut again = Socket::open(&edge, "3|ana").await;
    assert_eq!(
        again.closed().await.0,
        4502,
        "the answer from before is forgotten"
    );
}

#[tokio::test]
async fn logout_rejected_by_laravel_closes_nothing() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    laravel.fail_with(Some(StatusCode::UNAUTHORIZED));
    let request = hyper::Request::post("/api/logout")
        .header("host", "localhost")
        .header("authorization", "Bearer 3|ana");
    Client::http1(&edge)
        .await
        .fetch(request.body(body("")).unwrap())
        .await;
    assert_eq!(ana.settle().await, [] as [Value; 0]);
}

/// Browsers leave the page without waiting for the answer.
#[tokio::test]
async fn logout_counts_even_if_its_client_has_left() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    let before = laravel.requests().len();
    laravel.hold_logouts();
    let mut client = Client::http1(&edge).await;
    let request = hyper::Request::post("/api//logout/")
        .header("host", "localhost")
        .header("accept", "application/json")
        .header("authorization", "Bearer 3|ana");
    tokio::select! {
        answer = client.send(request.body(body("")).unwrap()) => panic!("{answer:?}"),
        () = async { while laravel.requests().len() == before { tokio::task::yield_now().await; } } => {}
    }
    drop(client);
    laravel.release();
    assert_eq!(ana.closed().await.0, 4503);
}

/// The token may be revoked all the same, so the edge asks Laravel.
#[tokio::test]
async fn logout_with_an_error_response_is_revalidated() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    laravel.fail_logouts();
    let request = hyper::Request::post("/api/logout")
        .header("host", "localhost")
        .header("authorization", "Bearer 3|ana");
    let mut client = Client::http1(&edge).await;
    let answer = client.fetch(request.body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(ana.closed().await.0, 4503);
}

/// Laravel finds a token by its secret alone, whatever stands before it.
#[tokio::test]
async fn logout_closes_every_spelling_of_the_token() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut bare = Socket::greeted(&edge, "ana").await;
    let request = hyper::Request::post("/api/logout")
        .header("host", "localhost")
        .header("accept", "application/json")
        .header("authorization", "Bearer 3|ana");
    let mut client = Client::http1(&edge).await;
    client.fetch(request.body(body("")).unwrap()).await;
    assert_eq!(bare.closed().await.0, 4503);
}

#[tokio::test]
async fn disconnected_user_is_authenticated_anew_on_return() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    laravel.revoke("3|ana");
    edge.post("/users/3/disconnect", "").await;
    assert_eq!(ana.closed().await.0, 4504);
    let mut again = Socket::open(&edge, "3|ana").await;
    assert_eq!(again.closed().await.0, 4502);
}

/// A dead token of a user must not cost their good one its room.
#[tokio::test]
async fn rejected_token_does_not_affect_other_tokens_of_the_user() {
    let laravel = Laravel::start().await;
    laravel.add_token("phone", 3);
    let edge = Edge::before(&laravel);
    let mut dead = Socket::greeted(&edge, "3|ana").await;
    let mut good = Socket::greeted(&edge, "9|phone").await;
    laravel.revoke("3|ana");
    dead.send(json!({ "type": "join_ticket", "payload": { "ticket_id": 1 } }))
        .await;
    assert_eq!(dead.next().await["payload"]["code"], "denied");
    assert_eq!(dead.closed().await.0, 4503);
    good.join(1).await;
}

#[tokio::test]
async fn retry_after_of_laravel_is_obeyed() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[auth]\nretry_timeout = \"100ms\"\n");
    laravel.fail_with(Some(StatusCode::TOO_MANY_REQUESTS));
    for _ in 0..3 {
        let mut socket = Socket::open(&edge, "3|ana").await;
        assert_eq!(socket.closed().await.0, 1013);
    }
    assert_eq!(laravel.requests().len(), 1, "Retry-After was a minute");
}

async fn fetch(edge: &Edge, request: hyper::http::request::Builder) -> StatusCode {
    let request = request.body(body("")).unwrap();
    Client::http1(edge).await.fetch(request).await.status
}
