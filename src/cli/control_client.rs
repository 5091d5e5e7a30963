//! Questions to the edge that runs, over its Unix socket.

use std::io;
use std::path::{Path, PathBuf};
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

use super::{Failure, plain};
use crate::config::Config;

/// The socket of the edge that the configuration describes.
pub(super) struct ControlClient {
    path: PathBuf,
    runtime: Runtime,
}

impl ControlClient {
    /// Of the configuration at `path`.
    pub(super) fn from_config(path: &Path) -> Result<Self, Failure> {
        let config = Config::load(path).map_err(Failure::usage)?;
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self {
            path: config.broadcast.socket,
            runtime: runtime.map_err(Failure::unreachable)?,
        })
    }

    /// Asks `GET path`.
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::GET, path, String::new())
    }

    /// Asks `POST path` with JSON.
    pub(super) fn post(&self, path: &str, json: String) -> Result<Value, Failure> {
        self.request(Method::POST, path, json)
    }

    /// Sends one request and returns the JSON of a successful response.
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
            // The arguments of the command made this request.
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Failure::usage(error),
            _ => Failure::unreachable(error),
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        json: String,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let stream = UnixStream::connect(&self.path).await;
        let stream = stream.map_err(|error| {
            anyhow!(
                "cannot connect to {}: {error}; {}",
                self.path.display(),
                advice(&error)
            )
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "edge")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(json)))?;
        let asking = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        };
        tokio::pin!(asking);
        let (status, body) = tokio::select! {
            answer = &mut asking => answer?,
            ended = connection => {
                ended?;
                asking.await?
            }
        };
        let response = serde_json::from_slice(&body)
            .context("the response is not JSON; is this the edge's socket?")?;
        Ok((status, response))
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "does it run? `systemctl status pwd-edge` tells; is this its configuration?"
        }
        io::ErrorKind::PermissionDenied => "ask as root, or as a user that broadcast.mode lets in",
        _ => "is it the edge's socket?",
    }
}

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
