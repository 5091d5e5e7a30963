//! What monitoring sees.

use std::collections::BTreeMap;

use hyper::Request;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http::{Answer, Body, Client, body, get};
use crate::support::{Edge, Laravel, Socket};

pub(crate) const LISTEN: &str = "[admin]\nlisten = [\"127.0.0.1:0\"]\n";

pub(crate) async fn fetch_admin(edge_admin: std::net::SocketAddr, path: &str) -> Answer {
    send_admin(edge_admin, get(path).body(body("")).unwrap()).await
}

async fn send_admin(edge_admin: std::net::SocketAddr, request: Request<Body>) -> Answer {
    let stream = TcpStream::connect(edge_admin).await.unwrap();
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.unwrap();
    tokio::spawn(connection);
    Answer::read(sender.send_request(request).await.unwrap()).await
}

/// The value of one line of `/metrics`.
async fn metric_value(edge: &Edge, line: &str) -> f64 {
    let text = fetch_admin(edge.admin[0], "/metrics").await;
    let text = text.text();
    let found = text
        .lines()
        .find_map(|one| one.strip_prefix(line)?.strip_prefix(' '));
    found
        .unwrap_or_else(|| panic!("{line}\n{text}"))
        .parse()
        .unwrap()
}

/// The lines after three requests and one session, and their values.
const METRICS: &[(&str, f64)] = &[
    (
        "pwd_edge_http_requests_total{route=\"/\",status=\"2xx\"}",
        3.0,
    ),
    (
        "pwd_edge_http_request_duration_seconds_count{route=\"/\"}",
        4.0,
    ),
    ("pwd_edge_upstream_time_to_headers_seconds_count", 3.0),
    ("pwd_edge_tls_handshakes_total{result=\"ok\"}", 2.0),
    ("pwd_edge_websocket_sessions", 1.0),
    ("pwd_edge_rooms", 1.0),
    ("pwd_edge_room_joins_total{result=\"joined\"}", 1.0),
    (
        "pwd_edge_websocket_messages_received_total{type=\"join_ticket\"}",
        1.0,
    ),
    (
        "pwd_edge_websocket_messages_received_total{type=\"upload_cancel\"}",
        1.0,
    ),
    (
        "pwd_edge_websocket_messages_received_total{type=\"unknown_type\"}",
        2.0,
    ),
    (
        "pwd_edge_websocket_messages_sent_total{type=\"connection\"}",
        1.0,
    ),
    (
        "pwd_edge_websocket_messages_sent_total{type=\"ticket_joined\"}",
        1.0,
    ),
    (
        "pwd_edge_websocket_messages_sent_total{type=\"broadcast\"}",
        1.0,
    ),
    (
        "pwd_edge_websocket_messages_sent_total{type=\"error\"}",
        2.0,
    ),
    (
        "pwd_edge_websocket_messages_sent_total{type=\"upload_failed\"}",
        1.0,
    ),
    ("pwd_edge_websocket_messages_sent_total{type=\"pong\"}", 1.0),
    (
        "pwd_edge_room_events_published_total{type=\"broadcast\"}",
        1.0,
    ),
    ("pwd_edge_websocket_events_delivered_total", 1.0),
    ("pwd_edge_websocket_delivery_duration_seconds_count", 1.0),
    (
        "pwd_edge_auth_requests_total{kind=\"user\",result=\"allowed\"}",
        1.0,
    ),
    (
        "pwd_edge_auth_requests_total{kind=\"ticket\",result=\"allowed\"}",
        1.0,
    ),
    ("pwd_edge_upstream_up{upstream=\"laravel\"}", 1.0),
    ("pwd_edge_connections", 2.0),
];

#[tokio::test]
async fn metrics_count_requests_sessions_and_messages() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), LISTEN);
    let mut client = Client::http1(&edge).await;
    for _ in 0..3 {
        client.fetch(get("/").body(body("")).unwrap()).await;
    }
    let mut session = Socket::joined(&edge, "3|ana", 1).await;
    edge.broadcast(r#"{"type":"new_message","payload":{"ticket_id":1}}"#)
        .await;
    assert_eq!(session.until("new_message").await["type"], "new_message");
    for kind in ["dance", "sing"] {
        session.send(json!({ "type": kind })).await;
    }
    session
        .send(json!({ "type": "upload_cancel", "payload": { "upload_id": "none" } }))
        .await;
    session.settle().await;
    for &(line, expected) in METRICS {
        assert_eq!(metric_value(&edge, line).await, expected, "{line}");
    }
    assert!(metric_value(&edge, "process_resident_memory_bytes").await > 1e6);
    let files = metric_value(&edge, "process_open_fds").await;
    assert!((3.0..metric_value(&edge, "process_max_fds").await).contains(&files));
    // The same numbers are on the Unix socket.
    let text = edge.get("/metrics").await;
    assert!(
        text.text().contains("\npwd_edge_websocket_sessions 1\n"),
        "{}",
        text.text()
    );
}

/// Both `/metrics`, of the admin listener and of the Unix socket, each with `accept`.
async fn scrape(edge: &Edge, accept: &str) -> [Answer; 2] {
    let request = || get("/metrics").header(ACCEPT, accept).body(body(""));
    [
        send_admin(edge.admin[0], request().unwrap()).await,
        edge.ask(request().unwrap()).await,
    ]
}

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

