//! The client side of the proxy: sends requests to the Laravel app, over HTTP/1.1 or FastCGI,
//! to one or several servers on TCP or Unix sockets. It has the connection pool, load
//! balancing, retries, health checks, and the buffers for request and response bodies.

mod balance;
mod buffer;
mod byte_quota;
mod connector;
mod error;
pub mod fastcgi;
mod framing;
mod health;
mod health_check;
mod metrics;
mod pool;
mod request_buffer;
mod request_info;
mod retry;
mod server;
mod settings;
mod target;

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body as _;
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri, Version};

use self::balance::Balancer;
use self::buffer::ResponseBuffers;
pub(crate) use self::buffer::{MAX_BUFFERED_RESPONSES, ReadBack};
use self::byte_quota::Ledger;
pub(crate) use self::error::Error;
pub(crate) use self::health::{Health, ServerHealth};
pub(crate) use self::health_check::HealthChecks;
pub(crate) use self::metrics::Metrics;
use self::request_buffer::RequestBuffer;
pub(crate) use self::request_info::RequestInfo;
use self::retry::RetryingRequest;
pub(crate) use self::settings::{Balance, Settings};
pub(crate) use self::target::{Address, Protocol, Target, Targets};
use crate::core::body::Body;
use crate::core::client_ip::ClientKey;
use crate::runtime::drain::Drain;
use crate::runtime::fair_semaphore::{FairPermit, FairSemaphore};

/// A client of the servers of one app. Cheap to clone; clones share connections and health.
#[derive(Clone, Debug)]
pub(crate) struct Upstream(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    servers: Balancer,
    response_timeout: Duration,
    wait: Duration,
    /// The budget for request bodies and responses on disk.
    disk: Ledger,
    /// The buffer of request bodies; `None` unless the protocol is FastCGI.
    request_buffer: Option<RequestBuffer>,
    /// Permits for requests at the app, if `max_connections` is set.
    permits: Option<FairSemaphore<ClientKey>>,
    response_buffers: Option<Arc<ResponseBuffers>>,
}

impl Upstream {
    /// Creates a client without connections; the pool opens them when a request needs one.
    pub(crate) fn new(settings: &Settings) -> Self {
        let disk = Ledger::new(settings.disk_buffer_size.get() as u64);
        let buffers = |size| Arc::new(ResponseBuffers::new(size, disk.clone()));
        Self(Arc::new(Shared {
            servers: Balancer::new(settings),
            response_timeout: settings.response_timeout.get(),
            wait: settings.connect_retry_timeout.get(),
            request_buffer: settings
                .root
                .is_some()
                .then(|| RequestBuffer::new(disk.clone())),
            permits: settings
                .max_connections
                .map(|max| FairSemaphore::new(max.size())),
            response_buffers: settings.response_buffer_size.get().map(buffers),
            disk,
        }))
    }

    /// Returns whether requests need a [`RequestInfo`] extension: FastCGI passes it to PHP,
    /// and `max_connections` counts by its key.
    pub(crate) fn wants_asker(&self) -> bool {
        self.0.request_buffer.is_some() || self.0.permits.is_some()
    }

    /// Returns the health of each server, as its last requests and health checks showed it.
    pub(crate) fn health(&self) -> Health {
        let servers = self.0.servers.iter();
        Health {
            servers: servers.map(|server| server.health()).collect(),
        }
    }

    /// Returns the health checks to start.
    pub(crate) fn health_checks(&self, settings: &Settings) -> HealthChecks {
        HealthChecks::new(self.clone(), settings)
    }

    /// Returns the bytes of request bodies and responses that are on disk.
    pub(crate) fn spooled(&self) -> u64 {
        self.0.disk.used()
    }

    /// Returns the last failure to keep a body on disk, for a minute after it.
    pub(crate) fn spool_failure(&self) -> Option<String> {
        self.0.disk.failure()
    }

    /// Wraps the response body `body` so that the edge reads it ahead if `client` is slow,
    /// and the response does not occupy the application. It spawns tasks for that through
    /// `drain`. A client without limits has no key.
    pub(crate) fn buffer(&self, body: Body, client: Option<ClientKey>, drain: &Drain) -> Body {
        match &self.0.response_buffers {
            Some(buffers) if !body.is_end_stream() => buffers.wrap(body, client, drain),
            _ => body,
        }
    }

    /// Sends `request` and returns the response as soon as its head has arrived; the body
    /// streams. Dropping the future or the body aborts the request at Laravel.
    ///
    /// The edge retries for at most `wait` while no server accepts a connection. It repeats a
    /// request that a server may have read only as `retry` says. A request body for PHP is
    /// read completely before anything is sent.
    ///
    /// # Errors
    /// - [`Error::Connect`], [`Error::ConnectTimeout`] or [`Error::Closed`] if no server
    ///   accepted a connection
    /// - [`Error::Busy`] or [`Error::Overloaded`] if the app has too many requests
    /// - [`Error::ResponseTimeout`] if the head of the response is late
    /// - [`Error::Protocol`] if the connection is lost or the response is malformed
    /// - [`Error::TooLarge`], [`Error::TooSlow`] or [`Error::Client`] if the client's body is
    ///   at fault
    /// - [`Error::Spool`] if the body cannot be buffered on disk
    pub(crate) async fn send(&self, request: Box<Request<Body>>) -> Result<Response<Body>, Error> {
        self.send_with(request, || {}).await
    }

    /// Like [`Upstream::send`], and calls `on_start` when the application has a place for the
    /// request: the time in the queue of `max_connections` is not that of the application.
    ///
    /// # Errors
    /// As [`Upstream::send`]. `on_start` is not called before [`Error::Busy`].
    pub(crate) async fn send_with(
        &self,
        mut request: Box<Request<Body>>,
        on_start: impl FnOnce(),
    ) -> Result<Response<Body>, Error> {
        *request.version_mut() = Version::HTTP_11;
        to_origin_form(request.uri_mut());
        if let Some(buffer) = &self.0.request_buffer {
            request = Box::new(Box::pin(buffer.gather(*request)).await?);
        } else {
            framing::declare_body(&mut request);
        }
        let permit = self.acquire_permit(request.extensions().get()).await?;
        on_start();
        let mut response = RetryingRequest::new(&self.0, &request, permit)
            .run(request)
            .await?;
        // The version belongs to the connection, not to the message (RFC 9110 §2.5): a
        // response in HTTP/1.0 must not end the client's connection.
        *response.version_mut() = Version::HTTP_11;
        Ok(response)
    }
}

impl Upstream {
    /// Waits for a permit to occupy the app; `None` if there is no bound. It comes after the
    /// request body is complete, so that a slow upload holds no permit.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] after [`PERMIT_TIMEOUT`].
    async fn acquire_permit(
        &self,
        request_info: Option<&RequestInfo>,
    ) -> Result<Option<FairPermit<ClientKey>>, Error> {
        let Some(permits) = &self.0.permits else {
            return Ok(None);
        };
        let key = request_info.and_then(|request_info| request_info.key);
        tokio::time::timeout(PERMIT_TIMEOUT, permits.acquire(key))
            .await
            .map(Some)
            .map_err(|_| Error::Busy)
    }
}

/// The time that a request waits for a permit. The edge closes a client's connection that
/// makes no progress much later, so the client still gets the response.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(8);

/// Reduces the request target to path and query, the origin form (RFC 9112 §3.2.1).
fn to_origin_form(uri: &mut Uri) {
    if uri.scheme().is_some() || uri.authority().is_some() {
        *uri = uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"))
            .into();
    }
}
