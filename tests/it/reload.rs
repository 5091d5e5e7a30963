//! A changed configuration in a running edge.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hyper::StatusCode;
use hyper::header::CONNECTION;
use pwd_edge::config::Config;
use serde_json::json;

use crate::support::http::{Client, body, get, post};
use crate::support::{Edge, Laravel, Socket};

/// What a text of TOML says in `[[routes]]`.
fn route(text: &str) -> impl FnOnce(&mut Config) + use<> {
    let routes = Config::from_toml(text).unwrap().routes;
    |config| config.routes = routes
}

#[tokio::test]
async fn reload_applies_to_new_connections_and_keeps_sessions() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut session = Socket::joined(&edge, "3|ana", 1).await;
    let mut old = Client::http1(&edge).await;
    let hidden = || get("/hidden").body(body("")).unwrap();
    assert_eq!(old.fetch(hidden()).await.status, StatusCode::OK);

    let change = route("[[routes]]\npath = \"/hidden\"\nstatus = 404\n");
    assert!(edge.reload_with(change).await.unwrap().is_empty());

    let mut new = Client::http1(&edge).await;
    assert_eq!(new.fetch(hidden()).await.status, StatusCode::NOT_FOUND);
    // The old connection rested, so it is closed.
    assert!(old.send(hidden()).await.is_err());
    edge.broadcast(r#"{"type":"new_message","payload":{"ticket_id":1}}"#)
        .await;
    assert_eq!(session.next().await["type"], "new_message");
    session.send(json!({ "type": "ping" })).await;
    assert_eq!(session.until("pong").await["type"], "pong");
}

#[tokio::test]
async fn request_in_flight_at_reload_ends_before_its_connection() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let mut client = Client::http1(&edge).await;
    let (pieces, stream) = crate::support::http::streamed();
    let mut answer = client
        .send(post("/echo").body(stream).unwrap())
        .await
        .unwrap();
    assert!(!answer.headers().contains_key(CONNECTION));
    let change = route("[[routes]]\npath = \"/hidden\"\nstatus = 404\n");
    edge.reload_with(change).await.unwrap();
    pieces.send("late".into()).await.unwrap();
    drop(pieces);
    let answer = http_body_util::BodyExt::collect(answer.body_mut())
        .await
        .unwrap();
    assert_eq!(answer.to_bytes(), "late");
    assert!(client.send(get("/").body(body("")).unwrap()).await.is_err());
}

#[tokio::test]
async fn failed_reload_keeps_the_current_config() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let refused = edge
        .reload_with(|config| {
            config.http.error_pages = Some("/nowhere".into());
            route("[[routes]]\nstatus = 404\n")(config);
        })
        .await;
    assert!(refused.unwrap_err().to_string().contains("/nowhere"));
    let refused = edge
        .reload_with(|config| config.tls.certificate = "/nowhere.pem".into())
        .await;
    assert!(refused.unwrap_err().to_string().contains("/nowhere.pem"));
    let mut client = Client::http1(&edge).await;
    let answer = client.fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn settings_that_need_a_restart_are_reported() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let waiting = edge
        .reload_with(|config| {
            config.server.listen.push("127.0.0.1:1".parse().unwrap());
            config.broadcast.socket = "/elsewhere".into();
            config.http.max_concurrent_streams = pwd_edge::core::units::PositiveCount::new(7);
        })
        .await;
    assert_eq!(waiting.unwrap(), ["server.listen", "broadcast.socket"]);
}

/// A limit that did not change keeps its memory: a reload is no amnesty.
#[tokio::test]
async fn reload_keeps_the_counts_of_unchanged_limits() {
    let laravel = Laravel::start().await;
    let limits = "[limits]\nlogins_per_minute = 1\nlogin_burst = 1\n";
    let edge = Edge::configured(&laravel.url(), limits);
    let status = async || {
        let mut client = Client::http1(&edge).await;
        let login = post("/api/login").body(body("")).unwrap();
        client.fetch(login).await.status
    };
    assert_ne!(status().await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(status().await, StatusCode::TOO_MANY_REQUESTS);
    edge.reload().await;
    assert_eq!(status().await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_reloads_under_load_lose_and_leak_nothing() {
    let laravel = Laravel::start().await;
    let edge = Arc::new(Edge::configured(
        &laravel.url(),
        "[limits]\nexempt = [\"127.0.0.0/8\"]\n",
    ));
    let mut session = Socket::joined(&edge, "3|ana", 1).await;
    let (stop, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let load = (0..4).map(|_| {
        let (edge, stop, served) = (Arc::clone(&edge), Arc::clone(&stop), Arc::clone(&served));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // One connection, one request: a resting connection may be closed
                // at any moment, by a reload as by its own deadline.
                let mut client = Client::http1(&edge).await;
                let answer = client.fetch(get("/").body(body("")).unwrap()).await;
                assert_eq!(answer.status, StatusCode::OK);
                served.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let load: Vec<_> = load.collect();
    for number in 0..100 {
        let change = route(&format!("[[routes]]\npath = \"/{number}\"\nstatus = 404\n"));
        edge.reload_with(change).await.unwrap();
        let before = served.load(Ordering::Relaxed);
        while served.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
        edge.broadcast(r#"{"type":"new_message","payload":{"ticket_id":1}}"#)
            .await;
        assert_eq!(session.next().await["type"], "new_message");
    }
    stop.store(true, Ordering::Relaxed);
    for client in load {
        client.await.unwrap();
    }
    // One that stayed would hold a pool of its own, tasks and files.
    while edge.generations() > 1 {
        tokio::task::yield_now().await;
    }
}

/// A session checks its token and tickets by the configuration in use, not by the one that
/// it began with.
#[tokio::test]
async fn open_session_after_a_reload_queries_the_new_upstream() {
    let (old, new) = (Laravel::start().await, Laravel::start().await);
    let edge = Edge::before(&old);
    let mut ana = Socket::joined(&edge, "3|ana", 1).await;
    let url = new.url();
    let change = move |config: &mut Config| {
        let text = format!("[upstream]\nurl = {url:?}\n");
        config.upstream = Config::from_toml(&text).unwrap().upstream;
    };
    edge.reload_with(change).await.unwrap();
    let requests = old.requests().len();
    new.withdraw(3, 1);
    edge.post("/users/3/revalidate", "").await;
    assert_eq!(ana.next().await["payload"]["code"], "access_withdrawn");
    assert_eq!(old.requests().len(), requests);
    new.revoke("3|ana");
    edge.post("/users/3/revalidate", "").await;
    assert_eq!(ana.closed().await.0, 4503);
}
