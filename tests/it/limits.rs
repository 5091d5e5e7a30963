//! What one client may take.

use hyper::StatusCode;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::http::{Client, body, connect, get, post, streamed};
use crate::support::program::Program;
use crate::support::{Edge, Laravel, Socket};

#[tokio::test]
async fn request_over_the_rate_gets_429_with_retry_after() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nrequests_per_second = 1\nrequest_burst = 3\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut client = Client::http2(&edge).await;
    for _ in 0..3 {
        let answer = client.fetch(get("/").body(body("")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let answer = client.fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "1");
    let policy = &answer.headers["ratelimit-policy"];
    assert_eq!(policy, r#""requests_per_second";q=1;w=1"#);
    assert_eq!(
        answer.headers["ratelimit"],
        r#""requests_per_second";r=0;t=1"#
    );
    assert_eq!(laravel.requests().len(), 3);
}

#[tokio::test]
async fn connection_beyond_the_clients_share_is_closed() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[limits]\nmax_connections_per_client = 2\n");
    let held = [Client::http1(&edge).await, Client::http1(&edge).await];
    let mut third = TcpStream::connect(edge.address).await.unwrap();
    assert!(matches!(third.read(&mut [0]).await, Ok(0) | Err(_)));
    drop(held);
    // The edge needs a moment to see that they are gone.
    while connect(&edge, "http/1.1").await.is_err() {}
}

/// The share is the session's for as long as it lives.
#[tokio::test]
async fn session_counts_as_a_connection_while_it_is_open() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[limits]\nmax_connections_per_client = 1\n");
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    assert!(connect(&edge, "http/1.1").await.is_err());
    socket.0.close(None).await.unwrap();
    while connect(&edge, "http/1.1").await.is_err() {}
}

#[tokio::test]
async fn session_over_the_message_rate_is_closed_with_1008() {
    let laravel = Laravel::start().await;
    let more =
        "[websocket]\nmessages_per_second = 50\nmessage_burst = 3\nthrottle_timeout = \"1ms\"\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    for _ in 0..9 {
        socket.send(json!({ "type": "ping" })).await;
    }
    let event = loop {
        let event = socket.next().await;
        if event["type"] != "pong" {
            break event;
        }
    };
    assert_eq!(event["payload"]["code"], "too_many_messages");
    assert_eq!(socket.closed().await.0, 1008);
}

/// The edge counts each limit of `dry_run` and logs it once, but does not enforce it.
#[tokio::test]
async fn dry_run_session_limits_are_logged_and_not_enforced() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nexempt = [\"127.0.0.0/8\"]\n\
        dry_run = [\"messages_per_second\", \"bytes_per_second\", \"joins_per_minute\", \
        \"max_rooms\", \"max_sessions_per_user\"]\n\
        [websocket]\nmessages_per_second = 1\nmessage_burst = 1\nmax_rooms = 1\n\
        joins_per_minute = 1\njoin_burst = 1\nmax_sessions_per_user = 1\n\
        max_message_size = \"1 KiB\"\nbytes_per_second = \"1 B\"\nthrottle_timeout = \"1ms\"\n\
        [websocket.uploads]\nchunk_size = \"1000 B\"\n";
    let program = Program::before(&laravel.url(), more);
    let mut desk = Socket::over(program.connect("http/1.1").await, "5|desk").await;
    let mut second = Socket::over(program.connect("http/1.1").await, "5|desk").await;
    for ticket in [1, 2] {
        desk.join(ticket).await;
    }
    for _ in 0..20 {
        desk.send_text(&json!({ "type": "ping", "more": "x".repeat(500) }).to_string())
            .await;
    }
    second.settle().await;
    desk.settle().await;
    let status = program.status().await;
    assert_eq!(status["sessions"], 2);
    for limit in [
        "messages_per_second",
        "bytes_per_second",
        "joins_per_minute",
        "max_rooms",
        "max_sessions_per_user",
    ] {
        assert!(
            status["limits_exceeded"][limit].as_u64() > Some(0),
            "{limit}: {status}"
        );
        let is_reported = |line: &serde_json::Value| {
            line["event"] == "limit_exceeded" && line["limit"] == limit && line["enforced"] == false
        };
        program.logged(is_reported).await;
        assert_eq!(program.count(is_reported), 1, "{limit}");
    }
}

