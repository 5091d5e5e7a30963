//! One server of the app: its connections, its record, its load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::health::{HealthState, ServerHealth};
use super::pool::Pool;
use super::{Error, Settings, Target};
use crate::core::error_chain::error_chain;

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) target: Arc<Target>,
    pub(super) pool: Pool,
    pub(super) health_state: HealthState,
    under_way: Arc<AtomicUsize>,
}

/// Counts a request as under way until it is dropped.
#[derive(Debug)]
pub(super) struct ActiveRequest(Arc<AtomicUsize>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Server {
    pub(super) fn new(target: &Target, settings: &Settings) -> Self {
        let target = Arc::new(target.clone());
        Self {
            pool: Pool::new(Arc::clone(&target), settings),
            health_state: HealthState::new(
                settings.max_failures.get(),
                settings.fail_timeout.get(),
            ),
            under_way: Arc::default(),
            target,
        }
    }

    /// One request more, from now until the end of its answer.
    pub(super) fn begin(&self) -> ActiveRequest {
        self.under_way.fetch_add(1, Relaxed);
        ActiveRequest(Arc::clone(&self.under_way))
    }

    /// Requests whose answer has not ended.
    pub(super) fn active_requests(&self) -> usize {
        self.under_way.load(Relaxed)
    }

    pub(super) fn health(&self) -> ServerHealth {
        let (failure, skipped) = self.health_state.last_failure();
        ServerHealth {
            server: self.target.to_string(),
            failure,
            skipped,
        }
    }

    /// Notes an answer. `alone`: there is no other server, so none is skipped.
    pub(super) fn record_response(&self, alone: bool) {
        if self.health_state.record_response() && !alone {
            tracing::info!(
                name: "upstream_marked_up",
                server = %self.target, "upstream server marked up"
            );
        }
    }

    /// Notes a failure; what is the client's fault tells nothing.
    pub(super) fn record_failure(&self, error: &Error, alone: bool) {
        if error.is_client_error() {
            return;
        }
        let error = error_chain(error);
        if self.health_state.record_failure(error.clone()) && !alone {
            tracing::warn!(
                name: "upstream_marked_down",
                server = %self.target, error, "upstream server marked down"
            );
        }
    }
}
