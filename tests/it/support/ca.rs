//! An ACME server that answers as a test wants it to. It checks nothing; for one
//! that does there is `pebble`.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::tls::TestCertificate;

/// A request to the CA: the path, and the payload.
pub(crate) type AcmeRequest = (String, Value);

/// Answers for itself; none: as an ACME server does it.
type Script = dyn Fn(&AcmeRequest) -> Option<Response<Full<Bytes>>> + Send + Sync;

/// The server; clones are one.
#[derive(Clone)]
pub(crate) struct Ca(Arc<State>);

struct State {
    directory: TempDir,
    port: u16,
    script: Mutex<Arc<Script>>,
    requests: Mutex<Vec<AcmeRequest>>,
}

/// A problem (RFC 8555 §6.7).
pub(crate) fn acme_problem(status: u16, kind: &str) -> hyper::http::response::Builder {
    Response::builder()
        .status(status)
        .header("Content-Type", "application/problem+json")
        .header("Test-Problem", kind)
}

impl Ca {
    /// One that answers by `script`.
    pub(crate) async fn start(
        script: impl Fn(&AcmeRequest) -> Option<Response<Full<Bytes>>> + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let own = TestCertificate::for_names(&["localhost"]);
        own.write(directory.path(), "ca");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
            );
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ca = Self(Arc::new(State {
            directory,
            port: listener.local_addr().unwrap().port(),
            script: Mutex::new(Arc::new(script)),
            requests: Mutex::default(),
        }));
        let serving = ca.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (ca, acceptor) = (serving.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    let answer = service_fn(|request| ca.answer(request));
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        });
        ca
    }

    /// Answers by another script from now on.
    pub(crate) fn set_script(
        &self,
        script: impl Fn(&AcmeRequest) -> Option<Response<Full<Bytes>>> + Send + Sync + 'static,
    ) {
        *self.0.script.lock() = Arc::new(script);
    }

    /// Returns the `[tls.acme]` of an edge that uses this CA.
    pub(crate) fn config(&self) -> String {
        let mut text = String::new();
        let directory = self.0.directory.path().display();
        write!(
            text,
            "[tls.acme]\ndomains = [\"desk.example\"]\nterms_of_service_agreed = true\n\
             retry_interval = \"10ms\"\nchallenge = \"tls-alpn-01\"\n\
             directory = \"{}\"\ndirectory_ca_file = \"{directory}/ca.crt\"\n\
             storage = \"{directory}/state\"\n",
            self.url("dir"),
        )
        .unwrap();
        text
    }

    /// Puts `certificate` and an account where the edge keeps what it was given.
    pub(crate) fn store(&self, certificate: &TestCertificate) {
        let state = self.0.directory.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let pem = format!("{}{}", certificate.key, certificate.certificate);
        std::fs::write(state.join("certificate.pem"), pem).unwrap();
        let key = KeyPair::generate().unwrap().serialize_der();
        let account = json!({ "directory": self.url("dir"), "credentials": {
            "id": self.url("account"),
            "key_pkcs8": URL_SAFE_NO_PAD.encode(key),
            "directory": self.url("dir"),
        }});
        std::fs::write(state.join("account.json"), account.to_string()).unwrap();
    }

    /// Returns the payloads of all requests whose path begins with `path`.
    pub(crate) fn requests(&self, path: &str) -> Vec<Value> {
        let requests = self.0.requests.lock();
        let these = requests.iter().filter(|(at, _)| at.starts_with(path));
        these.map(|(_, what)| what.clone()).collect()
    }

    /// Waits until there were `times` requests to `path`.
    pub(crate) async fn wait_for_requests(&self, path: &str, times: usize) {
        while self.requests(path).len() < times {
            tokio::task::yield_now().await;
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.0.port)
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let signed: Value = serde_json::from_slice(&body).unwrap_or_default();
        let payload = signed["payload"].as_str().unwrap_or_default();
        let payload = URL_SAFE_NO_PAD.decode(payload).unwrap();
        let payload = serde_json::from_slice(&payload).unwrap_or_default();
        let request = (head.uri.path().to_owned(), payload);
        let script = Arc::clone(&self.0.script.lock());
        let mut answer =
            script(&request).unwrap_or_else(|| self.default_response(&head.method, &request.0));
        self.0.requests.lock().push(request);
        if let Some(kind) = answer.headers_mut().remove("Test-Problem") {
            let kind = format!("urn:ietf:params:acme:error:{}", kind.to_str().unwrap());
            let problem = json!({ "type": kind, "detail": "as the test wants it" });
            *answer.body_mut() = Full::from(problem.to_string());
        }
        let nonce = "bm9uY2U".parse().unwrap();
        answer.headers_mut().insert("Replay-Nonce", nonce);
        Ok(answer)
    }

    fn default_response(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let content = match path {
            "/dir" => json!({
                "newNonce": self.url("nonce"),
                "newAccount": self.url("account"),
                "newOrder": self.url("order"),
                "renewalInfo": self.url("renewal"),
            }),
            _ => json!({}),
        };
        assert!(path != "/order" && path != "/renewal", "{method} {path}");
        let answer = Response::builder().header("Location", self.url("account"));
        answer.body(Full::from(content.to_string())).unwrap()
    }
}
