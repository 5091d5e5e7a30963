//! What the edge makes of what a CA says: when to renew, when not to ask, and
//! things that make no sense.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::admin::fetch_admin;
use crate::support::Laravel;
use crate::support::ca::{AcmeRequest, Ca, acme_problem};
use crate::support::http::{body, get};
use crate::support::program::{Home, Program};
use crate::support::tls::TestCertificate;

fn page(status: u16, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let page = Response::builder().status(status);
    page.body(Full::new(text.into())).unwrap()
}

/// Returns a script of a CA that accepts accounts and rejects every order, with `wait` seconds
/// in `Retry-After`.
fn reject_orders(wait: &'static str) -> impl Fn(&AcmeRequest) -> Option<Response<Full<Bytes>>> {
    move |(path, _)| {
        let refusal = acme_problem(429, "rateLimited").header("Retry-After", wait);
        (path == "/order").then(|| refusal.body(Full::default()).unwrap())
    }
}

fn field_contains(line: &Value, key: &str, part: &str) -> bool {
    line[key].as_str().is_some_and(|text| text.contains(part))
}

async fn assert_is_served(program: &Program) {
    let mut client = program.http1().await;
    let answer = client.fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, 200);
}

/// Asserts that the edge logs the failure and serves the site meanwhile, and that it obtains
/// the certificate once the CA's responses are valid.
async fn assert_recovers_from(
    nonsense: impl Fn(&AcmeRequest) -> Option<Response<Full<Bytes>>> + Send + Sync + 'static,
    part: &str,
) {
    let laravel = Laravel::start().await;
    let ca = Ca::start(nonsense).await;
    let program = Program::before(&laravel.url(), &ca.config());
    program
        .logged(|line| field_contains(line, "error", part))
        .await;
    assert_is_served(&program).await;
    ca.set_script(reject_orders("3600"));
    ca.wait_for_requests("/order", 1).await;
    let identifiers = &ca.requests("/order")[0]["identifiers"];
    assert_eq!(identifiers[0]["value"], "desk.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_ca_response_is_logged_and_the_site_is_served() {
    let wrong = "is tls.acme.directory the address of an ACME directory?";
    assert_recovers_from(|_| Some(page(200, "<html>")), wrong).await;
    assert_recovers_from(|_| Some(page(200, "{}")), "missing field").await;
    let huge = |_: &AcmeRequest| Some(page(200, vec![b' '; 2 << 20]));
    assert_recovers_from(huge, "length limit exceeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ca_error_is_logged_and_the_order_retried() {
    let wordless = "it responded with 503 Service Unavailable and no reason";
    assert_recovers_from(|_| Some(page(503, "<html>")), wordless).await;
    let nonce = |(path, _): &AcmeRequest| (path == "/nonce").then(|| page(500, "{}"));
    assert_recovers_from(nonce, "it responded with 500 Internal Server Error").await;
    let account = |(path, _): &AcmeRequest| {
        let refusal = acme_problem(403, "unauthorized");
        (path == "/account").then(|| refusal.body(Full::default()).unwrap())
    };
    assert_recovers_from(account, "as the test wants it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ca_retry_after_is_obeyed() {
    let laravel = Laravel::start().await;
    for (wait, retry_in) in [("3600", "1h"), ("18446744073709551615", "1day")] {
        let ca = Ca::start(reject_orders(wait)).await;
        let program = Program::before(&laravel.url(), &ca.config());
        let refused = program.logged(|line| line["retry_in"].is_string()).await;
        assert_eq!(refused["retry_in"], retry_in, "{refused}");
        assert!(
            field_contains(&refused, "error", "rateLimited"),
            "{refused}"
        );
        assert_eq!(ca.requests("/order").len(), 1);
    }
}

/// A certificate for years, which only its CA would have renewed.
fn long_lived_certificate() -> TestCertificate {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let mut site = CertificateParams::new(["desk.example".to_owned()]).unwrap();
    site.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let site = site.signed_by(&key, &authority).unwrap();
    TestCertificate {
        der: site.der().clone(),
        certificate: site.pem(),
        key: key.serialize_pem(),
    }
}

/// The CA wants certificates back (ARI): the edge renews, saying what it
/// replaces, and without saying so if the CA does not like that.
#[tokio::test(flavor = "multi_thread")]
async fn ca_renewal_info_triggers_an_early_renewal() {
    let laravel = Laravel::start().await;
    let ca = Ca::start(|(path, payload)| {
        if path.starts_with("/renewal/") {
            let window = json!({ "suggestedWindow": {
                "start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z",
            }});
            let advice = Response::builder().header("Retry-After", "21600");
            return Some(advice.body(Full::from(window.to_string())).unwrap());
        }
        let refusal = match payload.get("replaces") {
            Some(_) => acme_problem(409, "alreadyReplaced"),
            None => acme_problem(429, "rateLimited").header("Retry-After", "3600"),
        };
        (path == "/order").then(|| refusal.body(Full::default()).unwrap())
    })
    .await;
    ca.store(&long_lived_certificate());
    let program = Program::before(&laravel.url(), &ca.config());
    program.logged(|line| line["retry_in"] == "1h").await;
    let events = program.events("acme_renewal_window");
    assert_eq!(events[0]["until"], "2020-01-02T00:00:00Z");
    let orders = ca.requests("/order");
    assert_eq!(orders.len(), 2);
    let replaced = orders[0]["replaces"].as_str().unwrap();
    assert_eq!(ca.requests(&format!("/renewal/{replaced}")).len(), 1);
    assert!(orders[1].get("replaces").is_none());
}

/// The CA that says nothing useful about renewals leaves the schedule as it is.
#[tokio::test(flavor = "multi_thread")]
async fn invalid_renewal_info_is_ignored() {
    let laravel = Laravel::start().await;
    for nonsense in [
        json!({ "suggestedWindow": { "start": "2020-01-02T00:00:00Z", "end": "2020-01-01T00:00:00Z" }}),
        json!({ "suggestedWindow": { "start": "0001-01-01T00:00:00Z", "end": "0001-01-02T00:00:00Z" }}),
        json!({ "suggestedWindow": { "start": "9999-12-30T00:00:00Z", "end": "9999-12-31T00:00:00Z" }}),
        json!({ "suggestedWindow": 7 }),
    ] {
        let ca = Ca::start(move |(path, _)| {
            let advice = Response::builder().header("Retry-After", "0");
            let advice = advice.body(Full::from(nonsense.to_string())).unwrap();
            path.starts_with("/renewal/").then_some(advice)
        })
        .await;
        ca.store(&long_lived_certificate());
        let program = Program::before(&laravel.url(), &ca.config());
        ca.wait_for_requests("/renewal/", 1).await;
        assert_is_served(&program).await;
        let status = program.status().await;
        assert_eq!(
            status["certificates"][1]["names"][0], "desk.example",
            "{status}"
        );
        assert!(ca.requests("/order").is_empty());
        assert!(program.stop().success());
    }
}

/// A program with ACME and without another certificate, and its admin address.
fn program_without_certificate(laravel: &Laravel, more: &str) -> (Program, SocketAddr) {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let home = Home::new(
        &laravel.url(),
        anywhere,
        &format!("[admin]\nlisten = [\"{anywhere}\"]\n{more}"),
    );
    std::fs::remove_file(home.path("cert.pem")).unwrap();
    let mut command = home.command();
    command.args(["run", "--config", "config.toml"]);
    let program = Program::start(&home, command);
    let listening = program.events("listening");
    let admin = listening
        .iter()
        .find(|line| line["key"] == "admin.listen")
        .expect("the admin listener is logged");
    let admin = admin["address"].as_str().unwrap().parse().unwrap();
    (program, admin)
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_that_acme_has_not_obtained_is_a_problem_everywhere() {
    let laravel = Laravel::start().await;
    let ca = Ca::start(reject_orders("3600")).await;
    let (program, admin) = program_without_certificate(&laravel, &ca.config());
    let failed = program
        .logged(|line| line["event"] == "certificate_renewal_failed")
        .await;
    assert_eq!(failed["level"], "ERROR");
    let status = program.status().await;
    assert_eq!(status["healthy"], false);
    assert_eq!(status["acme"]["issued"], false);
    let problems = status["problems"].to_string();
    for part in [
        "there is no certificate: every TLS handshake fails",
        "ACME has no certificate for desk.example yet: the ACME request failed",
        "rateLimited",
        "the next attempt is at 20",
    ] {
        assert!(problems.contains(part), "{problems}");
    }
    let ready = fetch_admin(admin, "/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        ready.text().contains("there is no certificate"),
        "{}",
        ready.text()
    );
    let metrics = fetch_admin(admin, "/metrics").await;
    let sample = "pwd_edge_certificate_not_after_timestamp_seconds\
                  {names=\"desk.example\",issuer=\"\"} 0.0\n";
    assert!(metrics.text().contains(sample), "{}", metrics.text());
    let check = program.command(&["check"]).output().unwrap();
    let printed = String::from_utf8([check.stdout, check.stderr].concat()).unwrap();
    assert!(check.status.success(), "{printed}");
    for part in [
        "ACME              desk.example: not issued yet",
        "warning: there is no certificate yet",
    ] {
        assert!(printed.contains(part), "{printed}");
    }
}

/// The fallback lets handshakes succeed, so the edge is ready: behind a load balancer the
/// challenge would not arrive otherwise. No client trusts it, so it stays a problem.
#[tokio::test(flavor = "multi_thread")]
async fn self_signed_fallback_is_ready_and_a_problem() {
    let laravel = Laravel::start().await;
    let ca = Ca::start(reject_orders("3600")).await;
    let more = format!("{}self_signed_fallback = true\n", ca.config());
    let (program, admin) = program_without_certificate(&laravel, &more);
    while fetch_admin(admin, "/readyz").await.status != StatusCode::OK {}
    let status = program.status().await;
    let problems = status["problems"].to_string();
    assert!(
        problems.contains("ACME has no certificate for"),
        "{problems}"
    );
    let metrics = fetch_admin(admin, "/metrics").await;
    assert!(
        metrics
            .text()
            .contains("{names=\"desk.example\",issuer=\"\"} 0.0\n"),
        "{}",
        metrics.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_retries_a_failed_order_at_once() {
    let laravel = Laravel::start().await;
    let ca = Ca::start(|(path, _)| {
        let refusal = acme_problem(403, "unauthorized");
        (path == "/order").then(|| refusal.body(Full::default()).unwrap())
    })
    .await;
    let more = ca.config().replace("\"10ms\"", "\"1h\"");
    let program = Program::before(&laravel.url(), &more);
    let failures = |line: &Value| line["event"] == "certificate_renewal_failed";
    for times in 1..=3 {
        ca.wait_for_requests("/order", times).await;
        while program.count(failures) < times {
            tokio::task::yield_now().await;
        }
        // The pause begins after the log line, so one signal may come too early for it.
        while times < 3 && ca.requests("/order").len() == times {
            program.send_sighup();
            tokio::task::yield_now().await;
        }
    }
}
