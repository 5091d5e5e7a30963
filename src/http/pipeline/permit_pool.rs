//! Permits for requests that may hold a file descriptor for as long as the client reads:
//! requests in flight to an upstream, and open files.

use std::sync::Arc;
use std::time::Duration;

use crate::core::client_ip::ClientIp;
use crate::http::Rejection;
use crate::limit::{ConcurrencyLimit, Limit, LimitExceeded, Limits, Permit};

/// A number of permits in total, of which each client has a limited share.
#[derive(Debug)]
pub(super) struct PermitPool {
    total: ConcurrencyLimit,
    limits: Arc<Limits>,
}

impl PermitPool {
    /// Creates the pool of `total`. `limits` has the share of each client.
    pub(super) fn new(total: ConcurrencyLimit, limits: Arc<Limits>) -> Self {
        Self { total, limits }
    }

    /// Waits for a permit of `client`. Cancel-safe.
    ///
    /// # Errors
    /// Returns `Over` if the client has its maximum, and `Busy` if no permit becomes free
    /// in time.
    pub(super) async fn acquire(&self, client: ClientIp) -> Result<Permit, Rejection> {
        let keys = self.limits.keys(client);
        let most = self.limits.settings().max_requests_in_flight_per_client;
        let over = LimitExceeded::new(Limit::MaxRequestsInFlightPerClient, RETRY_AFTER);
        let client_permit = self
            .limits
            .acquire_share(client, keys, over, |keys| self.total.share(keys, most))
            .map_err(Rejection::Over)?;
        let slot = self.total.acquire_slot_within(QUEUE_TIMEOUT, keys).await;
        Ok(self
            .total
            .permit(client_permit, slot.ok_or(Rejection::Busy)?))
    }
}

/// The time after which one of the client's own requests may have ended.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The time that a request waits for a permit.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(3);
