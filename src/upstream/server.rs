//! One server of the app: its connection pool, its health, and its active requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::health::{HealthState, ServerHealth};
use super::pool::Pool;
use super::{Error, Settings, Target};
use crate::core::error_chain::error_chain;

/// One server of an app.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) target: Arc<Target>,
    pub(super) pool: Pool,
    pub(super) health_state: HealthState,
    active_requests: Arc<AtomicUsize>,
}

/// A request that counts as active until this is dropped.
#[derive(Debug)]
pub(super) struct ActiveRequest(Arc<AtomicUsize>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Server {
    /// Creates a healthy server without connections.
    pub(super) fn new(target: &Target, settings: &Settings) -> Self {
        let target = Arc::new(target.clone());
        Self {
            pool: Pool::new(Arc::clone(&target), settings),
            health_state: HealthState::new(settings.max_fails.get(), settings.fail_timeout.get()),
            active_requests: Arc::default(),
            target,
        }
    }

    /// Counts a request as active until the guard is dropped, at the end of the response.
    pub(super) fn begin(&self) -> ActiveRequest {
        self.active_requests.fetch_add(1, Relaxed);
        ActiveRequest(Arc::clone(&self.active_requests))
    }

    /// Returns the number of requests whose response has not ended.
    pub(super) fn active_requests(&self) -> usize {
        self.active_requests.load(Relaxed)
    }

    /// Returns the server's health for status and metrics.
    pub(super) fn health(&self) -> ServerHealth {
        let (failure, skipped) = self.health_state.last_failure();
        ServerHealth {
            server: self.target.to_string(),
            is_contacted: self.health_state.is_contacted(),
            failure,
            skipped,
        }
    }

    /// Records a response. If the app has a single server, that is never marked down, and a
    /// change of its state is not logged.
    pub(super) fn record_response(&self, is_single: bool) {
        if self.health_state.record_response() && !is_single {
            tracing::info!(
                name: "upstream_marked_up",
                server = %self.target, "upstream server marked up"
            );
        }
    }

    /// Opens a connection, sends nothing, and records the result. It does not mark the server
    /// up or down.
    pub(super) async fn check_connection(&self) {
        match self.pool.connect().await {
            Ok(_) => {
                if self.health_state.record_connect_success() {
                    tracing::info!(
                        name: "upstream_reachable",
                        server = %self.target, "upstream server accepts connections"
                    );
                }
            }
            Err(error) => {
                let error = error_chain(&Error::from_connect(&self.target, error));
                if self.health_state.record_connect_failure(error.clone()) {
                    tracing::warn!(
                        name: "upstream_unreachable",
                        server = %self.target, error, "upstream server unreachable"
                    );
                }
            }
        }
    }

    /// Records a failure, unless it is the client's fault.
    pub(super) fn record_failure(&self, error: &Error, is_single: bool) {
        if error.is_client_error() {
            return;
        }
        let is_connect_error = error.is_connect_error();
        let error = error_chain(error);
        let is_marked_down = self
            .health_state
            .record_failure(error.clone(), is_connect_error);
        if is_marked_down && !is_single {
            tracing::warn!(
                name: "upstream_marked_down",
                server = %self.target, error, "upstream server marked down"
            );
        }
    }
}
