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
    /// Whether `--socket` names the socket.
    is_socket_given: bool,
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
            is_socket_given: edge.socket.is_some(),
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
    /// - Unreachable: the connection fails, the timeout expires, or the response is not JSON.
    ///   If it has another status than 2xx, the cause is a [`Rejected`].
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
        Err(match status {
            // The request is built from the arguments, so the user must correct those.
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
                Failure::usage(Rejected(message))
            }
            StatusCode::FORBIDDEN => Failure::unreachable(Rejected(format!(
                "{message}; add this id there and reload the edge, or run the command as a user \
                 whose id is there"
            ))),
            _ => Failure::unreachable(Rejected(message)),
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
            let advice = self.advice(&error);
            anyhow!("cannot connect to {socket}: {error}; {advice}")
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

    /// Returns a hint for the user on how to cure a failed connection.
    fn advice(&self, error: &io::Error) -> &'static str {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused if self.is_socket_given => {
                "does the edge run (`systemctl status pwd-edge`), and is this its broadcast.socket?"
            }
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "does the edge run (`systemctl status pwd-edge`), and with this configuration?"
            }
            io::ErrorKind::PermissionDenied => {
                "run the command as root, or as a user that may open the socket"
            }
            _ => "is this the socket of the edge?",
        }
    }
}

/// The edge responded, and rejected the request for this reason.
#[derive(Debug, thiserror::Error)]
#[error("the edge rejected the request: {0}")]
pub(super) struct Rejected(String);

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
    if let Some(problem) = &socket.problem {
        let file = file.display();
        let problem = match problem {
            config::Error::Encoding { .. } => problem.to_string(),
            config::Error::Mistakes(diagnostics) => mistakes(&file, diagnostics.all().len()),
            config::Error::Read { .. } | config::Error::Exposed { .. } => mistakes(&file, 1),
        };
        let path = socket.path.display();
        let assumed = if socket.is_assumed {
            format!("; the command uses the default socket {path}")
        } else {
            String::new()
        };
        logging::print_warning(&format!("{problem}{assumed}"));
    }
    Ok(socket.path)
}

/// Returns the warning about a `file` with mistakes.
fn mistakes(file: &dyn std::fmt::Display, number: usize) -> String {
    let mistakes = counted(&number.into(), "mistake");
    format!("{file} has {mistakes}; run `pwd-edge check --config {file}`")
}

/// Time limit for one request: connect, send and read the whole response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