#[tokio::test]
async fn session_with_a_too_long_message_is_closed_with_1009() {
    let laravel = Laravel::start().await;
    let more =
        "[websocket]\nmax_message_size = \"1 KiB\"\n[websocket.uploads]\nchunk_size = \"1000 B\"\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    socket.send_text(&"x".repeat(1025)).await;
    assert_eq!(socket.closed().await.0, 1009);
}

#[tokio::test]
async fn join_above_max_rooms_is_rejected() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[websocket]\nmax_rooms = 1\n");
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    desk.send(json!({ "type": "join_ticket", "payload": { "ticket_id": 2 } }))
        .await;
    assert_eq!(desk.next().await["payload"]["code"], "too_many_rooms");
    desk.send(json!({ "type": "leave_ticket", "payload": { "ticket_id": 1 } }))
        .await;
    desk.join(2).await;
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
async fn client_with_failed_tokens_gets_429() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nfailed_logins_per_minute = 2\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut here = Socket::joined(&edge, "3|ana", 1).await;
    // The same token is no further guess: an old client in a loop blocks no other client.
    for guess in ["9|one", "9|one", "one", "9|one", "9|two"] {
        assert_eq!(Socket::open(&edge, guess).await.closed().await.0, 4502);
    }
    let path = "/ws?token=3%7Cana";
    let refused = Socket::try_open(&edge, path, &[]).await.err();
    assert_eq!(refused, Some(StatusCode::TOO_MANY_REQUESTS));
    let mut client = Client::http1(&edge).await;
    let login = post("/api/login").body(body("")).unwrap();
    let answer = client.fetch(login).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "60");
    // Open sessions and other requests continue.
    assert!(here.settle().await.is_empty());
    let answer = client.fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn session_above_the_client_limit_gets_429() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[limits]\nmax_sessions_per_client = 1\n");
    let first = Socket::greeted(&edge, "3|ana").await;
    let path = "/ws?token=3%7Cana";
    let refused = Socket::try_open(&edge, path, &[]).await.err();
    assert_eq!(refused, Some(StatusCode::TOO_MANY_REQUESTS));
    drop(first);
    while Socket::try_open(&edge, path, &[]).await.is_err() {}
}

#[tokio::test]
async fn user_over_the_session_limit_loses_the_oldest_with_4505() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[websocket]\nmax_sessions_per_user = 2\n");
    let mut oldest = Socket::joined(&edge, "3|ana", 1).await;
    let mut second = Socket::joined(&edge, "3|ana", 1).await;
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    let mut third = Socket::joined(&edge, "3|ana", 1).await;
    let event = loop {
        let event = oldest.next().await;
        if event["type"] == "error" {
            break event;
        }
    };
    assert_eq!(event["payload"]["code"], "superseded");
    assert_eq!(oldest.closed().await.0, 4505);
    for socket in [&mut second, &mut desk, &mut third] {
        socket.settle().await;
    }
}

#[tokio::test]
async fn connection_over_the_rate_is_closed() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nconnections_per_second = 1\nconnection_burst = 2\n";
    let edge = Edge::configured(&laravel.url(), more);
    for _ in 0..2 {
        drop(connect(&edge, "h2").await.unwrap());
    }
    assert!(connect(&edge, "h2").await.is_err());
}

