//! Active health checks: a request to each server of the app at an interval. Without a path for
//! them, a connection at start and while a failure is reported.

use std::time::Duration;

use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};

use super::pool::ExchangeError;
use super::server::Server;
use super::settings::HealthCheckPath;
use super::{Error, Settings, Upstream};
use crate::core::body::{self, Body};
use crate::core::error_chain::error_chain;
use crate::runtime::drain::Drain;

/// The health checks of one app. Each check opens a connection of its own, so it also shows
/// whether the server accepts new ones.
#[derive(Clone, Debug)]
pub(crate) struct HealthChecks {
    upstream: Upstream,
    /// The path of the requests; `None`: only connections.
    path: Option<Uri>,
    interval: Duration,
    timeout: Duration,
}

impl HealthChecks {
    /// Creates the health checks.
    pub(super) fn new(upstream: Upstream, settings: &Settings) -> Self {
        let path = settings.health_check_path.as_ref();
        Self {
            upstream,
            path: path.map(HealthCheckPath::uri),
            interval: settings.health_check_interval.get(),
            timeout: settings.health_check_timeout.get(),
        }
    }

    /// Starts a task for each server through `drain`; the tasks end when `drain` stops.
    pub(crate) fn start(self, drain: &Drain) {
        for index in 0..self.upstream.0.servers.iter().len() {
            let (checks, token) = (self.clone(), drain.token().clone());
            drain.spawn(async move {
                let server = &checks.upstream.0.servers.iter().as_slice()[index];
                token.run_until_cancelled(checks.watch(server)).await;
            });
        }
    }

    async fn watch(&self, server: &Server) {
        loop {
            match &self.path {
                Some(path) => self.probe(server, path).await,
                None if server.health_state.needs_connect_check() => {
                    server.check_connection().await;
                }
                None => {}
            }
            tokio::time::sleep(self.interval).await;
        }
    }

    /// Sends a request and records its result.
    async fn probe(&self, server: &Server, path: &Uri) {
        let result = tokio::time::timeout(self.timeout, exchange(server, path))
            .await
            .unwrap_or_else(|_| {
                let seconds = self.timeout.as_secs_f32();
                Err(format!("no response within {seconds} s"))
            });
        record(server, path, result);
    }
}

async fn exchange(server: &Server, path: &Uri) -> Result<(), String> {
    let mut conn = server
        .pool
        .connect()
        .await
        .map_err(|error| error_chain(&Error::from_connect(&server.target, error)))?;
    let response = conn.exchange(Box::new(request(server, path))).await;
    match response.map(|response| response.status()) {
        Ok(status) if status.is_success() || status.is_redirection() => Ok(()),
        Ok(status) => Err(status_error(status)),
        Err(ExchangeError::Unsent(_, error) | ExchangeError::Sent { error, .. }) => {
            Err(error_chain(&Error::from_exchange(&server.target, error)))
        }
    }
}

fn request(server: &Server, path: &Uri) -> Request<Body> {
    let mut request = Request::new(body::empty());
    *request.uri_mut() = path.clone();
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(server.target.host()) {
        headers.insert(HOST, host);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    request
}

fn record(server: &Server, path: &Uri, result: Result<(), String>) {
    match result {
        Ok(()) => {
            if server.health_state.record_probe_success() {
                tracing::info!(
                    name: "upstream_marked_up",
                    server = %server.target, "upstream server marked up"
                );
            }
        }
        Err(reason) => {
            let error = format!("{}, health check {path}: {reason}", server.target);
            if server.health_state.record_probe_failure(error.clone()) {
                tracing::warn!(
                    name: "upstream_marked_down",
                    server = %server.target, error, "upstream server marked down"
                );
            }
        }
    }
}

fn status_error(status: StatusCode) -> String {
    format!("responded with {}", status.as_u16())
}

const USER_AGENT_VALUE: &str = concat!("pwd-edge/", env!("CARGO_PKG_VERSION"));
