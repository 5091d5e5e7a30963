//! WebSocket handshakes that open a session, and those that the edge rejects.

use hyper::StatusCode;

use super::fetch;
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
async fn listed_origin_of_an_app_may_connect() {
    let laravel = Laravel::start().await;
    let apps = ["capacitor://localhost", "app://-", "null"];
    let more = format!("[websocket]\nallowed_origins = {apps:?}\n");
    let edge = Edge::configured(&laravel.url(), &more);
    for origin in apps {
        let opened = Socket::try_open(&edge, "/ws?token=3|ana", &[("origin", origin)]).await;
        assert!(opened.is_ok(), "{origin}");
    }
    for origin in ["ionic://localhost", "capacitor://localhost.evil", "file://"] {
        let refused = Socket::try_open(&edge, "/ws?token=3|ana", &[("origin", origin)]).await;
        assert_eq!(refused.err(), Some(StatusCode::FORBIDDEN), "{origin}");
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
