//! What sessions ask Laravel with: always that of the configuration in use, however
//! old the session is.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::upload::Uploads;
use crate::auth::{Authenticator, Authorizer};
use crate::limit::Limits;

/// The parts of one configuration that sessions use at each request to Laravel.
#[derive(Debug)]
pub struct Backend {
    /// Who the bearer of a token is.
    pub identity: Authenticator,
    /// Which tickets a user may see.
    pub access: Authorizer,
    /// Where uploads go.
    pub uploads: Uploads,
    /// How long a client waits while Laravel cannot be asked.
    pub patience: Duration,
    /// What each client may do.
    pub limits: Arc<Limits>,
}

/// The [`Backend`] in use. Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub struct CurrentBackend(Arc<ArcSwap<Backend>>);

impl CurrentBackend {
    /// Starts with `backend`.
    pub fn new(backend: Arc<Backend>) -> Self {
        Self(Arc::new(ArcSwap::new(backend)))
    }

    /// Returns the one in use, for one request: a reload may replace it.
    pub fn get(&self) -> Arc<Backend> {
        self.0.load_full()
    }

    /// Puts `backend` in use, for all sessions at once.
    pub fn replace(&self, backend: Arc<Backend>) {
        self.0.store(backend);
    }
}
