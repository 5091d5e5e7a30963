//! Sessions of browsers that have a session cookie and no token.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::fetch;
use crate::support::laravel::SeenRequest;
use crate::support::upload_sender::{CHUNK, UploadSender, next_upload_event};
use crate::support::{Edge, Laravel, Socket};

mod logout;

const COOKIES: &str = "[auth]\nsession_cookies = [\"desk_session\"]\n";
const ORIGIN: (&str, &str) = ("origin", "https://localhost");

/// An edge that accepts session cookies.
async fn start() -> (Laravel, Edge) {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), COOKIES);
    (laravel, edge)
}

/// A session of the site's own page, greeted.
async fn greeted(edge: &Edge, cookies: &str) -> Socket {
    let headers = [ORIGIN, ("cookie", cookies)];
    let mut socket = Socket::try_open(edge, "/ws", &headers).await.unwrap();
    let greeting = socket.next().await;
    assert_eq!(greeting["type"], "connection", "{greeting}");
    socket
}

/// Logs a browser out, as its page does; returns the status.
async fn log_out(edge: &Edge, session: &str, cookies: &str) -> StatusCode {
    fetch(edge, logout_request(session, cookies)).await
}

fn logout_request(session: &str, cookies: &str) -> hyper::http::request::Builder {
    hyper::Request::post("/logout")
        .header("host", "localhost")
        .header("origin", "https://localhost")
        .header("cookie", cookies)
        .header("x-xsrf-token", format!("csrf-{session}="))
}

/// Returns the number of questions whose credential begins so.
fn questions_with(laravel: &Laravel, credential: &str) -> usize {
    let questions = laravel.requests().into_iter();
    let is_match = |question: &SeenRequest| {
        let mut credentials = [question.header("cookie"), question.header("authorization")]
            .into_iter()
            .flatten();
        credentials.any(|value| value.starts_with(credential))
    };
    questions.filter(is_match).count()
}

#[tokio::test]
async fn session_cookie_opens_a_session_without_a_token() {
    let (laravel, edge) = start().await;
    let cookies = laravel.log_in("a", 3);
    let headers = [ORIGIN, ("cookie", &*cookies)];
    let mut ana = Socket::try_open(&edge, "/ws?token=", &headers)
        .await
        .unwrap();
    assert_eq!(ana.next().await["payload"]["user_id"], 3);
    ana.join(1).await;
    ana.expect_join_denied(2).await;
    let questions = laravel.requests();
    assert_eq!(questions.len(), 3, "{questions:?}");
    for question in &questions {
        // The session's cookie alone: neither that of the CSRF token nor others.
        assert_eq!(question.header("cookie"), Some("desk_session=a.0"));
        assert_eq!(question.header("origin"), Some("https://localhost"));
        assert_eq!(question.header("x-requested-with"), Some("XMLHttpRequest"));
        for none in ["authorization", "referer", "x-xsrf-token"] {
            assert_eq!(question.header(none), None);
        }
        assert_eq!(question.header("x-edge-request"), Some("authorization"));
        assert_eq!(question.header("x-forwarded-for"), Some("127.0.0.1"));
    }
}

/// Cross-site WebSocket hijacking: the browser adds the cookie, whose page it ever is.
#[tokio::test]
async fn cookie_from_a_page_of_another_origin_gets_403() {
    let laravel = Laravel::start().await;
    let allowed = "[websocket]\nallowed_origins = [\"https://app.example\", \
                   \"http://app.example\", \"null\", \"capacitor://localhost\"]\n";
    let edge = Edge::configured(&laravel.url(), &format!("{COOKIES}{allowed}"));
    let cookies = laravel.log_in("a", 3);
    for origin in [
        None,
        Some("https://evil.example"),
        // The page of another port shares the cookie, and is another site.
        Some("https://localhost:8080"),
        Some("http://localhost"),
        // These may connect with a token, which such a page must have.
        Some("null"),
        Some("capacitor://localhost"),
        Some("http://app.example"),
    ] {
        let mut headers = vec![("cookie", &*cookies)];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let rejected = Socket::try_open(&edge, "/ws", &headers).await;
        assert_eq!(rejected.err(), Some(StatusCode::FORBIDDEN), "{origin:?}");
    }
    assert!(laravel.requests().is_empty());
    for origin in [
        "https://localhost",
        "https://LOCALHOST:443",
        "https://app.example",
    ] {
        let headers = [("origin", origin), ("cookie", &*cookies)];
        let opened = Socket::try_open(&edge, "/ws", &headers).await;
        assert!(opened.is_ok(), "{origin}");
    }
}