#[tokio::test]
async fn stalled_handshakes_block_only_their_client() {
    let laravel = Laravel::start().await;
    let more = "[limits]\nmax_handshakes_per_client = 2\nmax_handshakes = 3\n\
                connections_per_second = 1000000\nconnection_burst = 1000000\n";
    let edge = Edge::configured(&laravel.url(), more);
    let idle = [
        TcpStream::connect(edge.address).await.unwrap(),
        TcpStream::connect(edge.address).await.unwrap(),
    ];
    // Until both are counted.
    let mut refused = false;
    for _ in 0..1000 {
        refused |= connect(&edge, "h2").await.is_err();
        if refused {
            break;
        }
    }
    assert!(refused);
    drop(idle);
    while connect(&edge, "h2").await.is_err() {}
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
    let mut client = Client::http2(&edge).await;
    for _ in 0..5 {
        let answer = client.fetch(get("/").body(body("")).unwrap()).await;
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
    let more = "[limits]\nrequests_per_second = 1\nrequest_burst = 1\n";
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

#[tokio::test]
async fn session_over_the_join_rate_is_closed_with_1008() {
    let laravel = Laravel::start().await;
    let more = "[websocket]\njoins_per_minute = 600\njoin_burst = 3\nthrottle_timeout = \"1ms\"\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut desk = Socket::greeted(&edge, "5|desk").await;
    for _ in 0..6 {
        for kind in ["join_ticket", "leave_ticket"] {
            desk.send(json!({ "type": kind, "payload": { "ticket_id": 1 } }))
                .await;
        }
    }
    let event = loop {
        let event = desk.next().await;
        if event["type"] == "error" {
            break event;
        }
    };
    assert_eq!(event["payload"]["code"], "too_many_messages");
    assert_eq!(desk.closed().await.0, 1008);
}

#[tokio::test]
async fn session_over_the_byte_rate_is_closed_with_1008() {
    let laravel = Laravel::start().await;
    let more = "[websocket]\nbytes_per_second = \"1 KiB\"\nmax_message_size = \"1 KiB\"\n\
                throttle_timeout = \"1ms\"\n[websocket.uploads]\nchunk_size = \"1000 B\"\n";
    let edge = Edge::configured(&laravel.url(), more);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    for _ in 0..4 {
        let padded = json!({ "type": "ping", "payload": { "x": "x".repeat(900) } });
        socket.send(padded).await;
    }
    let event = loop {
        let event = socket.next().await;
        if event["payload"]["code"] == "too_many_messages" {
            break event;
        }
    };
    assert_eq!(event["type"], "error");
    assert_eq!(socket.closed().await.0, 1008);
}

#[tokio::test]
async fn session_when_nearly_full_gets_503_and_requests_pass() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(
        &laravel.url(),
        "[limits]\nmax_connections = 10\nmax_connections_per_client = 10\n",
    );
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Client::http1(&edge).await);
    }
    let _here = Socket::greeted(&edge, "3|ana").await;
    let path = "/ws?token=3%7Cana";
    let refused = Socket::try_open(&edge, path, &[]).await.err();
    assert_eq!(refused, Some(StatusCode::SERVICE_UNAVAILABLE));
    let answer = clients[0].fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    drop(clients);
    while Socket::try_open(&edge, path, &[]).await.is_err() {}
}

#[tokio::test]
async fn session_above_max_memory_gets_503_and_requests_pass() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "");
    let mut client = program.http1().await;
    let mut here = Socket::over(program.connect("http/1.1").await, "3|ana").await;
    program.append_config("[limits]\nmax_memory = \"1 MiB\"\n");
    program.send_sighup();
    program
        .logged(|line| line["event"] == "memory_limit_exceeded")
        .await;
    let mut late = program.http1().await;
    let upgrade = get("/ws?token=3%7Cana")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = late.fetch(upgrade.body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "5");
    assert!(here.settle().await.is_empty());
    let answer = late.fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    drop(client.fetch(get("/").body(body("")).unwrap()).await);
    let status = program.command(&["status"]).output().unwrap();
    assert!(!status.status.success());
    assert!(
        String::from_utf8(status.stdout)
            .unwrap()
            .contains("max_memory")
    );
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
    assert_eq!(laravel.requests().len(), requests);
}
