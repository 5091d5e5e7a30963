//! What is done for each message, event and request: `cargo bench --bench pieces`.
//! CI runs each once, by `cargo test --bench pieces -- --test`. Whole costs are measured by `bench/run`.

use std::time::Duration;

use divan::{Bencher, black_box};
use hyper::header::{ACCEPT, COOKIE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use pwd_edge::core::client_ip::ClientIp;
use pwd_edge::core::ids::{RoomName, RowId};
use pwd_edge::core::request_path::NormalizedPath;
use pwd_edge::rooms::{Audience, DeliveryMetrics, EventKind, Publication, Wire};
use pwd_edge::ws::protocol;
use pwd_edge::{control, forwarded, http};

fn main() {
    divan::main();
}

/// A client's command.
#[divan::bench]
fn decode_a_command() {
    let text = r#"{"type":"join_ticket","payload":{"ticket_id":4711}}"#;
    let _ = black_box(protocol::decode(black_box(text)));
}

/// Laravel's event.
#[divan::bench]
fn decode_a_broadcast() {
    let _ = black_box(control::decode(black_box(EVENT.as_bytes()), 100));
}

/// What a room's first receiver makes of a publication, and all others share.
#[divan::bench]
fn encode_a_publication(bencher: Bencher<'_, '_>) {
    let room = RoomName::ticket(RowId::new(4711).expect("a number of a row"));
    bencher
        .with_inputs(|| {
            let what = EventKind::Broadcast(EVENT.into());
            Publication::new(room.clone(), what, Audience::All)
        })
        .bench_refs(|publication| publication.frame(Wire::Desk, protocol::frame));
}

/// A path as Laravel and as file servers read it.
#[divan::bench(args = ["/support-tickets/4711/messages", "/a/../b%2Fc/./d"])]
fn read_a_path(path: &str) {
    let _ = black_box(NormalizedPath::parse(black_box(path)));
}

/// What Laravel is told of the client, instead of what he says himself.
#[divan::bench]
fn rewrite_headers(bencher: Bencher<'_, '_>) {
    let client = ClientIp::new([192, 0, 2, 7].into());
    bencher.with_inputs(headers).bench_refs(|headers| {
        forwarded::remove_spoofable(headers);
        forwarded::write_headers(headers, client);
    });
}

/// All that is counted of one request: its connection's part aside.
#[divan::bench]
fn count_a_request(bencher: Bencher<'_, '_>) {
    let metrics = http::Metrics::default();
    let route = metrics.route(&"/".into());
    bencher.bench(|| {
        metrics.record_time_to_headers(black_box(TOOK));
        route.record_response(black_box(200), black_box(TOOK));
    });
}

/// All that is counted of one event to one session.
#[divan::bench]
fn count_an_event(bencher: Bencher<'_, '_>) {
    let metrics = DeliveryMetrics::default();
    let kind = EventKind::Broadcast(EVENT.into());
    bencher.bench(|| {
        metrics.count_publication(black_box(&kind));
        metrics.record_delivery(1, black_box(TOOK));
    });
}

/// Of a browser.
fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (HOST, "desk.example"),
        (USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"),
        (ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8"),
        (COOKIE, "XSRF-TOKEN=0123456789; laravel_session=0123456789"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

const EVENT: &str = r#"{"type":"new_message","payload":{"ticket_id":4711,"message":{"id":15,"message":"The ramp is there now.","user":{"id":3,"name":"Desk"},"created_at":"2026-01-01T00:00:00Z"}}}"#;

const TOOK: Duration = Duration::from_millis(3);
