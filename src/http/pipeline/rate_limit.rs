//! The stage that limits the rates of each client: of all its requests, and of those on a
//! route with a rate of its own.

use std::sync::Arc;

use super::request_context::RequestContext;
use super::routes::Route;
use crate::http::Rejection;
use crate::limit::Limits;

/// Limits the rates of requests.
#[derive(Debug)]
pub(super) struct RateLimit {
    limits: Arc<Limits>,
}

impl RateLimit {
    /// Creates the stage of `limits`.
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        Self { limits }
    }

    /// Counts a request of the client.
    ///
    /// # Errors
    /// Returns `Over` if the client is over its rate of requests.
    pub(super) fn check_request(&self, context: &RequestContext<'_>) -> Result<(), Rejection> {
        self.limits
            .check_request(context.client())
            .map_err(Rejection::Over)
    }

    /// Counts a request of the client on `route`, if the route has a rate.
    ///
    /// # Errors
    /// Returns `Over` if the client is over the rate of the route.
    pub(super) fn check_route(
        &self,
        context: &RequestContext<'_>,
        route: &Route,
    ) -> Result<(), Rejection> {
        let Some(rate) = &route.rate else {
            return Ok(());
        };
        self.limits
            .check_route(rate, context.client())
            .map_err(Rejection::Over)
    }

    /// Frees the state of clients whose limits have recovered completely.
    pub(super) fn forget_idle(&self) {
        self.limits.forget_idle();
    }
}
