//! A log-out closes the sessions of its token.

use hyper::StatusCode;
use serde_json::Value;

use super::fetch;
use crate::support::http::{Client, body};
use crate::support::{Edge, Laravel, Socket};

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
