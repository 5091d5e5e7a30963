//! A flood from more addresses than are remembered.

use std::io::Write;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hyper::StatusCode;
use tokio::time::Instant;

use super::{AttackHarness, MIB};
use crate::support::http::{Client, body, post};

/// More than each table has places for.
const ADDRESSES: u32 = 80_000;

/// The shortest time for which a client that guesses is blocked, from before its last guess.
/// The flood must end within it.
const WAIT: Duration = Duration::from_secs(60);

/// Each of them logs in, which makes an entry in three tables. A client that guessed
/// passwords before the flood is still blocked after it.
#[tokio::test]
#[ignore = "slow: eighty thousand requests"]
async fn flood_of_addresses_stays_in_memory_and_keeps_offenders() {
    let proxy = "trusted_proxies = [\"127.0.0.1\"]\n[tls]";
    let limits = "logins_per_minute = 100\nlogin_burst = 100\nfailed_logins_per_minute = 3\n";
    let mut harness = AttackHarness::start_on(Ipv4Addr::LOCALHOST, proxy, limits).await;
    let (program, laravel) = (Arc::clone(&harness.program), harness.laravel.clone());
    let (before, _) = program.memory();
    let attack = async {
        let Client::Http2(proxy) = program.http2().await else {
            unreachable!()
        };
        let log_in = |client: String| {
            let mut proxy = Client::Http2(proxy.clone());
            async move {
                let request = post("/api/login").header("x-forwarded-for", client);
                proxy.fetch(request.body(body("")).unwrap()).await.status
            }
        };
        let guesser = || log_in("192.0.2.1".to_owned());
        let flood = |addresses: Range<u32>| {
            let clients = addresses.map(|n| Ipv4Addr::from_bits(0x0b00_0000 + n));
            let log_ins = clients.map(|client| log_in(client.to_string()));
            let answers = stream::iter(log_ins).buffer_unordered(50);
            answers.for_each(async |status| assert_eq!(status, StatusCode::OK))
        };
        // The tables are full in the second half.
        flood(0..ADDRESSES / 2).await;
        laravel.fail_with(Some(StatusCode::UNAUTHORIZED));
        let mut barred = Instant::now();
        while guesser().await != StatusCode::TOO_MANY_REQUESTS {
            barred = Instant::now();
        }
        laravel.fail_with(None);
        flood(ADDRESSES / 2..ADDRESSES).await;
        let status = guesser().await;
        match barred.elapsed() < WAIT {
            true => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
            // Past what the test harness keeps to itself while a test passes.
            false => writeln!(
                std::io::stderr(),
                "NOT SEEN whether the guesser still waits: it took too long"
            )
            .unwrap(),
        }
    };
    let name = "eighty thousand addresses";
    harness.run(name, attack).await;
    let grown = program.memory().0.saturating_sub(before) / MIB;
    println!("{name}: {grown} MiB more");
    assert!(grown <= 32, "{grown} MiB");
}
