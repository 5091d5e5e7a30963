//! Several servers of one app, restarts of them, and which requests are sent
//! again: the way to Laravel, seen from outside.

mod answers;
mod repetition;

use std::sync::Arc;

use futures_util::future::join_all;
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::support::Edge;
use crate::support::app::{App, Place, head, scripted};
use crate::support::http::{Answer, Client, body, get, post};

/// An edge that lets one client ask as much as it likes.
fn edge_before(urls: &[String], more: &str) -> Edge {
    let limits = "[limits]\nexempt = [\"127.0.0.0/8\"]\n";
    Edge::configured("", &format!("{limits}[upstream]\nurl = {urls:?}\n{more}"))
}

async fn fetch(edge: &Edge, request: Request<crate::support::http::Body>) -> Answer {
    Client::http1(edge).await.fetch(request).await
}

async fn fetch_text(edge: &Edge) -> String {
    let answer = fetch(edge, get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.text().to_owned()
}

/// Completes when what the edge tells of Laravel is as wanted.
async fn wait_for_upstream_status(edge: &Edge, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let status = edge.get("/status").await.json()["upstream"].take();
        if wanted(&status) {
            return status;
        }
        tokio::task::yield_now().await;
    }
}

/// Many requests at once, over few connections; all have a target of their own.
async fn send_many(edge: &Edge, method: &Method, round: &str, count: usize) -> Vec<StatusCode> {
    let some = (0..count.div_ceil(50)).map(|connection| async move {
        let Client::Http2(sender) = Client::http2(edge).await else {
            unreachable!()
        };
        join_all((0..50).map(|number| {
            let mut client = Client::Http2(sender.clone());
            let content = if method == Method::POST { "some" } else { "" };
            let request = Request::builder()
                .method(method)
                .uri(format!("/{round}/{connection}/{number}"));
            async move {
                let request = request.body(body(content)).unwrap();
                client.fetch(request).await.status
            }
        }))
        .await
    });
    join_all(some).await.concat()
}

fn all_are(statuses: &[StatusCode], wanted: &[StatusCode]) -> bool {
    statuses.iter().all(|status| wanted.contains(status))
}

/// What the app has read of a request when it dies decides: a `GET` may be sent once more, and
/// a `POST` never.
async fn assert_restart_is_safe(place: Place) {
    let app = App::new("app", place);
    app.start().await;
    let edge = edge_before(&[app.url()], "connect_retry_timeout = \"30s\"\n");
    for round in ["a", "b", "c"] {
        app.set_open(false);
        let before_it = app.received().len();
        let gets = send_many(&edge, &Method::GET, round, 150);
        let posts = send_many(&edge, &Method::POST, round, 150);
        let late_name = format!("{round}-late");
        let dying = async {
            app.wait_until_received(before_it + 300).await;
            app.kill().await;
            app.set_open(true);
            wait_for_upstream_status(&edge, |status| status["healthy"] == false).await;
            let late = send_many(&edge, &Method::POST, &late_name, 100);
            let reviving = async {
                // The late requests must find no server at first.
                for _ in 0..200 {
                    tokio::task::yield_now().await;
                }
                app.start().await;
            };
            tokio::join!(late, reviving).0
        };
        let (gets, posts, late) = tokio::join!(gets, posts, dying);
        let known = [StatusCode::OK, StatusCode::BAD_GATEWAY];
        assert!(all_are(&gets, &known), "{gets:?}");
        assert!(all_are(&posts, &[StatusCode::BAD_GATEWAY]), "{posts:?}");
        assert!(all_are(&late, &[StatusCode::OK]), "{late:?}");
    }
    let mut wrong = app.received();
    wrong.retain(|what, times| *times > if what.starts_with("GET") { 2 } else { 1 });
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn upstream_restart_on_a_port_repeats_no_post() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    assert_restart_is_safe(Place::Port(port)).await;
}

#[tokio::test]
async fn upstream_restart_on_a_socket_repeats_no_post() {
    let directory = tempfile::tempdir().unwrap();
    assert_restart_is_safe(Place::Socket(directory.path().join("app.sock"))).await;
}

/// Killed at any moment, not only when all requests have arrived.
#[tokio::test]
async fn upstream_killed_at_any_moment_repeats_no_post() {
    let app = App::started("app").await;
    let edge = edge_before(&[app.url()], "connect_retry_timeout = \"30s\"\n");
    for (round, moment) in [("a", 1), ("b", 40), ("c", 120)] {
        let before_it = app.received().len();
        let gets = send_many(&edge, &Method::GET, round, 150);
        let posts = send_many(&edge, &Method::POST, round, 150);
        let dying = async {
            app.wait_until_received(before_it + moment).await;
            app.kill().await;
            app.start().await;
        };
        let (gets, posts, ()) = tokio::join!(gets, posts, dying);
        let known = [StatusCode::OK, StatusCode::BAD_GATEWAY];
        assert!(all_are(&gets, &known), "{gets:?}");
        assert!(all_are(&posts, &known), "{posts:?}");
    }
    let mut twice = app.received();
    twice.retain(|what, times| what.starts_with("POST") && *times > 1);
    assert!(twice.is_empty(), "{twice:?}");
}

#[tokio::test]
async fn request_waiting_for_the_upstream_keeps_its_body() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::new("app", Place::Socket(directory.path().join("app.sock")));
    let edge = edge_before(&[app.url()], "connect_retry_timeout = \"30s\"\n");
    let sent = "0123456789".repeat(50_000);
    let request = post("/").body(body(sent.clone())).unwrap();
    let starting = async {
        wait_for_upstream_status(&edge, |status| status["healthy"] == false).await;
        app.start().await;
    };
    let (answer, ()) = tokio::join!(fetch(&edge, request), starting);
    assert_eq!(answer.text(), format!("app: {sent}"));
}