#[tokio::test]
async fn metrics_are_in_the_prometheus_text_format_by_default() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), LISTEN);
    Client::http1(&edge)
        .await
        .fetch(get("/").body(body("")).unwrap())
        .await;
    for answer in scrape(&edge, "*/*").await {
        assert_eq!(answer.headers[CONTENT_TYPE], PROMETHEUS);
        let text = answer.text();
        for line in [
            "# HELP pwd_edge_http_requests_total Requests by route and class of status",
            "# TYPE pwd_edge_http_requests_total counter",
            "# TYPE pwd_edge_http_request_duration_seconds histogram",
            "# TYPE pwd_edge_connections gauge",
            "pwd_edge_http_request_duration_seconds_count{route=\"/\"} 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        // A parser takes a sample for a counter's if its name is that of the `# TYPE`.
        let mut types = BTreeMap::new();
        for line in text.lines() {
            if let Some(of_type) = line.strip_prefix("# TYPE ") {
                types.extend(of_type.split_once(' '));
            } else if !line.starts_with("# HELP ") {
                let name = &line[..line.find(['{', ' ']).unwrap()];
                let value = line.rsplit_once(' ').unwrap().1;
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let parts = ["_bucket", "_sum", "_count"];
                let mut families = parts.iter().filter_map(|part| name.strip_suffix(part));
                let is_histogram = families.any(|family| types.get(family) == Some(&"histogram"));
                let is_counter = name.ends_with("_total");
                let expected = if is_counter { "counter" } else { "gauge" };
                assert!(
                    is_histogram || types.get(name) == Some(&expected),
                    "{line}\n{types:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn metrics_are_in_openmetrics_if_accept_prefers_it() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), LISTEN);
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    for answer in scrape(&edge, accept).await {
        assert_eq!(
            answer.headers[CONTENT_TYPE],
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        let text = answer.text();
        assert!(
            text.contains("# TYPE pwd_edge_http_requests counter\n"),
            "{text}"
        );
        assert!(text.contains("\npwd_edge_http_requests_total{"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
    let accept = "application/openmetrics-text;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.5";
    for answer in scrape(&edge, accept).await {
        assert_eq!(answer.headers[CONTENT_TYPE], PROMETHEUS);
    }
}

/// Each metric in `docs/grafana.json` exists from the start of the edge.
#[tokio::test]
async fn grafana_dashboard_uses_metrics_that_exist() {
    let laravel = Laravel::start().await;
    let log = tempfile::tempdir().unwrap();
    let history = format!("{LISTEN}[history]\ndirectory = {:?}\n", log.path());
    let edge = Edge::configured(&laravel.url(), &history);
    let text = fetch_admin(edge.admin[0], "/metrics").await;
    let announced: Vec<_> = text
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .flat_map(|(name, kind)| match kind {
            "histogram" => vec![format!("{name}_bucket"), format!("{name}_count")],
            _ => vec![name.to_owned()],
        })
        .collect();
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../docs/grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let used_names: Vec<_> = targets
        .flatten()
        // Each name has its labels behind it.
        .flat_map(|target| target["expr"].as_str().unwrap().split_inclusive('{'))
        .filter_map(|part| part.strip_suffix('{'))
        .map(|part| {
            let start = part.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            part[start.map_or(0, |before| before + 1)..].to_owned()
        })
        .collect();
    assert!(used_names.len() > 30, "{used_names:?}");
    for name in &used_names {
        assert!(announced.contains(name), "{name}: {announced:?}");
    }
    // A metric that the dashboard omits is probably a mistake.
    let shown = |name: &String| used_names.iter().any(|used| used == name);
    let hidden: Vec<_> = announced
        .iter()
        .filter(|name| !name.ends_with("_count") && !shown(name))
        .collect();
    assert_eq!(
        hidden,
        [
            "process_start_time_seconds",
            "pwd_edge_draining",
            "pwd_edge_config_loaded_timestamp_seconds",
            "pwd_edge_build_info"
        ]
    );
}

/// As HAProxy's `option httpchk` sends it by default.
async fn check_by_haproxy(admin: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = format!("OPTIONS {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn options_request_gets_the_status_of_a_get() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), LISTEN);
    let admin = edge.admin[0];
    // The edge connects to its upstream first.
    while &check_by_haproxy(admin, "/").await[9..12] != "200" {}
    for (path, status) in [
        ("/", "200"),
        ("*", "200"),
        ("/readyz", "200"),
        ("/healthz", "200"),
        ("/metrics", "200"),
        ("/else", "404"),
    ] {
        let answer = check_by_haproxy(admin, path).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(&head[9..12], status, "{path}");
        assert!(head.contains("allow: GET, HEAD, OPTIONS"), "{head}");
        assert_eq!(body, "", "{path}");
    }
    let edge = Edge::configured("http://127.0.0.1:9", LISTEN);
    let admin = edge.admin[0];
    assert_eq!(&check_by_haproxy(admin, "/").await[9..12], "503");
    assert_eq!(&check_by_haproxy(admin, "/healthz").await[9..12], "200");
}
