//! TLS as the edge speaks it.

use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, NamedGroup, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::http::{Client, body, connect, connect_with, get};
use crate::support::tls::{TestCertificate, any_certificate_config, tls_handshake};
use crate::support::{Edge, Laravel};

mod client_certificates;

#[tokio::test]
async fn tls_1_2_and_1_3_connect_and_prefer_hybrid_key_exchange() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for version in [&TLS13, &TLS12] {
        let stream = connect_with(&edge, "http/1.1", &[version]).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(version.version));
        if version.version == rustls::ProtocolVersion::TLSv1_3 {
            let group = session.negotiated_key_exchange_group().unwrap().name();
            assert_eq!(group, NamedGroup::X25519MLKEM768);
        }
        let mut client = Client::over_http1(stream).await;
        let answer = client.fetch(get("/").body(body("")).unwrap()).await;
        assert_eq!(answer.text(), "hello from laravel");
    }
}

#[tokio::test]
async fn alpn_selects_the_protocol() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for alpn in ["h2", "http/1.1"] {
        let stream = connect(&edge, alpn).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
    }
    assert!(connect(&edge, "smtp").await.is_err());
}

#[tokio::test]
async fn connection_without_tls_is_closed_and_others_are_served() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[tls]\nhandshake_timeout = \"100ms\"\n");
    let mut plain = TcpStream::connect(edge.address).await.unwrap();
    plain.write_all(b"hello\r\n").await.unwrap();
    // An alert, then the end.
    let _ = plain.read_to_end(&mut Vec::new()).await;
    let mut silent = TcpStream::connect(edge.address).await.unwrap();
    assert!(matches!(silent.read(&mut [0]).await, Ok(0) | Err(_)));
    // On a slow machine a handshake takes longer than that.
    let stream = loop {
        if let Ok(stream) = connect(&edge, "http/1.1").await {
            break stream;
        }
    };
    let mut client = Client::over_http1(stream).await;
    let answer = client.fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(answer.text(), "hello from laravel");
}

/// Connects twice with one client memory; whether the second was resumed.
async fn resumes(edge: &Edge, version: &'static SupportedProtocolVersion) -> bool {
    let config = any_certificate_config(&[version]);
    let mut last = None;
    for _ in 0..2 {
        let stream = tls_handshake(edge, "localhost", config.clone())
            .await
            .unwrap();
        last = stream.get_ref().1.handshake_kind();
        // Tickets of TLS 1.3 come after the handshake, with the first answer.
        let mut client = Client::over_http1(stream).await;
        client.fetch(get("/").body(body("")).unwrap()).await;
        edge.reload().await;
    }
    last == Some(HandshakeKind::Resumed)
}

#[tokio::test]
async fn second_connection_resumes_after_a_certificate_reload() {
    let laravel = Laravel::start().await;
    let directory = tempfile::tempdir().unwrap();
    TestCertificate::for_names(&["desk.example"]).write(directory.path(), "desk");
    let more = format!(
        "[[tls.certificates]]\ncertificate = \"{0}/desk.crt\"\nkey = \"{0}/desk.key\"\n",
        directory.path().display()
    );
    let edge = Edge::configured(&laravel.url(), &more);
    for version in [&TLS12, &TLS13] {
        assert!(resumes(&edge, version).await, "{version:?}");
        TestCertificate::for_names(&["desk.example"]).write(directory.path(), "desk");
    }
}

/// One ticketer for the process: whatever a reload changes about TLS, tickets
/// from before are good.
#[tokio::test]
async fn session_tickets_survive_a_reload() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    for version in [&TLS12, &TLS13] {
        let config = any_certificate_config(&[version]);
        let mut kinds = Vec::new();
        for hosts in [vec![], vec!["localhost".to_owned()]] {
            edge.reload_with(|config| config.tls.hosts = hosts)
                .await
                .unwrap();
            let stream = tls_handshake(&edge, "localhost", config.clone())
                .await
                .unwrap();
            kinds.push(stream.get_ref().1.handshake_kind());
            let mut client = Client::over_http1(stream).await;
            client.fetch(get("/").body(body("")).unwrap()).await;
        }
        assert_eq!(kinds[1], Some(HandshakeKind::Resumed), "{version:?}");
        assert_ne!(kinds[0], kinds[1], "{version:?}");
    }
}

/// What OpenSSL's client says to an edge, and hears.
async fn openssl(edge: &Edge, arguments: &[&str]) -> String {
    let address = edge.address.to_string();
    let mut command = tokio::process::Command::new("openssl");
    command
        .args(["s_client", "-connect", &address])
        .args(arguments);
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Invalid server names: each gets a certificate or an alert, and the edge continues.
#[tokio::test(flavor = "multi_thread")]
async fn unusual_server_names_are_handled_safely() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let long = "a".repeat(250);
    for name in [
        "LOCALHOST",
        "localhost.",
        "*.localhost",
        "..",
        "a_b",
        "10.0.0.1",
        "\u{fe}x",
        &long,
    ] {
        let output = openssl(&edge, &["-servername", name]).await;
        let is_answered = output.contains("BEGIN CERTIFICATE") || output.contains("alert");
        assert!(is_answered, "{name}: {output}");
        let stream = tls_handshake(&edge, "localhost", any_certificate_config(&[&TLS13]))
            .await
            .unwrap();
        let mut client = Client::over_http1(stream).await;
        let answer = client.fetch(get("/").body(body("")).unwrap());
        assert_eq!(answer.await.status, 200, "{name}");
    }
}

/// A client that offers `acme-tls/1` without a pending challenge gets no certificate.
/// Otherwise an attacker could use the edge to prove a name to a CA (RFC 8737).
#[tokio::test(flavor = "multi_thread")]
async fn acme_tls_alpn_without_a_challenge_gets_no_certificate() {
    let laravel = Laravel::start().await;
    let state = tempfile::tempdir().unwrap();
    let acme = format!(
        "[tls.acme]\ndomains = [\"localhost\"]\nterms_of_service_agreed = true\n\
         directory = \"https://127.0.0.1:1/\"\nchallenge = \"tls-alpn-01\"\nstorage = {:?}\n",
        state.path()
    );
    for more in [String::new(), acme] {
        let edge = Edge::configured(&laravel.url(), &more);
        for names in ["acme-tls/1", "acme-tls/1,h2"] {
            let output = openssl(&edge, &["-servername", "localhost", "-alpn", names]).await;
            assert!(
                !output.contains("BEGIN CERTIFICATE") && output.contains("alert"),
                "{output}"
            );
        }
    }
}

#[tokio::test]
async fn tls_below_min_version_is_rejected() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), "[tls]\nmin_version = \"1.3\"\n");
    assert!(
        tls_handshake(&edge, "localhost", any_certificate_config(&[&TLS12]))
            .await
            .is_err()
    );
    assert!(
        tls_handshake(&edge, "localhost", any_certificate_config(&[&TLS13]))
            .await
            .is_ok()
    );
}