#[tokio::test]
async fn round_robin_uses_servers_in_turn() {
    let (one, two) = (App::started("one").await, App::started("two").await);
    let edge = edge_before(&[one.url(), two.url()], "");
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(fetch_text(&edge).await);
    }
    let ones = answers.iter().filter(|answer| answer.starts_with("one"));
    assert_eq!(ones.count(), 5, "{answers:?}");
}

/// A request counts until the end of its answer.
#[tokio::test]
async fn least_requests_uses_the_least_busy_server() {
    let release = Arc::new(Notify::new());
    let end = Arc::clone(&release);
    let one = scripted(move |connection, mut stream| {
        let end = Arc::clone(&end);
        async move {
            head(&mut stream).await;
            let start = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\non";
            stream.write_all(start).await.unwrap();
            if connection == 0 {
                end.notified().await;
            }
            stream.write_all(b"e").await.unwrap();
        }
    });
    let two = App::started("two").await;
    let more = "balance = \"least_requests\"\n";
    let edge = edge_before(&[one.await, two.url()], more);
    // Without requests in flight the edge uses the first server.
    let mut client = Client::http1(&edge).await;
    let slow = client.send(get("/slow").body(body("")).unwrap()).await;
    for _ in 0..5 {
        assert!(fetch_text(&edge).await.starts_with("two"));
    }
    release.notify_one();
    assert_eq!(Answer::read(slow.unwrap()).await.text(), "one");
    while fetch_text(&edge).await != "one" {}
}

#[tokio::test]
async fn unhealthy_server_is_skipped_and_retried_later() {
    let directory = tempfile::tempdir().unwrap();
    let dead = App::new("dead", Place::Socket(directory.path().join("app.sock")));
    let alive = App::started("alive").await;
    let edge = edge_before(&[dead.url(), alive.url()], "fail_timeout = \"50ms\"\n");
    for _ in 0..10 {
        assert!(fetch_text(&edge).await.starts_with("alive"));
    }
    let status = wait_for_upstream_status(&edge, |_| true).await;
    assert_eq!(status["healthy"], true);
    let (first, second) = (&status["servers"][0], &status["servers"][1]);
    assert_eq!(
        (&first["marked_down"], &second["marked_down"]),
        (&true.into(), &false.into())
    );
    assert_eq!(first["server"], dead.url());
    assert!(
        first["failure"]
            .as_str()
            .unwrap()
            .starts_with("cannot connect"),
        "{first}"
    );
    dead.start().await;
    while !fetch_text(&edge).await.starts_with("dead") {}
    let status = wait_for_upstream_status(&edge, |_| true).await;
    assert_eq!(status["servers"][0]["marked_down"], false);
}

#[tokio::test]
async fn request_without_any_server_gets_503_with_retry_after() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| format!("unix:{}", directory.path().join(name).display());
    let edge = edge_before(
        &[file("a.sock"), file("b.sock")],
        "connect_retry_timeout = \"300ms\"\n",
    );
    for _ in 0..3 {
        let answer = fetch(&edge, post("/").body(body("x")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers["retry-after"], "2");
    }
    let status = wait_for_upstream_status(&edge, |_| true).await;
    let failure = status["failure"].as_str().unwrap();
    assert!(
        failure.contains("a.sock") && failure.contains("b.sock"),
        "{failure}"
    );
}

#[tokio::test]
async fn health_checks_mark_a_server_down_and_up() {
    let (one, two) = (App::started("one").await, App::started("two").await);
    let more =
        "health_check_path = \"/up\"\nhealth_check_interval = \"10ms\"\nfail_timeout = \"1h\"\n";
    let edge = edge_before(&[one.url(), two.url()], more);
    one.set_healthy(false);
    let status =
        wait_for_upstream_status(&edge, |status| status["servers"][0]["marked_down"] == true).await;
    let failure = status["servers"][0]["failure"].as_str().unwrap();
    assert!(
        failure.ends_with("health check /up: responded with 503"),
        "{failure}"
    );
    for _ in 0..4 {
        assert!(fetch_text(&edge).await.starts_with("two"));
    }
    one.set_healthy(true);
    wait_for_upstream_status(&edge, |status| status["servers"][0]["marked_down"] == false).await;
    while !fetch_text(&edge).await.starts_with("one") {}
    assert_eq!(edge.stop().await.unwrap(), 0, "a probe outlived the edge");
}

#[tokio::test]
async fn request_that_times_out_is_not_retried() {
    let (one, two) = (App::started("one").await, App::started("two").await);
    one.set_open(false);
    two.set_open(false);
    let edge = edge_before(&[one.url(), two.url()], "response_timeout = \"50ms\"\n");
    let answer = fetch(&edge, get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(one.received().len() + two.received().len(), 1);
}

#[tokio::test]
async fn idle_upstream_connection_is_closed_at_its_timeout() {
    let (closed, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let url = scripted(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            head(&mut stream).await;
            let raw = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(raw.as_bytes()).await.unwrap();
            closed.send(head(&mut stream).await).unwrap();
        }
    });
    let edge = edge_before(&[url.await], "idle_timeout = \"20ms\"\n");
    for _ in 0..2 {
        assert_eq!(fetch_text(&edge).await, "ok");
        assert_eq!(ends.recv().await.unwrap(), "", "it was used again");
    }
}
