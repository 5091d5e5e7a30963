//! The parts of the configuration that sessions use for requests to Laravel. A session of any
//! age uses those of the configuration in use.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::upload::Uploads;
use crate::auth::{AppKey, Authenticator, Authorizer};
use crate::limit::Limits;

/// The parts of one configuration that sessions use for each request to Laravel.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Identifies the bearer of a token.
    pub(crate) identity: Authenticator,
    /// Decides which tickets a user may see.
    pub(crate) access: Authorizer,
    /// Registers uploads and sends them to Laravel.
    pub(crate) uploads: Uploads,
    /// The time for which a request is retried while Laravel is unavailable.
    pub(crate) retry_timeout: Duration,
    /// The application of Pusher clients, unless that protocol is off.
    pub(crate) pusher: Option<Arc<AppKey>>,
    /// The limits per client.
    pub(crate) limits: Arc<Limits>,
}

/// The [`Backend`] in use. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct CurrentBackend(Arc<ArcSwap<Backend>>);

impl CurrentBackend {
    /// Puts the first `backend` in use.
    pub(crate) fn new(backend: Arc<Backend>) -> Self {
        Self(Arc::new(ArcSwap::new(backend)))
    }

    /// Returns the backend in use. Not to be kept beyond one request: a reload replaces it.
    pub(crate) fn get(&self) -> Arc<Backend> {
        self.0.load_full()
    }

    /// Puts `backend` in use, for all sessions at once.
    pub(crate) fn replace(&self, backend: Arc<Backend>) {
        self.0.store(backend);
    }
}
