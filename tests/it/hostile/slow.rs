//! Clients that take their time on purpose: a byte now and then, or nothing read.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::http2::{HEADERS, PREFACE, SETTINGS, frame, request};
use super::{ATTACKER, AttackHarness, MIB, connect, connect_tls};
use crate::support::program::Program;

// Each test shortens only the timeout that is to end its clients: on a slow machine another
// one could end them first.

/// For `[limits]`.
const MANY_CONNECTIONS: &str = "connection_burst = 10000\n";
/// Of each kind.
const CLIENTS: usize = 50;
/// A kind of client: where it is slow, its ALPN or none for a client without TLS, what it sends
/// at once, and what byte by byte.
type SlowClient<'a> = (&'static str, Option<&'static str>, &'a [u8], &'a [u8]);

/// Sends `start`, then one of `drops` after the other as slowly as that is; what
/// was answered until the connection ended.
async fn send_slowly<S>(stream: S, start: &[u8], drops: &[u8]) -> Vec<u8>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from, mut to) = tokio::io::split(stream);
    let dripping = async {
        to.write_all(start).await?;
        for drop in drops.iter().cycle() {
            // The attack itself, not a wait for anything.
            tokio::time::sleep(Duration::from_millis(100)).await;
            to.write_all(&[*drop]).await?;
            to.flush().await?;
        }
        std::io::Result::Ok(())
    };
    let mut answer = Vec::new();
    let reading = async {
        let _ = from.read_to_end(&mut answer).await;
    };
    tokio::pin!(dripping, reading);
    tokio::select! {
        () = &mut reading => {}
        // The edge may have sent the reason all the same.
        _ = &mut dripping => reading.await,
    }
    answer
}

/// As [`send_slowly`] on a new connection: over TLS with this `alpn`, or without it over TCP.
async fn connect_and_send_slowly(
    program: &Program,
    alpn: Option<&str>,
    start: &[u8],
    drops: &[u8],
) -> String {
    let answer = match alpn {
        None => send_slowly(connect(ATTACKER, program).await.unwrap(), start, drops).await,
        Some(alpn) => {
            let stream = connect_tls(ATTACKER, program, alpn).await.unwrap();
            send_slowly(stream, start, drops).await
        }
    };
    String::from_utf8_lossy(&answer).into_owned()
}

/// The begin of a TLS handshake.
fn client_hello() -> Vec<u8> {
    let hello = [
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..],
        &[7; 32],
        &[0, 0, 2, 0x13, 1],
    ];
    hello.concat()
}

/// Lets clients of each kind be slow; what they get begins with `status_line`.
async fn attack(harness: &mut AttackHarness, kinds: &[SlowClient<'_>], status_line: &str) {
    let program = Arc::clone(&harness.program);
    let (before, _) = program.memory();
    for (name, alpn, start, drops) in kinds {
        let clients = (0..CLIENTS).map(|_| async {
            let answer = connect_and_send_slowly(&program, *alpn, start, drops).await;
            assert!(answer.starts_with(status_line), "{name}: {answer:?}");
        });
        harness.run(name, join_all(clients)).await;
    }
    let grown = program.memory().1.saturating_sub(before) / MIB;
    assert!(grown < 64, "{grown} MiB");
}

#[tokio::test]
async fn client_sending_its_handshake_byte_by_byte_is_closed() {
    let tls = "[tls]\nhandshake_timeout = \"1s\"";
    let mut harness = AttackHarness::start_on(Ipv4Addr::LOCALHOST, tls, MANY_CONNECTIONS).await;
    let hello = client_hello();
    let kinds = [("a TLS handshake", None, &hello[..1], &hello[1..])];
    attack(&mut harness, &kinds, "").await;
}

/// Slowloris.
#[tokio::test]
async fn client_sending_its_head_byte_by_byte_is_closed() {
    let more = "[http]\nheader_timeout = \"1s\"\nidle_timeout = \"1s\"\n";
    let mut harness = AttackHarness::start(&format!("{MANY_CONNECTIONS}{more}")).await;
    let settled = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let half_a_head = frame(HEADERS, 0, 1, &request("/"));
    let head_of_h2 = [&settled[..], &half_a_head].concat();
    let (http1, h2) = (Some("http/1.1"), Some("h2"));
    let head = &b"GET / HTTP/1.1\r\nHost: localhost\r\n"[..];
    let kinds: [SlowClient<'_>; 1] = [("a head of HTTP/1.1", http1, head, b"X: y\r\n")];
    attack(&mut harness, &kinds, "HTTP/1.1 408 ").await;
    let kinds: [SlowClient<'_>; 4] = [
        ("no request", http1, b"", b"\r\n"),
        ("the preface of HTTP/2", h2, &PREFACE[..4], &PREFACE[4..]),
        ("settings of HTTP/2", h2, PREFACE, &settled[PREFACE.len()..]),
        ("a head of HTTP/2", h2, &head_of_h2, &[0, 0, 0]),
    ];
    attack(&mut harness, &kinds, "").await;
}

#[tokio::test]
async fn client_sending_its_body_byte_by_byte_gets_408() {
    let more = "[http]\nmin_body_rate_grace = \"1s\"\n";
    let mut harness = AttackHarness::start(&format!("{MANY_CONNECTIONS}{more}")).await;
    let kinds: [SlowClient<'_>; 2] = [
        (
            "a body",
            Some("http/1.1"),
            b"POST /hang HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
            b"x",
        ),
        (
            "a chunked body",
            Some("http/1.1"),
            b"POST /hang HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
        ),
    ];
    attack(&mut harness, &kinds, "HTTP/1.1 408 ").await;
}

/// They ask for much and read nothing; over HTTP/2 they open no window.
#[tokio::test]
async fn client_that_reads_nothing_is_closed() {
    let more = "[http]\nidle_timeout = \"1s\"\nstream_idle_timeout = \"2s\"\n";
    let mut harness = AttackHarness::start(&format!("{MANY_CONNECTIONS}{more}")).await;
    let program = Arc::clone(&harness.program);
    let (before, _) = program.memory();
    let http1 = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    let no_window = [&[0, 4][..], &0_u32.to_be_bytes()].concat();
    let mut http2 = [PREFACE, &frame(SETTINGS, 0, 0, &no_window)].concat();
    for stream in 0..20 {
        http2.extend(frame(HEADERS, 0x5, 2 * stream + 1, &request("/large")));
    }
    for (alpn, clients, request) in [("http/1.1", 50, http1), ("h2", 10, http2)] {
        let clients = (0..clients).map(|_| async {
            let mut stream = connect_tls(ATTACKER, &program, alpn).await.unwrap();
            stream.write_all(&request).await.unwrap();
            stream
        });
        let ended = async {
            let held = join_all(clients).await;
            // Until the edge has ended them all.
            while program.status().await["connections"] != 2 {}
            drop(held);
        };
        harness.run(&format!("{alpn}, nothing read"), ended).await;
        let grown = program.memory().1.saturating_sub(before) / MIB;
        println!("{alpn}, nothing read: {grown} MiB more");
        assert!(grown < 96, "{grown} MiB");
    }
}
