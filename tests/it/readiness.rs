//! What `/readyz` and the status say about what the site needs: a certificate, and upstreams,
//! also on a site without visitors.

use std::net::SocketAddr;

use hyper::StatusCode;
use serde_json::Value;

use crate::admin::{LISTEN, fetch_admin};
use crate::support::app::{App, Place};
use crate::support::http::{Answer, Client, body, get, post, streamed};
use crate::support::program::Program;
use crate::support::{Edge, Laravel, Socket};

/// Waits until `/readyz` has the `status`.
async fn wait_for_readiness(admin: SocketAddr, status: StatusCode) -> Answer {
    loop {
        let answer = fetch_admin(admin, "/readyz").await;
        if answer.status == status {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until a problem contains `part`.
async fn wait_for_problem(edge: &Edge, part: &str) -> Value {
    loop {
        let status = edge.get("/status").await.json();
        if status["problems"].to_string().contains(part) {
            return status;
        }
        tokio::task::yield_now().await;
    }
}

/// Nobody visits the site, so only the edge's own connection can show it.
#[tokio::test]
async fn unreachable_upstream_is_reported_without_a_request() {
    let edge = Edge::configured("http://127.0.0.1:9", LISTEN);
    let status = wait_for_problem(&edge, "upstream laravel is unreachable").await;
    assert_eq!(status["healthy"], false);
    assert_eq!(status["upstream"]["contacted"], true);
    let answer = fetch_admin(edge.admin[0], "/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        answer.text().contains("upstream laravel is unreachable"),
        "{}",
        answer.text()
    );
    for (path, status) in [
        ("/healthz", StatusCode::OK),
        ("/else", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(fetch_admin(edge.admin[0], path).await.status, status);
    }
    let metrics = edge.get("/metrics").await;
    let down = "pwd_edge_upstream_up{upstream=\"laravel\"} 0.0\n";
    assert!(metrics.text().contains(down), "{}", metrics.text());
}

/// The edge is not ready, so a load balancer sends it no request that could show the return.
#[tokio::test]
async fn upstream_that_returns_is_ready_without_a_request() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::new("app", Place::Socket(directory.path().join("app.sock")));
    let more = format!(
        "[upstream]\nurl = \"{}\"\nconnect_retry_timeout = \"1ms\"\n\
         health_check_interval = \"10ms\"\n{LISTEN}",
        app.url()
    );
    let edge = Edge::configured("", &more);
    let admin = edge.admin[0];
    wait_for_readiness(admin, StatusCode::SERVICE_UNAVAILABLE).await;
    app.start().await;
    wait_for_readiness(admin, StatusCode::OK).await;
    app.kill().await;
    std::fs::remove_file(directory.path().join("app.sock")).unwrap();
    // A visitor notices it.
    let mut client = Client::http1(&edge).await;
    let answer = client.fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        fetch_admin(admin, "/readyz").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    app.start().await;
    wait_for_readiness(admin, StatusCode::OK).await;
    assert_eq!(edge.get("/status").await.json()["healthy"], true);
}

#[tokio::test]
async fn optional_upstream_that_is_down_keeps_the_edge_ready() {
    let laravel = Laravel::start().await;
    let routes = "[[routes]]\npath = \"/reports\"\nupstream = \"reports\"\n\
                  [upstreams.reports]\nurl = \"http://127.0.0.1:9\"\n";
    let edge = Edge::configured(&laravel.url(), &format!("{LISTEN}{routes}"));
    let status = wait_for_problem(&edge, "upstream reports is unreachable").await;
    assert_eq!(status["upstreams"]["reports"]["required"], false);
    assert_eq!(status["upstreams"]["laravel"]["required"], true);
    wait_for_readiness(edge.admin[0], StatusCode::OK).await;
    edge.reload_with(|config| {
        let text = format!("[admin]\nrequired_upstreams = [\"reports\"]\n{routes}");
        let changed = pwd_edge::config::Config::from_toml(&text).unwrap();
        let listen = config.server.listen.clone();
        let (tls, broadcast) = (config.tls.clone(), config.broadcast.clone());
        *config = changed;
        (config.server.listen, config.tls, config.broadcast) = (listen, tls, broadcast);
    })
    .await
    .unwrap();
    let answer = wait_for_readiness(edge.admin[0], StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(
        answer.text().contains("upstream reports"),
        "{}",
        answer.text()
    );
}

/// The edge rejects every upload, and everything else works.
#[tokio::test]
async fn full_disk_buffer_is_a_problem() {
    let laravel = Laravel::start().await;
    let url = laravel.url().replace("http:", "fastcgi:");
    let edge = Edge::configured(
        "",
        &format!(
            "[upstream]\nurl = \"{url}\"\nroot = \"/srv/app/public\"\n\
             disk_buffer_size = \"400 KiB\"\n[limits]\nexempt = [\"127.0.0.0/8\"]\n\
             [http]\nmax_body_size = \"100 KiB\"\nstream_idle_timeout = \"1h\"\n\
             min_body_rate_grace = \"1h\"\n[websocket.uploads]\nmax_size = \"100 KiB\"\n"
        ),
    );
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let (pieces, sent) = streamed();
        let mut client = Client::http2(&edge).await;
        let request = post("/").body(sent).unwrap();
        let fetching = tokio::spawn(async move { client.fetch(request).await });
        for _ in 0..9 {
            pieces.send(vec![b'x'; 11_000].into()).await.unwrap();
        }
        waiting.push((pieces, fetching));
    }
    while crate::fastcgi::buffered_bytes(&edge).await < 350_000 {}
    let large = post("/").body(body(vec![b'x'; 90_000])).unwrap();
    let answer = Client::http2(&edge).await.fetch(large).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let status = wait_for_problem(&edge, "upstream laravel: cannot keep request bodies").await;
    let problems = status["problems"].to_string();
    assert!(problems.contains("upstream.disk_buffer_size"), "{problems}");
}

#[tokio::test]
async fn readiness_during_shutdown_is_not_ready_with_a_reason() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), LISTEN);
    let admin = edge.admin[0];
    let mut session = Socket::greeted(&edge, "3|ana").await;
    let ended = edge.stop();
    let mut answer = fetch_admin(admin, "/readyz").await;
    while answer.status == StatusCode::OK {
        answer = fetch_admin(admin, "/readyz").await;
    }
    assert_eq!(answer.text(), "the edge is stopping\n");
    assert_eq!(session.closed().await.0, 1012);
    assert_eq!(ended.await.unwrap(), 0);
}

/// The file on the disk would stop the next start, so the running edge must not look healthy.
#[tokio::test(flavor = "multi_thread")]
async fn failed_reload_is_a_problem_until_one_succeeds() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let good = std::fs::read_to_string(program.path("config.toml")).unwrap();
    program.append_config("nonsense = 1\n");
    program.send_sighup();
    program
        .logged(|line| line["event"] == "reload_failed")
        .await;
    let problems = program.status().await["problems"].to_string();
    assert!(
        problems.contains("the last reload failed: config.toml:"),
        "{problems}"
    );
    std::fs::write(program.path("config.toml"), good).unwrap();
    program.send_sighup();
    program
        .logged(|line| line["event"] == "reload_succeeded")
        .await;
    assert_eq!(program.status().await["problems"], serde_json::json!([]));
}
