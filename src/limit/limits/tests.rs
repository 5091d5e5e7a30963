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
    assert!(mib <= 30.0, "{mib}");
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
        assert_eq!(limits.check_login(network(n)), Ok(()));
        limits.record_login_failure(network(n), None);
    }
    let over = limits.check_login(network(7)).unwrap_err();
    assert_eq!(over.limit, Limit::FailedLoginsPerMinute);
    assert_eq!(limits.check_login(client("2001:db8:1::1")), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn old_tokens_of_many_clients_do_not_block_their_ipv6_site() {
    let limits = limits("failed_logins_per_minute = 2\nipv6_site_multiple = 3");
    let network = |n: u16| client(&format!("2001:db8:0:{n:x}::1"));
    for n in 0..5 {
        for _ in 0..100 {
            limits.record_login_failure(network(n), NonZeroU32::new(1 + u32::from(n)));
        }
    }
    assert_eq!(limits.check_login(network(9)), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn client_as_large_as_a_site_is_counted_once() {
    let text = "requests_per_second = 1\nrequest_burst = 2\nipv6_prefix = 48";
    let limits = limits(text);
    assert!(limits.keys(client("2001:db8::1")).unwrap().site().is_none());
}

#[tokio::test(start_paused = true)]
async fn client_with_failed_logins_cannot_log_in_or_open_a_session() {
    let limits = limits("failed_logins_per_minute = 2");
    let (one, other) = (client("192.0.2.1"), client("192.0.2.2"));
    limits.record_login_failure(one, None);
    limits.record_login_failure(one, None);
    for refused in [limits.check_upgrade(one), limits.check_login(one)] {
        assert_eq!(refused.unwrap_err().limit, Limit::FailedLoginsPerMinute);
    }
    assert_eq!(check_request(&limits, one), Ok(()));
    assert_eq!(limits.check_login(other), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn reload_of_other_limits_keeps_the_counts_of_this_one() {
    let old = limits("failed_logins_per_minute = 1\nconnection_burst = 1");
    let client = client("192.0.2.1");
    old.record_login_failure(client, None);
    assert_eq!(old.check_connection(client), Ok(()));
    let after = |text| Limits::new(toml::from_str(text).unwrap(), Arc::default(), Some(&old));
    let other = after("failed_logins_per_minute = 1\nconnection_burst = 1\nlogin_burst = 9");
    assert!(other.check_login(client).is_err() && other.check_connection(client).is_err());
    let this = after("failed_logins_per_minute = 2\nconnection_burst = 2");
    assert!(this.check_login(client).is_ok() && this.check_connection(client).is_ok());
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
