//! Tests of what limits count, which clients they reject, and which state they keep.

use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;

use super::*;
use crate::limit::client_table::ClientTable;
use crate::limit::log_throttle::{LOG_INTERVAL, QuietUntil};

fn client(text: &str) -> ClientIp {
    ClientIp::new(text.parse().unwrap())
}

/// Counts a request; a delayed one passes, too.
fn check_request(limits: &Limits, client: ClientIp) -> Result<(), LimitExceeded> {
    limits.check_request(client, RequestCost::Full).map(|_| ())
}

/// Lets a log-in of `client` fail.
async fn fail_login(limits: &Limits, client: ClientIp) {
    let attempt = limits.begin_login(client).await.unwrap();
    attempt.expect("a client with limits").fail();
}

fn limits(text: &str) -> Limits {
    Limits::new(toml::from_str(text).unwrap(), Arc::default(), None)
}

#[tokio::test(start_paused = true)]
async fn dry_run_limit_counts_and_rejects_nothing() {
    let text = "requests_per_second = 1\nrequest_burst = 1\ndry_run = [\"requests_per_second\"]";
    let limits = limits(text);
    // Two of them would be delayed.
    for _ in 0..7 {
        let checked = limits.check_request(client("192.0.2.1"), RequestCost::Full);
        assert_eq!(checked, Ok(Duration::ZERO));
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Arc::clone(&limits.metrics)));
    let mut counted = String::new();
    prometheus_text::encode(&mut counted, &registry).unwrap();
    let row = "limit_exceeded_total{limit=\"requests_per_second\",enforced=\"false\"} 4\n";
    assert!(counted.ends_with(row), "{counted}");
}

/// All clients behind a proxy that is not trusted are one client.
#[test]
fn limit_of_a_private_address_hints_at_an_untrusted_proxy() {
    for (address, is_private) in [
        ("10.0.0.7", true),
        ("127.0.0.1", true),
        ("fd00::7", true),
        ("192.0.2.1", false),
        ("2001:db8::1", false),
    ] {
        let hint = Limit::RequestsPerSecond.hint(client(address));
        let names_key = hint.is_some_and(|hint| hint.contains("server.trusted_proxies"));
        assert_eq!(names_key, is_private, "{address}");
    }
    assert_eq!(Limit::MessagesPerSecond.hint(client("10.0.0.7")), None);
    let hint = Limit::MaxSessionsPerUser.hint(client("192.0.2.1")).unwrap();
    assert!(hint.contains("websocket.max_sessions_per_user"));
}

#[tokio::test(start_paused = true)]
async fn limit_named_in_dry_run_is_not_enforced() {
    use Limit::*;
    let all = [
        MaxConnectionsPerClient,
        ConnectionsPerSecond,
        MaxHandshakesPerClient,
        RequestsPerSecond,
        MaxRequestsInFlightPerClient,
        Route,
        LoginsPerMinute,
        FailedLoginsPerMinute,
        RejectedTokensPerMinute,
        WebsocketHandshakesPerSecond,
        MaxSessionsPerClient,
        MaxSessionsPerUser,
        MessagesPerSecond,
        BytesPerSecond,
        JoinsPerMinute,
        MaxRooms,
    ];
    assert_eq!(all.len(), Limit::COUNT);
    for tried in all {
        let limits = limits(&format!("dry_run = [{:?}]", tried.name()));
        for limit in all {
            let over = limits
                .report_exceeded(client("192.0.2.1"), LimitExceeded::new(limit, LOG_INTERVAL));
            assert_eq!(over.is_ok(), limit == tried, "{tried:?}, {limit:?}");
        }
    }
}

/// The documentation promises this bound of memory.
#[test]
fn client_tables_stay_within_the_documented_memory() {
    let rates = 4 * Rate::max_bytes();
    let all = rates + LoginFailures::max_bytes() + ClientTable::<QuietUntil>::max_bytes();
    let mib = all as f64 / f64::from(1 << 20);
    println!("{mib:.1} MiB, each rate {} bytes", Rate::max_bytes());
    assert!(mib <= 33.0, "{mib}");
    assert!(Rate::max_bytes() <= 5 << 20);
}

#[tokio::test(start_paused = true)]
async fn exempt_client_has_no_limits() {
    let text = "connections_per_second = 1\nconnection_burst = 1\nexempt = [\"192.0.2.0/24\"]";
    let limits = limits(text);
    for _ in 0..5 {
        assert_eq!(limits.check_connection(client("::ffff:192.0.2.1")), Ok(()));
    }
    assert_eq!(limits.check_connection(client("198.51.100.1")), Ok(()));
    assert!(limits.check_connection(client("198.51.100.1")).is_err());
}

#[tokio::test(start_paused = true)]
async fn ipv6_network_of_the_configured_prefix_is_one_client() {
    let text = "connections_per_second = 1\nconnection_burst = 1\nipv6_prefix = 56";
    let limits = limits(text);
    assert_eq!(limits.check_connection(client("2001:db8:0:1::1")), Ok(()));
    assert!(limits.check_connection(client("2001:db8:0:ff::1")).is_err());
    assert_eq!(limits.check_connection(client("2001:db8:0:100::1")), Ok(()));
}

