//! HTTP clients: over TLS to the edge, and over its Unix socket.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::HOST;
use hyper::http::request::Builder;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Edge;

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

pub(crate) fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that is sent piece by piece.
pub(crate) fn streamed() -> (mpsc::Sender<Bytes>, Body) {
    let (pieces, receiver) = mpsc::channel(1);
    let frames =
        futures_util::stream::unfold(receiver, |mut pieces: mpsc::Receiver<Bytes>| async {
            let piece = pieces.recv().await?;
            Some((Ok(Frame::data(piece)), pieces))
        });
    (pieces, BodyExt::boxed_unsync(StreamBody::new(frames)))
}

/// A request to the edge, ready to be given headers.
pub(crate) fn get(path: &str) -> Builder {
    Request::get(path).header(HOST, "localhost")
}

pub(crate) fn post(path: &str) -> Builder {
    Request::post(path).header(HOST, "localhost")
}

/// One connection to the edge.
pub(crate) enum Client {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Client {
    pub(crate) async fn http1(edge: &Edge) -> Self {
        Self::over_http1(connect(edge, "http/1.1").await.unwrap()).await
    }

    pub(crate) async fn over_http1<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self::Http1(sender)
    }

    pub(crate) async fn http2(edge: &Edge) -> Self {
        Self::over_http2(connect(edge, "h2").await.unwrap()).await
    }

    pub(crate) async fn over_http2(stream: TlsStream<TcpStream>) -> Self {
        let stream = TokioIo::new(stream);
        let handshake = http2::handshake(TokioExecutor::new(), stream).await;
        let (sender, connection) = handshake.unwrap();
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                // Over HTTP/2 the name travels in the target.
                let (mut parts, body) = request.into_parts();
                parts.headers.remove(HOST);
                let path = parts.uri.path_and_query().unwrap().clone();
                parts.uri = format!("https://localhost{path}").parse().unwrap();
                sender.ready().await?;
                sender.send_request(Request::from_parts(parts, body)).await
            }
        }
    }

    /// Sends, and reads the whole answer.
    pub(crate) async fn fetch(&mut self, request: Request<Body>) -> Answer {
        let response = self.send(request).await.unwrap();
        Answer::read(response).await
    }
}

/// An answer that was read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A TLS connection to the edge that offers one application protocol.
pub(crate) async fn connect(edge: &Edge, alpn: &str) -> std::io::Result<TlsStream<TcpStream>> {
    connect_with(edge, alpn, rustls::ALL_VERSIONS).await
}

pub(crate) async fn connect_with(
    edge: &Edge,
    alpn: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    connect_to(edge.address, &edge.certificate, alpn, versions).await
}

/// A TLS connection to an edge that shows `certificate`.
pub(crate) async fn connect_to(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    alpn: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    secure(stream, certificate, alpn, versions).await
}

/// TLS over a connection to such an edge.
pub(crate) async fn secure(
    stream: TcpStream,
    certificate: &CertificateDer<'static>,
    alpn: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

impl Edge {
    /// Sends a body to the edge's Unix socket.
    pub(crate) async fn post(&self, path: &str, json: impl Into<Bytes>) -> Answer {
        self.ask(post(path).body(body(json)).unwrap()).await
    }

    /// The same with more headers.
    pub(crate) async fn post_with(
        &self,
        path: &str,
        json: impl Into<Bytes>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(body(json)).unwrap()).await
    }

    /// Asks the edge's Unix socket.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(get(path).body(body("")).unwrap()).await
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let stream = UnixStream::connect(&self.broadcasts).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Answer::read(sender.send_request(request).await.unwrap()).await
    }

    /// Publishes, and expects that it was taken.
    pub(crate) async fn broadcast(&self, json: &str) -> Value {
        let answer = self.post("/broadcast", json.to_owned()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    }
}
