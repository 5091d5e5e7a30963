//! The reports of the binary about certificates that expire soon, have expired, or are not
//! valid yet.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::support::program::{Home, Program};
use crate::support::tls::{TestCertificate, presented_certificate_at};
use crate::support::{Edge, Laravel};

/// A directory with a certificate that begins and ends so many days from now.
fn home_with_certificate(
    laravel: &Laravel,
    begins: i64,
    ends: i64,
) -> (Arc<Home>, TestCertificate) {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let home = Home::new(&laravel.url(), anywhere, "");
    let at = |days: i64| {
        // An hour more, for the time that the test takes.
        let way = Duration::from_secs(days.unsigned_abs() * 24 * 3600);
        let now = SystemTime::now() + Duration::from_secs(3600);
        if days < 0 { now - way } else { now + way }
    };
    let issued = TestCertificate::with_params(&["desk.example"], |params| {
        params.not_before = at(begins).into();
        params.not_after = at(ends).into();
    });
    std::fs::write(home.path("cert.pem"), &issued.certificate).unwrap();
    std::fs::write(home.path("key.pem"), &issued.key).unwrap();
    (home, issued)
}

fn run(home: &Arc<Home>) -> Program {
    let mut command = home.command();
    command.args(["run", "--config", "config.toml"]);
    Program::start(home, command)
}

fn check(home: &Home) -> (Output, String) {
    let mut command = home.command();
    command.args(["check", "--config", "config.toml"]);
    let output = command.output().unwrap();
    let all = [&*output.stdout, &*output.stderr].concat();
    (output, String::from_utf8(all).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn expiring_certificate_is_reported_by_check_log_and_status() {
    let laravel = Laravel::start().await;
    for (days, level, event) in [
        (22, "INFO", "certificate_valid"),
        (21, "WARN", "certificate_expires_soon"),
        (7, "WARN", "certificate_expires_soon"),
        (1, "ERROR", "certificate_expires_soon"),
    ] {
        let (home, _) = home_with_certificate(&laravel, -60, days);
        let (output, printed) = check(&home);
        assert!(output.status.success(), "{printed}");
        let left = if days == 1 {
            "1 day left".to_owned()
        } else {
            format!("{days} days left")
        };
        assert!(
            printed.contains("desk.example; by CN=rcgen self signed cert"),
            "{printed}"
        );
        assert!(printed.contains(&left), "{printed}");
        assert_eq!(printed.contains("expires soon"), days < 22, "{printed}");

        let program = run(&home);
        let logged = program.logged(|line| line["event"] == event).await;
        assert_eq!(logged["level"], level, "{logged}");
        assert_eq!(logged["days_left"], days, "{logged}");
        let status = program.command(&["status"]).output().unwrap().stdout;
        let status = String::from_utf8(status).unwrap();
        let problem = format!("the certificate for desk.example has {left}");
        assert!(
            status.contains(&format!("desk.example: {left}")),
            "{status}"
        );
        assert_eq!(status.contains(&problem), days < 22, "{status}");
    }
}

/// With a wrong clock, or a renewal that is late, an old certificate is better
/// than none; but it is not put into use quietly.
#[tokio::test(flavor = "multi_thread")]
async fn untimely_certificate_is_a_warning_of_check_and_served_with_error() {
    let laravel = Laravel::start().await;
    for (begins, ends, reason) in [
        (-90, -1, "renew it, or set the clock"),
        (2, 90, "most likely the clock is wrong: set it"),
    ] {
        let (home, issued) = home_with_certificate(&laravel, begins, ends);
        let (output, printed) = check(&home);
        assert!(output.status.success(), "{printed}");
        assert!(
            printed.contains("warning: cert.pem") && printed.contains(reason),
            "{printed}"
        );
        let program = run(&home);
        let loud = "certificate_invalid_now";
        let logged = program.logged(|line| line["event"] == loud).await;
        assert_eq!(logged["level"], "ERROR");
        assert!(
            logged["error"].as_str().unwrap().contains(reason),
            "{logged}"
        );
        let status = program.command(&["status"]).output().unwrap().stdout;
        let status = String::from_utf8(status).unwrap();
        assert!(status.contains(reason), "{status}");
        assert!(presented_certificate_at(program.address, None).await == issued.der);
    }
}

/// Clients reject the site when an intermediate in its chain ends, whatever its own date.
#[tokio::test(flavor = "multi_thread")]
async fn intermediate_that_ends_first_is_reported_by_check_status_and_metric() {
    let laravel = Laravel::start().await;
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    for (days, part) in [
        (5, "has 5 days left: \"CN=R3\" in its chain ends then"),
        (-1, "has \"CN=R3\" in its chain, which expired at"),
    ] {
        let home = Home::new(&laravel.url(), anywhere, "");
        let hour = Duration::from_secs(3600);
        let end =
            SystemTime::now() + hour + hour * 24 * 5 - hour * 24 * if days < 0 { 6 } else { 0 };
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "R3");
        authority.not_after = end.into();
        let own = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(authority, own).unwrap();
        let site = CertificateParams::new(["desk.example".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let site = site.signed_by(&key, &authority).unwrap();
        let chain = format!("{}{}", site.pem(), authority.pem());
        std::fs::write(home.path("cert.pem"), chain).unwrap();
        std::fs::write(home.path("key.pem"), key.serialize_pem()).unwrap();
        let (output, printed) = check(&home);
        assert!(output.status.success(), "{printed}");
        assert!(
            printed.contains("warning: cert.pem") && printed.contains("\"CN=R3\" in its chain"),
            "{printed}"
        );
        let program = run(&home);
        let status = program.status().await;
        assert_eq!(status["certificates"][0]["ends_with"], "CN=R3", "{status}");
        assert_eq!(status["certificates"][0]["days_left"], days, "{status}");
        let problems = status["problems"][0].as_str().unwrap();
        assert!(problems.contains(part), "{problems}");
    }
}

#[tokio::test]
async fn expiry_of_each_certificate_is_a_metric() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let metrics = edge.get("/metrics").await;
    let rows: Vec<_> = metrics.text().lines().collect();
    let row = rows
        .iter()
        .find(|row| row.starts_with("pwd_edge_certificate_not_after_timestamp_seconds{"));
    let row = row.expect("there is one certificate");
    assert!(
        row.contains("names=\"localhost\"") && row.contains("issuer=\"CN="),
        "{row}"
    );
    let expires: f64 = row.rsplit_once(' ').unwrap().1.parse().unwrap();
    // rcgen's certificates expire at the beginning of the year 4096.
    assert_eq!(expires, 67_090_118_400.0, "{row}");
}
