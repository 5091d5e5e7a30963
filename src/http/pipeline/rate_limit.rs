//! The stage that limits the rates of each client: of all its requests, and of those on a
//! route with a rate of its own. A page with more files than the burst loads more slowly, and
//! is not rejected.

use std::sync::Arc;

use super::request_context::RequestContext;
use super::routes::Route;
use crate::http::Rejection;
use crate::limit::{Limits, RequestCost};

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

    /// Counts a request of the client, and delays it if the client is above its burst.
    ///
    /// # Errors
    /// Returns `Over` if the client is so far over its rate of requests that the delay would be
    /// too long.
    pub(super) async fn admit(
        &self,
        context: &RequestContext<'_>,
        cost: RequestCost,
    ) -> Result<(), Rejection> {
        let checked = self.limits.check_request(context.client(), cost);
        let delay = checked.map_err(Rejection::Over)?;
        if !delay.is_zero() {
            // Boxed: most requests are not delayed, and their futures need no timer.
            Box::pin(tokio::time::sleep(delay)).await;
        }
        Ok(())
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
