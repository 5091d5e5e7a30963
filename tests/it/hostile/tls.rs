//! Before there is TLS: what is no handshake, or does not end as one.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{ATTACKER, AttackHarness, MIB, connect, connect_tls};
use crate::support::program::Program;

/// Sends `first`, then `more` again and again until the connection ends; how many
/// bytes it took.
async fn bytes_sent_until_closed(program: &Program, first: &[u8], more: &[u8]) -> u64 {
    let stream = connect(ATTACKER, program).await.unwrap();
    let (mut from, mut to) = tokio::io::split(stream);
    let reading = async {
        let _ = from.read_to_end(&mut Vec::new()).await;
    };
    let mut taken = 0;
    let writing = async {
        let mut next = first;
        while to.write_all(next).await.is_ok() {
            taken += next.len() as u64;
            if more.is_empty() {
                std::future::pending::<()>().await;
            }
            next = more;
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
    taken
}

/// RFC 8446 §5.1: one record of `kind`.
fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3][..], &length, payload].concat()
}

#[tokio::test]
async fn invalid_handshake_ends_the_connection() {
    let tls = "[tls]\nhandshake_timeout = \"2s\"";
    let more = "connection_burst = 10000\n";
    let mut harness = AttackHarness::start_on(Ipv4Addr::LOCALHOST, tls, more).await;
    let program = Arc::clone(&harness.program);
    let (before, _) = program.memory();
    let [alert, handshake, data, heartbeat] = [21, 22, 23, 24];
    // A ClientHello that says it has 16 MiB (RFC 8446 §4).
    let endless_hello = record(handshake, &[1, 0xff, 0xff, 0xff]);
    let cases: [(&str, &[u8], &[u8]); 12] = [
        (
            "HTTP in plain",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"",
        ),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n", b""),
        ("SSLv2", &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10], b""),
        ("nothing but ones", &[0xff; 1000], &[0xff; 1000]),
        ("a record of 64 KiB", &[22, 3, 3, 0xff, 0xff], &[1; 1000]),
        (
            "a hello of 16 MiB",
            &endless_hello,
            &record(handshake, &[0; 16_000]),
        ),
        (
            "a hello in single bytes",
            &endless_hello,
            &record(handshake, &[0]),
        ),
        (
            "empty records",
            &record(handshake, &[]),
            &record(handshake, &[]),
        ),
        (
            "warnings",
            &record(alert, &[1, 90]),
            &record(alert, &[1, 90]),
        ),
        (
            "data at once",
            &record(data, b"hello"),
            &record(data, b"hello"),
        ),
        ("a heartbeat", &record(heartbeat, &[1, 0x40, 0]), b""),
        // RFC 8446 §5: allowed, but not for ever.
        ("change cipher spec", &record(20, &[1]), &record(20, &[1])),
    ];
    for (name, first, more) in cases {
        let taken = harness
            .run(name, bytes_sent_until_closed(&program, first, more))
            .await;
        // With what the kernel took on the way.
        assert!(taken < 16 * MIB, "{name}: {taken} bytes");
    }
    let grown = program.memory().1.saturating_sub(before) / MIB;
    assert!(grown < 16, "{grown} MiB");
    let failed = program.status().await;
    assert_eq!(failed["healthy"], true, "{failed}");
}

/// RFC 8446 §4.6.3: each update requests another one in return.
#[tokio::test]
async fn client_with_endless_key_updates_is_closed() {
    let mut harness = AttackHarness::start("").await;
    let program = Arc::clone(&harness.program);
    let attack = async {
        let mut stream = connect_tls(ATTACKER, &program, "http/1.1").await.unwrap();
        loop {
            let (_, tls) = stream.get_mut();
            if tls.refresh_traffic_keys().is_err() || stream.flush().await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    harness.run("new keys", attack).await;
}

/// RFC 5246 §7.2.2: the edge never renegotiates, whatever the cost (CVE-2011-1473).
#[tokio::test]
#[ignore = "needs openssl"]
async fn renegotiation_is_rejected() {
    let mut harness = AttackHarness::start("").await;
    let program = Arc::clone(&harness.program);
    let attack = async {
        let address = program.address.to_string();
        let mut client = Command::new("openssl")
            .args(["s_client", "-tls1_2", "-connect", &address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = client.stdin.take().unwrap();
        // Each line is a request for one (openssl-s_client(1)).
        for _ in 0..20 {
            if stdin.write_all(b"R\n").await.is_err() {
                break;
            }
        }
        let done = client.wait_with_output().await.unwrap();
        let output = String::from_utf8_lossy(&done.stderr).into_owned();
        drop(stdin);
        output
    };
    let output = harness.run("renegotiation", attack).await;
    assert!(output.contains("RENEGOTIATING"), "{output}");
    assert!(output.contains("no renegotiation"), "{output}");
}

/// Bytes that are not what was agreed on, after the handshake.
#[tokio::test]
async fn forged_record_ends_the_connection() {
    let mut harness = AttackHarness::start("").await;
    let program = Arc::clone(&harness.program);
    let attack = async {
        for alpn in ["http/1.1", "h2"] {
            let stream = connect_tls(ATTACKER, &program, alpn).await.unwrap();
            let (mut plain, _) = stream.into_inner();
            plain.write_all(&record(23, &[7; 100])).await.unwrap();
            let mut answer = Vec::new();
            let _ = plain.read_to_end(&mut answer).await;
            assert!(!String::from_utf8_lossy(&answer).contains("HTTP"));
        }
    };
    harness.run("foreign records", attack).await;
}
