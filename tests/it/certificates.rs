//! Which certificate is shown, and what happens when it changes.

mod files;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pwd_edge::config::Config;
use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use crate::support::http::{Client, body, get};
use crate::support::tls::{TestCertificate, presented_certificate};
use crate::support::{Edge, Laravel, Socket};

/// `[[tls.certificates]]` for pairs written to `directory`.
fn certificates_config(directory: &Path, names: &[&str]) -> String {
    let directory = directory.display();
    let tables = names.iter().map(|name| {
        format!(
            "[[tls.certificates]]\ncertificate = \"{directory}/{name}.crt\"\n\
             key = \"{directory}/{name}.key\"\n"
        )
    });
    tables.collect()
}

#[tokio::test]
async fn certificate_is_selected_by_its_names() {
    let directory = tempfile::tempdir().unwrap();
    let exact = TestCertificate::for_names(&["desk.example"]);
    let wild = TestCertificate::for_names(&["*.example", "example"]);
    exact.write(directory.path(), "exact");
    wild.write(directory.path(), "wild");
    let laravel = Laravel::start().await;
    let more = certificates_config(directory.path(), &["wild", "exact"]);
    let edge = Edge::configured(&laravel.url(), &more);
    for (name, expected) in [
        (Some("desk.example"), &exact.der),
        (Some("DESK.example"), &exact.der),
        (Some("shop.example"), &wild.der),
        (Some("example"), &wild.der),
        (Some("a.desk.example"), &edge.certificate),
        (Some("localhost"), &edge.certificate),
        (Some("stranger.test"), &edge.certificate),
        (None, &edge.certificate),
    ] {
        assert!(
            presented_certificate(&edge, name).await == *expected,
            "{name:?}"
        );
    }
}

/// An edge with a pair of its own beside the default: names, files, and the
/// certificate first shown.
struct ChangingCertificate {
    edge: Edge,
    directory: tempfile::TempDir,
    first: TestCertificate,
}

impl ChangingCertificate {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let first = TestCertificate::for_names(&["desk.example"]);
        first.write(directory.path(), "desk");
        let laravel = Laravel::start().await;
        let more = certificates_config(directory.path(), &["desk"]);
        let edge = Edge::configured(&laravel.url(), &more);
        Self {
            edge,
            directory,
            first,
        }
    }

    async fn shown(&self) -> CertificateDer<'static> {
        presented_certificate(&self.edge, Some("desk.example")).await
    }

    /// Waits until `expected` is shown.
    async fn wait_until_shown(&self, expected: &TestCertificate) {
        for _ in 0..200 {
            if self.shown().await == expected.der {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the new certificate is not shown");
    }
}

#[tokio::test]
async fn changed_certificate_is_loaded_and_connections_stay() {
    let changing = ChangingCertificate::start().await;
    assert!(changing.shown().await == changing.first.der);
    let mut open = Client::http1(&changing.edge).await;
    let second = TestCertificate::for_names(&["desk.example"]);
    second.write(changing.directory.path(), "desk");
    changing.wait_until_shown(&second).await;
    let answer = open.fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.status, 200);
}

/// As certbot does it: `live/` has links into `archive/`, which are swapped.
#[tokio::test]
async fn certificate_behind_a_swapped_symlink_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let pairs = [
        TestCertificate::for_names(&["desk.example"]),
        TestCertificate::for_names(&["desk.example"]),
    ];
    let link = |number: usize| {
        for extension in ["crt", "key"] {
            let (new, live) = (path.join("new"), path.join(format!("live.{extension}")));
            let archived = format!("archive{number}.{extension}");
            std::os::unix::fs::symlink(archived, &new).unwrap();
            std::fs::rename(new, live).unwrap();
        }
    };
    pairs[0].write(&path, "archive0");
    pairs[1].write(&path, "archive1");
    link(0);
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), &certificates_config(&path, &["live"]));
    let changing = ChangingCertificate {
        edge,
        first: TestCertificate::for_names(&["unused"]),
        directory,
    };
    changing.wait_until_shown(&pairs[0]).await;
    link(1);
    changing.wait_until_shown(&pairs[1]).await;
}

