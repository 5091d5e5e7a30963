//! Tests of rates, in paused time.

use proptest::prelude::*;
use tokio::time::{Instant, advance};

use super::*;
use crate::core::client_ip::ClientIp;

fn client(last: u8) -> ClientKey {
    ClientIp::new([192, 0, 2, last].into()).key(64)
}

fn count(n: u32) -> PositiveCount {
    PositiveCount::new(n)
}

#[tokio::test(start_paused = true)]
async fn rate_passes_a_burst_then_limits_this_client_only() {
    let rate = Rate::per_second(count(2), count(3));
    for _ in 0..3 {
        assert_eq!(rate.check(client(1)), Ok(()));
    }
    let wait = rate.check(client(1)).unwrap_err();
    assert!(
        wait <= Duration::from_millis(500) && !wait.is_zero(),
        "{wait:?}"
    );
    assert_eq!(rate.check(client(2)), Ok(()));
    advance(wait).await;
    assert_eq!(rate.check(client(1)), Ok(()));
    assert!(rate.check(client(1)).is_err());
}

#[tokio::test(start_paused = true)]
async fn rate_of_five_a_minute_passes_one_in_twelve_seconds() {
    let rate = Rate::per_minute(count(5), count(1));
    assert_eq!(rate.check(client(1)), Ok(()));
    let wait = rate.check(client(1)).unwrap_err();
    assert!((11..=12).contains(&wait.as_secs()), "{wait:?}");
}

/// A page of 150 files, over one connection.
#[tokio::test(start_paused = true)]
async fn delaying_rate_spaces_events_above_the_burst_before_it_rejects() {
    let rate = Rate::delaying(count(50), count(100)).with_sites(count(50), count(100), count(2));
    let event = NonZeroU32::new(COST_UNITS).unwrap();
    let delays: Vec<_> = (0..250)
        .map(|_| rate.check_cost(client(1), event))
        .collect();
    assert!(
        delays[..100]
            .iter()
            .all(|delay| *delay == Ok(Duration::ZERO))
    );
    for (n, delay) in delays[100..200].iter().enumerate() {
        let expected = Duration::from_millis(20) * (n as u32 + 1);
        assert_eq!(*delay, Ok(expected), "{n}");
    }
    assert!(delays[200..].iter().all(Result::is_err));
    // All that were delayed have passed, and the average applies again.
    advance(Duration::from_secs(2)).await;
    let delay = rate.check_cost(client(1), event).unwrap();
    assert_eq!(delay, Duration::from_millis(20));
}

#[tokio::test(start_paused = true)]
async fn cheap_events_of_a_delaying_rate_count_less() {
    let rate = Rate::delaying(count(10), count(10));
    let passed =
        (0..1000).take_while(|_| rate.check_cost(client(1), NonZeroU32::MIN) == Ok(Duration::ZERO));
    assert_eq!(passed.count(), 100);
}

#[tokio::test(start_paused = true)]
async fn idle_client_is_removed_from_the_table() {
    let rate = Rate::per_second(count(1), count(1));
    assert_eq!(rate.check(client(1)), Ok(()));
    rate.forget_idle();
    assert_eq!(rate.table.0.len(), 1);
    advance(Duration::from_secs(5)).await;
    rate.forget_idle();
    assert_eq!(rate.table.0.len(), 0);
}

/// A million addresses, and one that is over its rate before, during and after.
#[tokio::test(start_paused = true)]
async fn rate_in_a_flood_of_addresses_keeps_offenders_limited() {
    let rate = Rate::per_minute(count(1), count(5));
    let offender = client(1);
    while rate.check(offender).is_ok() {}
    for n in 0..1_000_000_u32 {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
        let _ = rate.check(ClientIp::new(address.into()).key(64));
    }
    assert!(rate.table.0.len() <= 57_344);
    assert!(rate.check(offender).is_err());
}

proptest! {
    #[test]
    fn rate_never_passes_more_than_burst_and_refill(
        per_second in 1..200_u32,
        burst in 1..50_u32,
        gaps in prop::collection::vec(0..2_000_u64, 1..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let rate = Rate::per_second(count(per_second), count(burst));
            let start = Instant::now();
            let mut passed = Vec::new();
            for gap in gaps {
                advance(Duration::from_millis(gap)).await;
                for _ in 0..3 {
                    if rate.check(client(1)).is_ok() {
                        passed.push(start.elapsed());
                    }
                }
            }
            // In every window, not only from the start.
            for (first, from) in passed.iter().enumerate() {
                for (last, to) in passed.iter().enumerate().skip(first) {
                    let most = f64::from(burst) + f64::from(per_second) * (*to - *from).as_secs_f64();
                    assert!((last - first + 1) as f64 <= most + 0.01);
                }
            }
        });
    }
}
