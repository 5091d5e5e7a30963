//! Certificates from a real ACME server on loopback: Debian's `pebble`, with
//! its own DNS server that knows every name as 127.0.0.1.

use std::fmt::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::program::{Home, Program};
use crate::support::tls::{TestCertificate, presented_certificate, presented_certificate_at};
use crate::support::{Edge, Laravel};

/// A CA that is not running yet, and a state directory for the edge.
struct Ca {
    directory: TempDir,
    port: u16,
    /// Holds the port while the CA is down, so that no other process listens on it.
    _kept: TcpSocket,
}

/// A CA that runs.
struct Running([Child; 2]);

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Returns a port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Ca {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        TestCertificate::for_names(&["localhost"]).write(directory.path(), "ca");
        let kept = TcpSocket::new_v4().unwrap();
        // As pebble sets it, too, so that both may have the port.
        kept.set_reuseaddr(true).unwrap();
        kept.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self {
            directory,
            port: kept.local_addr().unwrap().port(),
            _kept: kept,
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Returns the `config.toml` of an edge that uses this CA, with `more` keys in `[tls.acme]`.
    fn config(&self, challenge: &str, more: &str) -> String {
        let acme = self.acme(challenge, more);
        let any = "\"127.0.0.1:0\"";
        format!("[server]\nlisten = [{any}]\nredirect_listen = [{any}]\n{acme}")
    }

    /// `[tls.acme]` alone.
    fn acme(&self, challenge: &str, more: &str) -> String {
        let mut text = String::new();
        write!(
            text,
            "[tls.acme]\ndomains = [\"desk.example\", \"www.desk.example\"]\n\
             terms_of_service_agreed = true\nretry_interval = \"1s\"\nchallenge = \"{challenge}\"\n\
             directory = \"https://localhost:{}/dir\"\ndirectory_ca_file = \"{}\"\n\
             storage = \"{}\"\n{more}",
            self.port,
            self.path("ca.crt"),
            self.path("state"),
        )
        .unwrap();
        text
    }

    /// Starts it; it looks for proofs at `edge`.
    async fn start(&self, edge: &Edge, validity: Duration, more: &str) -> Running {
        let ports = (edge.redirects[0].port(), edge.address.port());
        self.start_before(ports, validity, more).await
    }

    /// The same before ports for HTTP and for TLS.
    async fn start_before(
        &self,
        (http, tls): (u16, u16),
        validity: Duration,
        more: &str,
    ) -> Running {
        let config = format!(
            "{{\"pebble\": {{\"listenAddress\": \"127.0.0.1:{}\",\n\
             \"managementListenAddress\": \"127.0.0.1:{}\",\n\
             \"certificate\": \"{}\", \"privateKey\": \"{}\",\n\
             \"httpPort\": {http}, \"tlsPort\": {tls},\n{more}\
             \"ocspResponderURL\": \"\", \"certificateValidityPeriod\": {}}}}}",
            self.port,
            free_port(),
            self.path("ca.crt"),
            self.path("ca.key"),
            validity.as_secs()
        );
        std::fs::write(self.path("pebble.json"), config).unwrap();
        let dns = format!("127.0.0.1:{}", free_port());
        let management = format!("127.0.0.1:{}", free_port());
        let names = Command::new("pebble-challtestsrv")
            .args(["-dns01", &dns, "-management", &management])
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("apt-get install pebble");
        let pebble = Command::new("pebble")
            .args(["-config", &self.path("pebble.json"), "-dnsserver", &dns])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("apt-get install pebble");
        let running = Running([names, pebble]);
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        running
    }

    fn mode(&self, name: &str) -> u32 {
        let file = std::fs::metadata(self.path(name)).unwrap();
        file.permissions().mode() & 0o777
    }
}

/// Waits until another certificate than `before` is shown for `desk.example`.
async fn wait_for_new_certificate(
    edge: &Edge,
    before: &CertificateDer<'static>,
) -> CertificateDer<'static> {
    for _ in 0..600 {
        let now = presented_certificate(edge, Some("desk.example")).await;
        if now != *before {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no other certificate is shown");
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// First issue, although the CA is down at first; then a restart with what was
/// stored, the CA being down again.
async fn assert_issued_and_stored(challenge: &str) {
    let (laravel, ca) = (Laravel::start().await, Ca::new());
    let config = ca.config(challenge, "");
    let edge = Edge::configured(&laravel.url(), &config);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let own = edge.certificate.clone();
    assert!(presented_certificate(&edge, Some("desk.example")).await == own);
    let running = ca.start(&edge, YEAR, "").await;
    let issued = wait_for_new_certificate(&edge, &own).await;
    assert!(presented_certificate(&edge, Some("www.desk.example")).await == issued);
    assert!(presented_certificate(&edge, Some("localhost")).await == own);
    assert_eq!(ca.mode("state"), 0o700);
    assert_eq!(ca.mode("state/account.json"), 0o600);
    assert_eq!(ca.mode("state/certificate.pem"), 0o600);
    drop(running);
    edge.stop().await.unwrap();
    let edge = Edge::configured(&laravel.url(), &config);
    assert!(presented_certificate(&edge, Some("desk.example")).await == issued);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn certificate_over_http_01_is_issued_and_stored() {
    assert_issued_and_stored("http-01").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn certificate_over_tls_alpn_01_is_issued_and_stored() {
    assert_issued_and_stored("tls-alpn-01").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn certificate_is_renewed_before_it_expires() {
    let (laravel, ca) = (Laravel::start().await, Ca::new());
    let edge = Edge::configured(&laravel.url(), &ca.config("http-01", ""));
    let _running = ca.start(&edge, Duration::from_secs(20), "").await;
    let first = wait_for_new_certificate(&edge, &edge.certificate).await;
    let second = wait_for_new_certificate(&edge, &first).await;
    let third = wait_for_new_certificate(&edge, &second).await;
    assert!(third != first && third != edge.certificate);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn failed_issuance_keeps_the_certificate_and_recovers() {
    let (laravel, ca) = (Laravel::start().await, Ca::new());
    let more = "self_signed_fallback = true\n";
    let edge = Edge::configured(&laravel.url(), &ca.config("http-01", more));
    let temporary = presented_certificate(&edge, Some("desk.example")).await;
    assert!(temporary != edge.certificate);
    // A CA that looks for proofs where there are none.
    let elsewhere = Edge::configured(&laravel.url(), &Ca::new().config("http-01", ""));
    let running = ca.start(&elsewhere, YEAR, "").await;
    while !Path::new(&ca.path("state/account.json")).exists() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(presented_certificate(&edge, Some("desk.example")).await == temporary);
    drop(running);
    // It comes back, and knows the account no more.
    let _running = ca.start(&edge, YEAR, "").await;
    wait_for_new_certificate(&edge, &temporary).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn external_account_is_bound() {
    let (laravel, ca) = (Laravel::start().await, Ca::new());
    let key = "a2V5".repeat(16);
    std::fs::write(ca.path("eab.key"), format!("{key}\n")).unwrap();
    let more = format!(
        "external_account = {{ id = \"kid-1\", key_file = \"{}\" }}\n",
        ca.path("eab.key")
    );
    let edge = Edge::configured(&laravel.url(), &ca.config("http-01", &more));
    let bound = format!(
        "\"externalAccountBindingRequired\": true,\n\
         \"externalAccountMACKeys\": {{\"kid-1\": \"{key}\"}},\n"
    );
    let _running = ca.start(&edge, YEAR, &bound).await;
    wait_for_new_certificate(&edge, &edge.certificate).await;
}

/// A certificate that is in use is to be renewed, and the CA is down, then fails
/// to see the proof, then has lost the account: the old one is shown until the
/// new one is there, and the log tells each reason.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble"]
async fn failed_renewal_keeps_the_certificate_and_recovers() {
    let (laravel, ca) = (Laravel::start().await, Ca::new());
    let more = ca.acme("tls-alpn-01", "").replace("\"1s\"", "\"100ms\"");
    let program = Program::before(&laravel.url(), &more);
    let show = async || presented_certificate_at(program.address, Some("desk.example")).await;
    let own = show().await;
    let changes = async |before: &CertificateDer<'static>| {
        while show().await == *before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        show().await
    };
    let fails = async |part: &str| {
        let says_so = |line: &Value| {
            line["event"] == "certificate_renewal_failed"
                && line["error"].as_str().unwrap().contains(part)
        };
        let before = program.count(says_so);
        while program.count(says_so) == before {
            tokio::task::yield_now().await;
        }
    };
    let port = program.address.port();
    let running = ca
        .start_before((port, port), Duration::from_secs(8), "")
        .await;
    let first = changes(&own).await;
    drop(running);
    fails("refused").await;
    assert!(show().await == first);
    let running = ca.start_before((1, 1), YEAR, "").await;
    fails("could not validate").await;
    assert!(show().await == first);
    drop(running);
    let _running = ca.start_before((port, port), YEAR, "").await;
    changes(&first).await;
    // The edge serves it before it logs the event.
    while program.count(|line| line["event"] == "certificate_loaded") < 2 {
        tokio::task::yield_now().await;
    }
}

/// The clock is two days late, so the CA's certificate is not valid yet. The edge uses it all
/// the same, logs a warning, and orders no further ones.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs pebble and faketime"]
async fn wrong_clock_causes_one_certificate_order_only() {
    let (laravel, ca) = (Laravel::start().await, Ca::new());
    let more = ca.acme("tls-alpn-01", "").replace("\"1s\"", "\"10ms\"");
    let home = Home::new(&laravel.url(), "127.0.0.1:0".parse().unwrap(), &more);
    let run = |late: &str| {
        let mut command = home.command();
        command.args(["run", "--config", "config.toml"]);
        command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1");
        command.env("FAKETIME", late);
        Program::start(&home, command)
    };
    let program = run("-2d");
    let own = presented_certificate_at(program.address, None).await;
    let port = program.address.port();
    let _running = ca.start_before((port, port), YEAR, "").await;
    let untimely = |line: &Value| {
        let error = line["error"].as_str().unwrap_or_default();
        error.contains("not valid today") && error.contains("the clock is wrong")
    };
    program.logged(untimely).await;
    let kept = std::fs::read(ca.path("state/certificate.pem")).unwrap();
    // It has no other one for the name, and clients have clocks of their own.
    assert!(presented_certificate_at(program.address, Some("desk.example")).await != own);
    // The retry interval is some milliseconds. After many handshakes there is no new order.
    for _ in 0..50 {
        presented_certificate_at(program.address, None).await;
    }
    assert_eq!(program.count(untimely), 1);
    assert_eq!(
        std::fs::read(ca.path("state/certificate.pem")).unwrap(),
        kept
    );
    assert!(program.stop().success());
    // The clock is right again.
    let program = run("+0d");
    assert!(presented_certificate_at(program.address, Some("desk.example")).await != own);
}
