//! The way to the Laravel app behind the edge: one or several HTTP/1.1 servers
//! on TCP or on Unix sockets. Which of them is asked, what is asked again and
//! what never, and when there is no answer.

mod balance;
mod buffer;
mod connector;
mod error;
pub mod fastcgi;
mod health;
mod health_check;
mod ledger;
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
pub use self::buffer::{MAX_BUFFERED_RESPONSES, ReadBack};
pub use self::error::Error;
pub use self::health::{Health, ServerHealth};
pub use self::health_check::HealthChecks;
use self::ledger::Ledger;
use self::request_buffer::RequestBuffer;
pub use self::request_info::RequestInfo;
use self::retry::RetryingRequest;
pub use self::settings::{Balance, ProbePath, Settings};
pub use self::target::{Address, Protocol, Target, Targets};
use crate::core::body::Body;
use crate::core::client::ClientKey;
use crate::runtime::drain::Drain;
use crate::runtime::fair::{FairPermit, FairSemaphore};

/// Sends requests to the servers of one app. Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub struct Upstream(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    servers: Balancer,
    response_timeout: Duration,
    wait: Duration,
    /// Bodies on disk.
    disk: Ledger,
    /// For PHP.
    spool: Option<RequestBuffer>,
    /// Places at the app, if there is a bound.
    places: Option<FairSemaphore<ClientKey>>,
    response_buffers: Option<Arc<ResponseBuffers>>,
}

impl Upstream {
    /// Servers without a connection yet.
    pub fn new(settings: &Settings) -> Self {
        let disk = Ledger::new(settings.spool.get() as u64);
        let buffers = |size| Arc::new(ResponseBuffers::new(size, disk.clone()));
        Self(Arc::new(Shared {
            servers: Balancer::new(settings),
            response_timeout: settings.response_timeout.get(),
            wait: settings.wait.get(),
            spool: settings
                .root
                .is_some()
                .then(|| RequestBuffer::new(disk.clone())),
            places: settings
                .max_connections
                .map(|most| FairSemaphore::new(most.size())),
            response_buffers: settings.response_buffer_size.get().map(buffers),
            disk,
        }))
    }

    /// Whether requests are to have an [`RequestInfo`]: PHP is told of it, and its share of
    /// what there is for all is counted.
    pub fn wants_asker(&self) -> bool {
        self.0.spool.is_some() || self.0.places.is_some()
    }

    /// How each server is, as its last request or probe showed.
    pub fn health(&self) -> Health {
        let servers = self.0.servers.iter();
        Health {
            servers: servers.map(|server| server.health()).collect(),
        }
    }

    /// What asks the servers at intervals how they are, if `settings` want that.
    pub fn health_checks(&self, settings: &Settings) -> Option<HealthChecks> {
        HealthChecks::new(self.clone(), settings)
    }

    /// Bytes of request bodies and responses that are on disk.
    pub fn spooled(&self) -> u64 {
        self.0.disk.used()
    }

    /// Reads the response body `body` ahead if `client` takes it slowly, so that it
    /// does not occupy the application. Tasks for that are spawned through `drain`.
    /// A client without limits is none.
    pub fn buffer(&self, body: Body, client: Option<ClientKey>, drain: &Drain) -> Body {
        match &self.0.response_buffers {
            Some(buffers) if !body.is_end_stream() => buffers.wrap(body, client, drain),
            _ => body,
        }
    }

    /// Sends `request` and returns the answer as soon as its head is there; its
    /// body streams. Dropping the future or the body cancels the request at
    /// Laravel.
    ///
    /// While no server accepts a connection it waits, `wait` at most. What may
    /// have reached a server is sent once more only if its method is idempotent
    /// (RFC 9110 §9.2.2) and it has no body.
    ///
    /// # Errors
    /// No connection, no answer in time, or a broken one; see [`Error`]. A body for
    /// PHP is gathered before anything is sent.
    pub async fn send(&self, mut request: Box<Request<Body>>) -> Result<Response<Body>, Error> {
        *request.version_mut() = Version::HTTP_11;
        to_origin_form(request.uri_mut());
        if let Some(spool) = &self.0.spool {
            if has_encoded_slash(request.uri().path()) {
                return Err(Error::EncodedSlash);
            }
            request = Box::new(Box::pin(spool.gather(*request)).await?);
        }
        let place = self.place(request.extensions().get()).await?;
        let mut answer = RetryingRequest::new(&self.0, &request, place)
            .run(request)
            .await?;
        // The version is the connection's, not the message's (RFC 9110 §2.5): an
        // answer in HTTP/1.0 does not end the client's connection.
        *answer.version_mut() = Version::HTTP_11;
        Ok(answer)
    }
}

impl Upstream {
    /// A place at the app, once the request can be sent: one that is still gathered
    /// needs none.
    async fn place(
        &self,
        request_info: Option<&RequestInfo>,
    ) -> Result<Option<FairPermit<ClientKey>>, Error> {
        let Some(places) = &self.0.places else {
            return Ok(None);
        };
        let key = request_info.and_then(|request_info| request_info.key);
        let waiting = tokio::time::timeout(PLACE_TIMEOUT, places.acquire(key));
        waiting.await.map(Some).map_err(|_| Error::Busy)
    }
}

/// How long a request waits for a place: less than its connection may stand still, its
/// response included.
const PLACE_TIMEOUT: Duration = Duration::from_secs(8);

/// A server is told path and query alone (RFC 9112 §3.2.1).
fn to_origin_form(uri: &mut Uri) {
    if uri.scheme().is_some() || uri.authority().is_some() {
        let path = uri.path_and_query().cloned();
        *uri = path
            .unwrap_or_else(|| PathAndQuery::from_static("/"))
            .into();
    }
}

fn has_encoded_slash(path: &str) -> bool {
    let mut escapes = path.as_bytes().windows(3);
    escapes.any(|escape| escape.eq_ignore_ascii_case(b"%2f"))
}