/// Two headers of one name are one too many for a rule of security.
#[tokio::test]
async fn cookie_with_two_origins_gets_403() {
    let (laravel, edge) = start().await;
    let cookies = laravel.log_in("a", 3);
    let request = hyper::Request::get("/ws")
        .header("host", "localhost")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("origin", "https://localhost")
        .header("origin", "https://localhost")
        .header("cookie", cookies);
    assert_eq!(fetch(&edge, request).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn cookie_that_is_not_configured_is_no_credential() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let cookies = laravel.log_in("a", 3);
    let headers = [ORIGIN, ("cookie", &*cookies)];
    let mut socket = Socket::try_open(&edge, "/ws", &headers).await.unwrap();
    assert_eq!(socket.closed().await.0, 4501);
    assert!(laravel.requests().is_empty());
}

#[tokio::test]
async fn token_has_precedence_over_a_cookie() {
    let (laravel, edge) = start().await;
    let cookies = laravel.log_in("a", 3);
    let headers = [ORIGIN, ("cookie", &*cookies)];
    let mut ben = Socket::try_open(&edge, "/ws?token=4|ben", &headers)
        .await
        .unwrap();
    assert_eq!(ben.next().await["payload"]["user_id"], 4);
    assert_eq!(laravel.last().header("cookie"), None);
    for (path, code) in [("/ws?token=4|wrong", 4502), ("/ws?token=4|b,en", 4501)] {
        let mut rejected = Socket::try_open(&edge, path, &headers).await.unwrap();
        assert_eq!(rejected.closed().await.0, code, "{path}");
    }
}

#[tokio::test]
async fn cookie_of_a_guest_is_rejected() {
    let (laravel, edge) = start().await;
    let cookies = laravel.cookies_of("guest");
    let headers = [ORIGIN, ("cookie", &*cookies)];
    let mut guest = Socket::try_open(&edge, "/ws", &headers).await.unwrap();
    assert_eq!(guest.closed().await.0, 4502);
}

/// Each tab opened with another value of the same session's cookie, and the log-out has one more.
#[tokio::test]
async fn logout_by_cookie_closes_the_sessions_of_its_browser() {
    let (laravel, edge) = start().await;
    let old = laravel.log_in("a", 3);
    let mut first = greeted(&edge, &old).await;
    let mut second = greeted(&edge, &laravel.cookies_of("a")).await;
    second.join(1).await;
    let mut other_browser = greeted(&edge, &laravel.log_in("b", 3)).await;
    let mut phone = Socket::greeted(&edge, "3|ana").await;
    let mut desk = greeted(&edge, &laravel.log_in("c", 5)).await;
    let status = log_out(&edge, "a", &laravel.cookies_of("a")).await;
    assert_eq!(status, StatusCode::FOUND);
    assert_eq!(first.closed().await.0, 4503);
    assert_eq!(second.closed().await.0, 4503);
    // Laravel has confirmed the others.
    for confirmed in ["desk_session=b.", "Bearer ana"] {
        while questions_with(&laravel, confirmed) < 2 {
            tokio::task::yield_now().await;
        }
    }
    for still_open in [&mut other_browser, &mut phone, &mut desk] {
        assert_eq!(still_open.settle().await, [] as [Value; 0]);
    }
    // Laravel's decision from before the log-out is not used again.
    let headers = [ORIGIN, ("cookie", &*old)];
    let mut again = Socket::try_open(&edge, "/ws", &headers).await.unwrap();
    assert_eq!(again.closed().await.0, 4502);
}

#[tokio::test]
async fn logout_by_cookie_that_laravel_rejects_revalidates_nothing() {
    let (laravel, edge) = start().await;
    let cookies = laravel.log_in("a", 3);
    let mut ana = greeted(&edge, &cookies).await;
    let before = laravel.requests().len();
    let status = log_out(&edge, "wrong", &laravel.cookies_of("a")).await;
    assert_eq!(status.as_u16(), 419);
    // Laravel's decision on the first cookie still counts.
    greeted(&edge, &cookies).await;
    assert_eq!(ana.settle().await, [] as [Value; 0]);
    let new = laravel.requests().split_off(before);
    let new: Vec<_> = new.iter().map(|request| &*request.target).collect();
    assert_eq!(new, ["/api/user", "/logout"]);
}

/// Inertia sends the browser to a page outside of the application with 409.
#[tokio::test]
async fn logout_of_an_inertia_page_closes_its_sessions() {
    let (laravel, edge) = start().await;
    let mut ana = greeted(&edge, &laravel.log_in("a", 3)).await;
    let request = logout_request("a", &laravel.cookies_of("a")).header("x-inertia", "true");
    assert_eq!(fetch(&edge, request).await, StatusCode::CONFLICT);
    assert_eq!(ana.closed().await.0, 4503);
}

/// Laravel throttles the user, and so does not say whose the cookie is.
#[tokio::test]
async fn logout_of_an_unknown_user_revalidates_the_sessions_of_the_client() {
    let (laravel, edge) = start().await;
    let mut ana = greeted(&edge, &laravel.log_in("a", 3)).await;
    let mut ben = greeted(&edge, &laravel.log_in("b", 4)).await;
    laravel.hold_logouts();
    laravel.fail_with(Some(StatusCode::TOO_MANY_REQUESTS));
    let cookies = laravel.cookies_of("a");
    let logging_out = log_out(&edge, "a", &cookies);
    let reached = async {
        while laravel.last().target != "/logout" {
            tokio::task::yield_now().await;
        }
        laravel.fail_with(None);
        laravel.release();
    };
    let (status, ()) = tokio::join!(logging_out, reached);
    assert_eq!(status, StatusCode::FOUND);
    assert_eq!(ana.closed().await.0, 4503);
    assert_eq!(ben.settle().await, [] as [Value; 0]);
}

/// The log-out of another guard, or one by Livewire: the edge does not recognise it.
#[tokio::test]
async fn session_that_laravel_has_ended_is_closed_by_a_revalidation() {
    let (laravel, edge) = start().await;
    let mut ana = greeted(&edge, &laravel.log_in("a", 3)).await;
    laravel.end_session("a");
    edge.post("/users/3/revalidate", "").await;
    assert_eq!(ana.closed().await.0, 4503);
}

/// Laravel rejects a `POST` of a session without its CSRF token.
#[tokio::test]
async fn upload_by_cookie_has_the_csrf_token_and_resumes_with_the_next_cookie() {
    let (laravel, edge) = start().await;
    let mut ana = greeted(&edge, &laravel.log_in("a", 3)).await;
    ana.join(1).await;
    let file = vec![7; 3 * CHUNK];
    let start = json!({ "type": "upload_start", "payload": {
        "ticket_id": 1, "upload_id": "a", "name": "a.png", "size": file.len(), "mime": "image/png" } });
    let mut sending = UploadSender::begin(&mut ana, start).await;
    sending.chunk(&mut ana, &file).await;
    ana.settle().await;
    drop(ana);
    // Another user does not find it, and neither does another credential of this one.
    for mut other in [
        greeted(&edge, &laravel.log_in("c", 5)).await,
        Socket::greeted(&edge, "3|ana").await,
    ] {
        other.send(resume()).await;
        let failed = next_upload_event(&mut other).await;
        assert_eq!(failed["payload"]["code"], "unknown_upload", "{failed}");
    }
    let mut ana = greeted(&edge, &laravel.cookies_of("a")).await;
    ana.send(resume()).await;
    let mut sending = UploadSender::ready(&next_upload_event(&mut ana).await);
    sending.until(&mut ana, &file, file.len()).await;
    assert_eq!(next_upload_event(&mut ana).await["type"], "upload_done");
    let post = laravel.posts().next().await;
    assert!(post.file() == file);
    assert_eq!(post.headers["x-xsrf-token"], "csrf-a=");
    assert_eq!(post.headers["cookie"], "desk_session=a.0");
}

fn resume() -> Value {
    json!({ "type": "upload_resume", "payload": { "upload_id": "a" } })
}
