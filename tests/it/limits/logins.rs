//! Limits of logins and of tokens that fail.

use hyper::StatusCode;

use crate::support::http::{Client, body, get, post};
use crate::support::{Edge, Laravel, Socket};

#[tokio::test]
async fn login_rate_applies_to_every_spelling_of_its_path() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nlogin_burst = 3\nlogins_per_minute = 1\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut client = Client::http2(&edge).await;
    let mut statuses = Vec::new();
    for path in [
        "/api/login",
        "/api/%6Cogin",
        "/x/index.php/api/login",
        "/api/login",
        "/api//login",
        "/x/index.php/api/login",
    ] {
        let answer = client.fetch(post(path).body(body("")).unwrap()).await;
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses[3..], [429, 429, 429], "{statuses:?}");
    assert!(!statuses[..3].contains(&429), "{statuses:?}");
    let method = hyper::Method::from_bytes(b"post").unwrap();
    let lower = post("/api/login").method(method).body(body("")).unwrap();
    assert_eq!(client.fetch(lower).await.status, StatusCode::BAD_REQUEST);
    for request in [
        get("/api/login"),
        post("/api/other"),
        post("/app/index.php/api/other"),
    ] {
        let answer = client.fetch(request.body(body("")).unwrap()).await;
        assert_ne!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    }
}

#[tokio::test]
async fn client_with_rejected_tokens_gets_429_for_websockets_alone() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nrejected_tokens_per_minute = 2\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut here = Socket::joined(&edge, "3|ana", 1).await;
    // The same token is no further guess: an old client in a loop blocks no other client.
    for guess in ["9|one", "9|one", "one", "9|one", "9|two"] {
        assert_eq!(Socket::open(&edge, guess).await.closed().await.0, 4502);
    }
    let path = "/ws?token=3%7Cana";
    let refused = Socket::try_open(&edge, path, &[]).await.err();
    assert_eq!(refused, Some(StatusCode::TOO_MANY_REQUESTS));
    // Open sessions, log-ins and other requests continue.
    assert!(here.settle().await.is_empty());
    let mut client = Client::http1(&edge).await;
    let login = post("/api/login").body(body("")).unwrap();
    assert_eq!(client.fetch(login).await.status, StatusCode::OK);
    let answer = client.fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn client_with_failed_logins_gets_429() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nfailed_logins_per_minute = 2\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut client = Client::http1(&edge).await;
    let login = || post("/api/login").body(body("")).unwrap();
    laravel.fail_with(Some(StatusCode::UNAUTHORIZED));
    for _ in 0..2 {
        let answer = client.fetch(login()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    laravel.fail_with(None);
    let requests = laravel.requests().len();
    let answer = client.fetch(login()).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "60");
    assert_eq!(laravel.requests().len(), requests);
    // Users who are logged in open their sessions.
    Socket::joined(&edge, "3|ana", 1).await;
}

/// A shift begins behind one address.
#[tokio::test]
async fn office_that_logs_in_together_is_not_limited() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let logging_in = (0..40).map(|_| async {
        let mut client = Client::http1(&edge).await;
        let login = post("/api/login").body(body("")).unwrap();
        client.fetch(login).await.status
    });
    let statuses = futures_util::future::join_all(logging_in).await;
    assert_eq!(statuses, [StatusCode::OK; 40]);
}
