//! Requests to the running edge over its Unix socket.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

use super::args::Edge;
use super::{Failure, counted, plain};
use crate::config::{self, ControlSocket};
use crate::logging;

/// A blocking HTTP client for the control socket of one edge.
pub(super) struct ControlClient {
    socket: PathBuf,
    runtime: Runtime,
}

impl ControlClient {
    /// Returns a client for the socket that `--socket` or the configuration names. Does not
    /// connect yet. Mistakes in the configuration are only a warning.
    ///
    /// # Errors
    /// The configuration cannot be read, or the runtime cannot start.
    pub(super) fn new(edge: &Edge) -> Result<Self, Failure> {
        let socket = match &edge.socket {
            Some(socket) => socket.clone(),
            None => configured_socket(edge)?,
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self {
            socket,
            runtime: runtime.map_err(Failure::unreachable)?,
        })
    }

    /// Sends `GET path` and returns the JSON body of the response.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::GET, path, String::new())
    }

    /// Sends `POST path` with a JSON body and returns the JSON body of the response.
    ///
    /// # Errors
    /// As for [`Self::request`].
    pub(super) fn post(&self, path: &str, json: String) -> Result<Value, Failure> {
        self.request(Method::POST, path, json)
    }

    /// Sends one request and waits at most [`REQUEST_TIMEOUT`] for its response.
    ///
    /// # Errors
    /// - Usage: the edge rejects the arguments (400 or 413).
    /// - Unreachable: the connection fails, the timeout expires, the response is not JSON, or
    ///   it has another status than 2xx.
    fn request(&self, method: Method, path: &str, json: String) -> Result<Value, Failure> {
        let exchange = self.exchange(method, path, json);
        let exchange = async { tokio::time::timeout(REQUEST_TIMEOUT, exchange).await };
        let response = self.runtime.block_on(exchange).unwrap_or_else(|_| {
            let seconds = REQUEST_TIMEOUT.as_secs();
            Err(anyhow!("no response from the edge within {seconds} s"))
        });
        let (status, response) = response.map_err(Failure::unreachable)?;
        if status.is_success() {
            return Ok(response);
        }
        let message = plain(&response["message"]);
        let error = anyhow!("the edge rejected the request: {message}");
        Err(match status {
            // The request is built from the arguments, so the user must correct those.
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Failure::usage(error),
            _ => Failure::unreachable(error),
        })
    }

    /// Sends one request on a new connection; returns the status and the JSON body.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        json: String,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| {
            let socket = self.socket.display();
            anyhow!("cannot connect to {socket}: {error}; {}", advice(&error))
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "edge")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(json)))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        };
        tokio::pin!(exchange);
        let (status, body) = tokio::select! {
            response = &mut exchange => response?,
            // The connection may finish first; the exchange then completes from the data that
            // was received.
            ended = connection => {
                ended?;
                exchange.await?
            }
        };
        let response = serde_json::from_slice(&body)
            .context("the response is not JSON; is this the socket of the edge?")?;
        Ok((status, response))
    }
}

/// Returns the socket that the configuration names, and warns of mistakes in the file.
///
/// # Errors
/// The file cannot be read.
fn configured_socket(edge: &Edge) -> Result<PathBuf, Failure> {
    let file = edge.config.path();
    let socket = ControlSocket::load(file).map_err(|error| match error {
        config::Error::Read { path, source } => Failure::usage(anyhow!(
            "cannot read {}: {source}; name the file with --config, or the socket with --socket",
            path.display()
        )),
        error => Failure::usage(error),
    })?;
    let file = file.display();
    if socket.mistakes > 0 {
        let mistakes = counted(&socket.mistakes.into(), "mistake");
        logging::print_warning(&format!(
            "{file} has {mistakes}; run `pwd-edge check --config {file}`"
        ));
    }
    Ok(socket.path)
}

/// Returns a hint for the user on how to cure a failed connection.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "does the edge run (`systemctl status pwd-edge`), and with this configuration?"
        }
        io::ErrorKind::PermissionDenied => {
            "run the command as root, or as a user that may open the socket"
        }
        _ => "is this the socket of the edge?",
    }
}

/// Time limit for one request: connect, send and read the whole response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