#[tokio::test]
async fn invalid_certificate_keeps_the_last_good_one_in_use() {
    let changing = ChangingCertificate::start().await;
    let path = changing.directory.path();
    let second = TestCertificate::for_names(&["desk.example"]);
    let expired = TestCertificate::with_params(&["desk.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let certificate = path.join("desk.crt");
    let half = &second.certificate[..100];
    for bad in ["", half, &second.certificate, &expired.certificate] {
        std::fs::write(&certificate, bad).unwrap();
        changing.edge.reload().await;
        assert!(changing.shown().await == changing.first.der, "{bad}");
    }
    std::fs::remove_file(&certificate).unwrap();
    changing.edge.reload().await;
    std::fs::create_dir(&certificate).unwrap();
    changing.edge.reload().await;
    assert!(changing.shown().await == changing.first.der);
    std::fs::remove_dir(&certificate).unwrap();
    second.write(path, "desk");
    changing.edge.reload().await;
    assert!(changing.shown().await == second.der);
}

/// A client that connects to an address sends no SNI (RFC 6066 §3).
#[tokio::test]
async fn certificate_for_an_address_is_shown_without_sni() {
    let directory = tempfile::tempdir().unwrap();
    let address = TestCertificate::for_names(&["192.0.2.1", "2001:db8::1"]);
    address.write(directory.path(), "address");
    let laravel = Laravel::start().await;
    let tables = certificates_config(directory.path(), &["address"]);
    let hosts = "hosts = [\"localhost\", \"192.0.2.1\", \"2001:DB8:0::1\"]";
    let edge = Edge::configured(&laravel.url(), &format!("[tls]\n{hosts}\n{tables}"));
    for (name, expected) in [
        (None, &address.der),
        (Some("localhost"), &edge.certificate),
        (Some("stranger.test"), &edge.certificate),
    ] {
        assert!(
            presented_certificate(&edge, name).await == *expected,
            "{name:?}"
        );
    }
    let status = edge.get("/status").await.json();
    let names = &status["certificates"][1]["names"];
    assert_eq!(*names, serde_json::json!(["192.0.2.1", "2001:db8::1"]));
    let change = |config: &mut Config| config.tls.hosts.push("192.0.2.2".to_owned());
    let error = edge.reload_with(change).await.unwrap_err().to_string();
    assert!(error.contains("no certificate is for 192.0.2.2"), "{error}");
}

#[tokio::test]
async fn status_reports_days_left_of_each_certificate() {
    let changing = ChangingCertificate::start().await;
    let status = changing.edge.get("/status").await.json();
    let certificate = &status["certificates"][1];
    assert_eq!(certificate["names"][0], "desk.example", "{status}");
    assert!(certificate["days_left"].as_i64().unwrap() > 21, "{status}");
    assert!(certificate["file"].as_str().unwrap().ends_with("desk.crt"));
}

/// What `[[tls.certificates]]` of a text of TOML say.
fn certificates(text: &str) -> impl FnOnce(&mut Config) + use<> {
    let certificates = Config::from_toml(text).unwrap().tls.certificates;
    |config| config.tls.certificates = certificates
}

#[tokio::test]
async fn reload_adds_and_removes_certificates() {
    let changing = ChangingCertificate::start().await;
    let (edge, path) = (&changing.edge, changing.directory.path());
    let mut open = Client::http2(edge).await;
    open.fetch(get("/").body(body("")).unwrap()).await;
    let mut session = Socket::joined(edge, "3|ana", 1).await;
    let shop = TestCertificate::for_names(&["shop.example"]);
    shop.write(path, "shop");
    let both = certificates_config(path, &["desk", "shop"]);
    edge.reload_with(certificates(&both)).await.unwrap();
    assert!(presented_certificate(edge, Some("shop.example")).await == shop.der);
    assert!(changing.shown().await == changing.first.der);
    // The new pair is watched like those from before.
    let renewed = TestCertificate::for_names(&["shop.example"]);
    renewed.write(path, "shop");
    while presented_certificate(edge, Some("shop.example")).await != renewed.der {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A pair that is of no use changes nothing, and is named.
    let bad = certificates_config(path, &["shop", "none"]);
    let refused = edge.reload_with(certificates(&bad)).await.unwrap_err();
    assert!(
        refused.to_string().contains("[[tls.certificates]] no. 2"),
        "{refused}"
    );
    assert!(changing.shown().await == changing.first.der);
    let one = certificates_config(path, &["shop"]);
    edge.reload_with(certificates(&one)).await.unwrap();
    assert!(changing.shown().await == edge.certificate);
    session.send(serde_json::json!({ "type": "ping" })).await;
    assert_eq!(session.until("pong").await["type"], "pong");
    // The edge closed only the old HTTP connection, which was idle.
    assert!(open.send(get("/").body(body("")).unwrap()).await.is_err());
}

/// A read of a named pipe never ends, so the edge must not begin one.
#[tokio::test(flavor = "multi_thread")]
async fn pipe_or_loop_as_a_certificate_blocks_nothing() {
    let changing = ChangingCertificate::start().await;
    let path = changing.directory.path();
    for name in ["desk.crt", "desk.key"] {
        let file = path.join(name);
        std::fs::remove_file(&file).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&file).status();
        assert!(made.unwrap().success());
        changing.edge.reload().await;
        assert!(changing.shown().await == changing.first.der);
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(name, &file).unwrap();
        changing.edge.reload().await;
        assert!(changing.shown().await == changing.first.der);
        std::fs::remove_file(&file).unwrap();
        changing.first.write(path, "desk");
    }
    let second = TestCertificate::for_names(&["desk.example"]);
    second.write(path, "desk");
    changing.edge.reload().await;
    assert!(changing.shown().await == second.der);
}

/// A hundred swaps, during requests and WebSocket sessions.
#[tokio::test(flavor = "multi_thread")]
async fn hundred_certificate_swaps_under_load_disturb_no_client() {
    let directory = tempfile::tempdir().unwrap();
    let first = TestCertificate::for_names(&["desk.example"]);
    first.write(directory.path(), "desk");
    let laravel = Laravel::start().await;
    // One address makes all requests here.
    let more = format!(
        "[limits]\nexempt = [\"127.0.0.0/8\"]\n[websocket]\nmax_sessions_per_user = 1000\n{}",
        certificates_config(directory.path(), &["desk"])
    );
    let edge = Arc::new(Edge::configured(&laravel.url(), &more));
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(Socket::joined(&edge, "3|ana", 1).await);
    }
    let stop = CancellationToken::new();
    let clients: Vec<_> = (0..4)
        .map(|number| tokio::spawn(request_until(stop.clone(), Arc::clone(&edge), number)))
        .collect();
    for _ in 0..100 {
        let next = TestCertificate::for_names(&["desk.example"]);
        next.write(directory.path(), "desk");
        edge.reload().await;
        assert!(presented_certificate(&edge, Some("desk.example")).await == next.der);
    }
    stop.cancel();
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    edge.broadcast(
        r#"{"type":"new_message","payload":{"ticket_id":1,"message":{"id":1,"message":"hi"}}}"#,
    )
    .await;
    for session in &mut sessions {
        session.until("new_message").await;
    }
}

/// Requests one after the other, half of them on connections of their own.
async fn request_until(stop: CancellationToken, edge: Arc<Edge>, number: usize) -> usize {
    let mut kept = Client::http2(&edge).await;
    let mut answered = 0;
    while !stop.is_cancelled() {
        let request = get("/").body(body("")).unwrap();
        let answer = match number % 2 {
            0 => kept.fetch(request).await,
            _ => Client::http1(&edge).await.fetch(request).await,
        };
        assert_eq!(answer.status, 200);
        answered += 1;
    }
    answered
}
