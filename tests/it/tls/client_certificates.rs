//! Client certificates: accepted, rejected, and passed on to Laravel.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;

use crate::support::http::{Client, body, get};
use crate::support::tls::{any_certificate_config, tls_handshake};
use crate::support::{Edge, Laravel};

/// A CA of clients in a file, and a client that it knows.
struct ClientCa {
    directory: tempfile::TempDir,
    client: CertifiedClient,
}

type CertifiedClient = (Vec<CertificateDer<'static>>, Vec<u8>);

impl ClientCa {
    fn new() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(authority, key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut client = CertificateParams::default();
        client.distinguished_name = DistinguishedName::new();
        client.distinguished_name.push(DnType::CommonName, "Ana");
        let certificate = client.signed_by(&key, &authority).unwrap();
        Self {
            directory,
            client: (vec![certificate.der().clone()], key.serialize_der()),
        }
    }

    fn client_auth_config(&self, how: &str) -> String {
        let directory = self.directory.path().display();
        format!("[tls.client_auth]\nmode = \"{how}\"\nca_file = \"{directory}/ca.pem\"\n")
    }

    fn config(client: &CertifiedClient) -> ClientConfig {
        let mut config = any_certificate_config(&[&TLS13]);
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = PrivateKeyDer::Pkcs8(client.1.clone().into());
        let certified = CertifiedKey::from_der(client.0.clone(), key, &provider).unwrap();
        let resolver = SingleCertAndKey::from(certified);
        config.client_auth_cert_resolver = Arc::new(resolver);
        config
    }
}

/// Returns the subject that Laravel gets; `None` if the handshake or the request fails.
async fn subject(edge: &Edge, laravel: &Laravel, config: ClientConfig) -> Option<Option<String>> {
    let stream = tls_handshake(edge, "localhost", config).await.ok()?;
    let mut client = Client::over_http1(stream).await;
    let request = get("/").header("X-Forwarded-Client-Subject", "CN=Root");
    let answer = client.send(request.body(body("")).unwrap()).await.ok()?;
    assert_eq!(answer.status(), 200);
    let seen = laravel.requests();
    let seen = seen.last().unwrap();
    Some(seen.header("x-forwarded-client-subject").map(str::to_owned))
}

/// PHP writes `-`, `_` and `.` in a header's name alike.
#[tokio::test]
async fn forged_client_subject_header_is_removed_in_any_spelling() {
    let (laravel, known) = (Laravel::start().await, ClientCa::new());
    let edge = Edge::configured(&laravel.url(), &known.client_auth_config("optional"));
    let forged = || {
        get("/")
            .header("X-Forwarded-Client-Subject", "CN=Root")
            .header("x-forwarded-client_subject", "CN=Root")
            .header("X_FORWARDED_CLIENT_SUBJECT", "CN=Root")
            .header("x.forwarded.client.subject", "CN=Root")
            .body(body(""))
            .unwrap()
    };
    for http2 in [false, true] {
        for (config, expected) in [
            (any_certificate_config(&[&TLS13]), vec![]),
            (ClientCa::config(&known.client), vec!["CN=Ana"]),
        ] {
            let mut config = config;
            config.alpn_protocols = vec![if http2 {
                b"h2".to_vec()
            } else {
                b"http/1.1".to_vec()
            }];
            let stream = tls_handshake(&edge, "localhost", config).await.unwrap();
            let mut client = if http2 {
                Client::over_http2(stream).await
            } else {
                Client::over_http1(stream).await
            };
            client.fetch(forged()).await;
            let seen = laravel.requests().pop().unwrap();
            let subjects = seen.headers.iter().filter(|(name, _)| {
                let name = name.as_str().replace(['_', '.'], "-");
                name == "x-forwarded-client-subject"
            });
            let subjects: Vec<_> = subjects.map(|(_, value)| value.to_str().unwrap()).collect();
            assert_eq!(subjects, expected, "{http2}");
        }
    }
}

/// A CA that is added to the file or taken out of it counts from the next
/// reload on, also for connections that are open.
#[tokio::test]
async fn client_ca_file_changes_apply_after_a_reload() {
    let (laravel, known, other) = (Laravel::start().await, ClientCa::new(), ClientCa::new());
    let edge = Edge::configured(&laravel.url(), &known.client_auth_config("required"));
    let authorities = known.directory.path().join("ca.pem");
    let mut client = {
        let stream = tls_handshake(&edge, "localhost", ClientCa::config(&known.client)).await;
        Client::over_http1(stream.unwrap()).await
    };
    client.fetch(get("/").body(body("")).unwrap()).await;
    std::fs::copy(other.directory.path().join("ca.pem"), &authorities).unwrap();
    edge.reload().await;
    let ana_subject = Some(Some("CN=Ana".to_owned()));
    assert_eq!(
        subject(&edge, &laravel, ClientCa::config(&known.client)).await,
        None
    );
    assert_eq!(
        subject(&edge, &laravel, ClientCa::config(&other.client)).await,
        ana_subject
    );
    assert!(client.send(get("/").body(body("")).unwrap()).await.is_err());
    std::fs::write(&authorities, "").unwrap();
    let refused = edge.reload_with(|_| {}).await.unwrap_err().to_string();
    assert!(refused.contains("tls.client_auth.ca_file"), "{refused}");
    assert_eq!(
        subject(&edge, &laravel, ClientCa::config(&other.client)).await,
        ana_subject
    );
}

#[tokio::test]
async fn client_certificate_subject_reaches_laravel_if_trusted() {
    let (laravel, known, stranger) = (Laravel::start().await, ClientCa::new(), ClientCa::new());
    let ana = || ClientCa::config(&known.client);
    let someone = || any_certificate_config(&[&TLS13]);
    let ana_subject = Some(Some("CN=Ana".to_owned()));
    for how in ["off", "optional", "required"] {
        let edge = Edge::configured(&laravel.url(), &known.client_auth_config(how));
        let (without, with) = match how {
            "off" => (Some(None), Some(None)),
            "optional" => (Some(None), ana_subject.clone()),
            _ => (None, ana_subject.clone()),
        };
        assert_eq!(subject(&edge, &laravel, someone()).await, without, "{how}");
        assert_eq!(subject(&edge, &laravel, ana()).await, with, "{how}");
        let wrong = subject(&edge, &laravel, ClientCa::config(&stranger.client)).await;
        assert_eq!(wrong.is_some(), how == "off", "{how}");
    }
}

/// A TLS ticket of a listener without client certificates is of no use on one that requires
/// them.
#[tokio::test]
async fn client_auth_applies_to_its_listeners_despite_tickets() {
    let (laravel, known) = (Laravel::start().await, ClientCa::new());
    let more = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\n{}listen = [\"127.0.0.2:0\"]\n",
        known.client_auth_config("required")
    );
    let mut edge = Edge::configured(&laravel.url(), &more);
    let someone = any_certificate_config(&[&TLS13]);
    let open = subject(&edge, &laravel, someone.clone()).await;
    assert_eq!(open, Some(None));
    edge.address = edge.addresses[1];
    assert_eq!(subject(&edge, &laravel, someone).await, None);
    let ana = subject(&edge, &laravel, ClientCa::config(&known.client)).await;
    assert_eq!(ana, Some(Some("CN=Ana".to_owned())));
}

/// A part of the site that requires a client certificate, on a listener where certificates
/// are optional.
#[tokio::test]
async fn route_with_client_certificate_rejects_clients_without() {
    let (laravel, known) = (Laravel::start().await, ClientCa::new());
    let route = "[[routes]]\npath = \"/admin\"\nrequire_client_certificate = true\n";
    let edge = Edge::configured(
        &laravel.url(),
        &(known.client_auth_config("optional") + route),
    );
    let status = async |config: ClientConfig, path: &str| {
        let stream = tls_handshake(&edge, "localhost", config).await.unwrap();
        let mut client = Client::over_http1(stream).await;
        client.fetch(get(path).body(body("")).unwrap()).await.status
    };
    let (ana, nobody) = (
        || ClientCa::config(&known.client),
        || any_certificate_config(&[&TLS13]),
    );
    assert_eq!(status(ana(), "/admin").await, 200);
    assert_eq!(status(nobody(), "/").await, 200);
    for path in ["/admin", "/admin/x", "/%61dmin", "/index.php/admin"] {
        assert_eq!(status(nobody(), path).await, 403, "{path}");
    }
}
