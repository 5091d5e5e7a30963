//! What one client may take.

use hyper::StatusCode;

use crate::support::http::{Client, body, get, post, streamed};
use crate::support::program::Program;
use crate::support::{Answer, Edge, Laravel, Socket};

mod connections;
mod logins;
mod overload;
mod sessions;

#[tokio::test]
async fn request_over_the_rate_gets_429_with_retry_after() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nrequests_per_second = 1\nrequest_burst = 3\n";
    let edge = Edge::configured(&laravel.url(), more);
    // Three at once, and two that wait. On a slow machine more are within the rate.
    let answers = fetch_at_once(&edge, 40).await;
    let (passed, rejected): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|answer| answer.status == StatusCode::OK);
    assert!(passed.len() >= 5, "{} passed", passed.len());
    let answer = rejected[0];
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "1");
    let policy = &answer.headers["ratelimit-policy"];
    assert_eq!(policy, r#""requests_per_second";q=1;w=1"#);
    assert_eq!(
        answer.headers["ratelimit"],
        r#""requests_per_second";r=0;t=1"#
    );
    assert_eq!(laravel.requests().len(), passed.len());
}

/// Sends `count` requests at once, over one connection.
async fn fetch_at_once(edge: &Edge, count: usize) -> Vec<Answer> {
    let Client::Http2(sender) = Client::http2(edge).await else {
        panic!("asked for HTTP/2");
    };
    let fetching = (0..count).map(|_| {
        let mut client = Client::Http2(sender.clone());
        async move { client.fetch(get("/").body(body("")).unwrap()).await }
    });
    futures_util::future::join_all(fetching).await
}

/// A development server has as many scripts.
#[tokio::test]
async fn page_with_400_files_loads_completely_at_the_defaults() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let answers = fetch_at_once(&edge, 400).await;
    let rejected = answers
        .iter()
        .filter(|answer| answer.status != StatusCode::OK);
    assert_eq!(rejected.count(), 0);
}

#[tokio::test]
async fn requests_above_the_burst_wait_and_are_counted() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nrequests_per_second = 100\nrequest_burst = 50\n";
    let edge = Edge::configured(&laravel.url(), more);
    let answers = fetch_at_once(&edge, 150).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::OK));
    let metrics = edge.get("/metrics").await;
    let row = "pwd_edge_limit_delayed_total{limit=\"requests_per_second\"} ";
    let delayed = metrics.text().split_once(row).expect("some waited").1;
    let delayed: usize = delayed.lines().next().unwrap().parse().unwrap();
    assert!((1..=100).contains(&delayed), "{delayed}");
}

#[tokio::test]
async fn static_file_counts_as_a_tenth_of_a_request() {
    let laravel = Laravel::start().await;
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("app.js"), "1").unwrap();
    let more = format!(
        "[limits]\nrequests_per_second = 1\nrequest_burst = 5\n\
         [[routes]]\nfiles = {:?}\nupstream = \"laravel\"\n",
        files.path()
    );
    let edge = Edge::configured(&laravel.url(), &more);
    let mut client = Client::http2(&edge).await;
    for _ in 0..20 {
        let answer = client.fetch(get("/app.js").body(body("")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    // Of five requests two are used. What is no file counts in full.
    let answers = fetch_at_once(&edge, 10).await;
    let passed = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::OK);
    let passed = passed.count();
    assert!((5..10).contains(&passed), "{passed}");
}

/// Each may hold a connection to Laravel for as long as its client likes.
#[tokio::test]
async fn client_over_its_requests_in_flight_gets_429() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nmax_requests_in_flight_per_client = 1\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut holding = Client::http2(&edge).await;
    let mut client = Client::http2(&edge).await;
    let held = holding.send(get("/hang").body(body("")).unwrap());
    let refused = async {
        while laravel.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        client.fetch(get("/").body(body("")).unwrap()).await
    };
    tokio::select! {
        answer = held => panic!("{answer:?}"),
        refused = refused => assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS),
    }
    drop(holding);
    laravel.cancelled().await;
    while client.fetch(get("/").body(body("")).unwrap()).await.status != StatusCode::OK {}
}

#[tokio::test]
async fn route_has_its_own_rate() {
    let laravel = Laravel::start().await;
    let more = "[[routes]]\npath = \"/export\"\nrequests_per_minute = 1\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut client = Client::http2(&edge).await;
    let mut statuses = Vec::new();
    for path in ["/export", "/export/all", "/"] {
        let answer = client.fetch(get(path).body(body("")).unwrap()).await;
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses, [200, 429, 200]);
}

#[tokio::test]
async fn exempt_client_is_not_limited() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nexempt = [\"127.0.0.1\"]\nmax_connections_per_client = 1\n\
                request_burst = 1\nwebsocket_handshake_burst = 1\nmax_sessions_per_client = 1\n";
    let edge = Edge::configured(&laravel.url(), more);
    for answer in fetch_at_once(&edge, 10).await {
        assert_eq!(answer.status, StatusCode::OK);
    }
    let _both = (
        Socket::greeted(&edge, "3|ana").await,
        Socket::greeted(&edge, "3|ana").await,
    );
}

#[tokio::test]
async fn dry_run_limit_is_counted_and_logged_once() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nrequests_per_second = 1\nrequest_burst = 1\n\
                dry_run = [\"requests_per_second\"]\n";
    let program = Program::before(&laravel.url(), more);
    let mut client = program.http2().await;
    for _ in 0..20 {
        let answer = client.fetch(get("/").body(body("")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let over = program
        .logged(|line| line["event"] == "limit_exceeded")
        .await;
    assert_eq!(over["limit"], "requests_per_second");
    assert_eq!(over["enforced"], false);
    let status = program.command(&["status", "--json"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert!(status["limits_exceeded"]["requests_per_second"].as_u64() > Some(10));
    assert_eq!(program.count(|line| line["event"] == "limit_exceeded"), 1);
}

#[tokio::test]
async fn rejected_flood_does_not_fill_the_log() {
    let laravel = Laravel::start().await;
    let more = "[[routes]]\npath = \"/\"\nrequests_per_minute = 1\n";
    let program = Program::before(&laravel.url(), more);
    let mut client = program.http2().await;
    let mut refused = 0;
    for _ in 0..50 {
        let answer = client.fetch(get("/").body(body("")).unwrap()).await;
        refused += usize::from(answer.status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(refused > 10, "{refused}");
    program.send_sighup();
    program
        .logged(|line| line["event"] == "reload_succeeded")
        .await;
    assert_eq!(program.count(|line| line["event"] == "limit_exceeded"), 1);
    assert_eq!(program.count(|line| line["status"] == 429), 0);
}

#[tokio::test]
async fn body_below_the_min_rate_gets_408() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[http]\nmin_body_rate_grace = \"100ms\"\n");
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let (pieces, body) = streamed();
        pieces.send("x".into()).await.unwrap();
        let response = client
            .send(post("/trailers").body(body).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    }
}
