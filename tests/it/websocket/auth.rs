//! Requests to Laravel about a token, and the handling of each response.

use hyper::StatusCode;
use serde_json::json;

use super::fetch;
use crate::support::{Edge, Laravel, Socket};

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

/// Not the default of 5 s, and long enough for a response of Laravel on a slow machine.
const RETRY_TIMEOUT: &str = "[auth]\nretry_timeout = \"2s\"\n";

/// What throttles one user is no reason to leave another at the same address waiting.
#[tokio::test]
async fn colleague_of_a_throttled_user_is_admitted() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), RETRY_TIMEOUT);
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
    let edge = Edge::configured(&laravel.url(), RETRY_TIMEOUT);
    laravel.fail_with(Some(StatusCode::SERVICE_UNAVAILABLE));
    let mut ana = Socket::open(&edge, "3|ana").await;
    assert_eq!(ana.closed().await.0, 1013);
    laravel.fail_with(None);
    Socket::joined(&edge, "5|desk", 1).await;
    Socket::joined(&edge, "3|ana", 1).await;
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
    let edge = Edge::configured(&laravel.url(), RETRY_TIMEOUT);
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
    let edge = Edge::configured(&laravel.url(), RETRY_TIMEOUT);
    laravel.fail_with(Some(StatusCode::TOO_MANY_REQUESTS));
    for _ in 0..3 {
        let mut socket = Socket::open(&edge, "3|ana").await;
        assert_eq!(socket.closed().await.0, 1013);
    }
    assert_eq!(laravel.requests().len(), 1, "Retry-After was a minute");
}