/// As many networks as a /48 has, each with the rights of a client.
#[tokio::test(start_paused = true)]
async fn ipv6_networks_of_one_site_share_a_multiple_of_the_limit() {
    let text = "requests_per_second = 1\nrequest_burst = 1\nipv6_site_multiple = 3\n\
                failed_logins_per_minute = 2";
    let limits = limits(text);
    let network = |n: u16| client(&format!("2001:db8:0:{n:x}::1"));
    // Three at once, and six that are delayed.
    let passed = (0..100).filter(|n| check_request(&limits, network(*n)).is_ok());
    assert_eq!(passed.count(), 9);
    assert_eq!(check_request(&limits, client("2001:db8:1::1")), Ok(()));
    // An IPv4 address has no site.
    assert_eq!(check_request(&limits, client("192.0.2.1")), Ok(()));
    for n in 0..6 {
        fail_login(&limits, network(n)).await;
    }
    let over = limits.begin_login(network(7)).await.unwrap_err();
    assert_eq!(over.limit, Limit::FailedLoginsPerMinute);
    assert!(limits.begin_login(client("2001:db8:1::1")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn old_tokens_of_many_clients_do_not_block_their_ipv6_site() {
    let limits = limits("rejected_tokens_per_minute = 2\nipv6_site_multiple = 3");
    let network = |n: u16| client(&format!("2001:db8:0:{n:x}::1"));
    for n in 0..5 {
        for _ in 0..100 {
            limits.record_rejected_token(network(n), NonZeroU32::new(1 + u32::from(n)));
        }
    }
    assert_eq!(limits.check_upgrade(network(9)), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn client_as_large_as_a_site_is_counted_once() {
    let text = "requests_per_second = 1\nrequest_burst = 2\nipv6_prefix = 48";
    let limits = limits(text);
    assert!(limits.keys(client("2001:db8::1")).unwrap().site().is_none());
}

#[tokio::test(start_paused = true)]
async fn client_with_failed_logins_cannot_log_in_but_opens_sessions() {
    let limits = limits("failed_logins_per_minute = 2");
    let (one, other) = (client("192.0.2.1"), client("192.0.2.2"));
    fail_login(&limits, one).await;
    fail_login(&limits, one).await;
    let over = limits.begin_login(one).await.unwrap_err();
    assert_eq!(over.limit, Limit::FailedLoginsPerMinute);
    assert_eq!(limits.check_upgrade(one), Ok(()));
    assert_eq!(check_request(&limits, one), Ok(()));
    assert!(limits.begin_login(other).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn client_with_rejected_tokens_opens_no_session_but_logs_in() {
    let limits = limits("rejected_tokens_per_minute = 2");
    let one = client("192.0.2.1");
    for token in 1..=2 {
        limits.record_rejected_token(one, NonZeroU32::new(token));
    }
    let over = limits.check_upgrade(one).unwrap_err();
    assert_eq!(over.limit, Limit::RejectedTokensPerMinute);
    assert!(limits.begin_login(one).await.is_ok());
}

/// More staff than may fail log in at the same moment.
#[tokio::test(start_paused = true)]
async fn logins_at_once_wait_for_each_other_and_all_succeed() {
    let limits = limits("failed_logins_per_minute = 5");
    let log_in = || async {
        let attempt = limits.begin_login(client("192.0.2.1")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        attempt.is_ok()
    };
    let results = futures_util::future::join_all((0..40).map(|_| log_in())).await;
    assert!(results.into_iter().all(|is_ok| is_ok));
}

#[tokio::test(start_paused = true)]
async fn guesses_at_once_are_rejected_after_the_maximum() {
    let limits = limits("failed_logins_per_minute = 5");
    let guess = || async {
        let Ok(Some(attempt)) = limits.begin_login(client("192.0.2.1")).await else {
            return false;
        };
        tokio::time::sleep(Duration::from_millis(300)).await;
        attempt.fail();
        true
    };
    let results = futures_util::future::join_all((0..40).map(|_| guess())).await;
    assert_eq!(results.into_iter().filter(|passed| *passed).count(), 5);
}

#[tokio::test(start_paused = true)]
async fn reload_of_other_limits_keeps_the_counts_of_this_one() {
    let old = limits("failed_logins_per_minute = 1\nconnection_burst = 1");
    let client = client("192.0.2.1");
    fail_login(&old, client).await;
    assert_eq!(old.check_connection(client), Ok(()));
    let after = |text| Limits::new(toml::from_str(text).unwrap(), Arc::default(), Some(&old));
    let other = after("failed_logins_per_minute = 1\nconnection_burst = 1\nlogin_burst = 9");
    assert!(other.begin_login(client).await.is_err());
    assert!(other.check_connection(client).is_err());
    let this = after("failed_logins_per_minute = 2\nconnection_burst = 2");
    assert!(this.begin_login(client).await.is_ok() && this.check_connection(client).is_ok());
}

#[tokio::test(start_paused = true)]
async fn exceeded_limit_is_logged_once_in_ten_seconds() {
    let limits = limits("");
    let is_logged = || limits.should_log(client("192.0.2.1"), Limit::Route);
    assert!(is_logged() && !is_logged());
    assert!(limits.should_log(client("192.0.2.1"), Limit::LoginsPerMinute));
    tokio::time::advance(LOG_INTERVAL).await;
    assert!(is_logged() && !is_logged());
}
