//! The state of the process that outlives every configuration: rooms, sessions, metrics,
//! limits that cannot be resized, and the drain.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::server::ProducesTickets;
use tokio::time::Instant;

use super::Error;
use super::metrics::AllMetrics;
use crate::auth::Invalidations;
use crate::config::Config;
use crate::core::ids::SessionIds;
use crate::introspection::{ListenAddresses, ReloadFailure};
use crate::limit::{ClientConcurrency, ConcurrencyLimit, OverloadMonitor};
use crate::logging::{self, RecentEvents};
use crate::rooms::{PastRequest, Rooms, Sessions};
use crate::runtime::drain::Drain;
use crate::runtime::watchdog::Watchdog;

/// Facts about the start of the process, which `status` reports.
#[derive(Clone, Debug, Default)]
pub struct StartInfo {
    /// The path of the configuration file.
    pub(crate) config: Option<PathBuf>,
    /// The last warnings and errors of the log.
    pub(crate) recent: RecentEvents,
    /// The metrics of the log.
    pub(crate) log_metrics: logging::Metrics,
}

/// The state of the process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) rooms: Arc<Rooms>,
    pub(super) sessions: Sessions,
    pub(super) ids: Arc<SessionIds>,
    pub(super) invalidations: Invalidations,
    pub(super) metrics: AllMetrics,
    pub(super) connections: ConcurrencyLimit,
    pub(super) load: OverloadMonitor,
    /// The limit of concurrent TLS handshakes.
    pub(super) handshakes: ConcurrencyLimit,
    /// The number of WebSocket sessions of each client.
    pub(super) shares: ClientConcurrency,
    /// The issuer of session tickets, which stay valid across a reload.
    pub(super) ticketer: Arc<dyn ProducesTickets>,
    pub(super) drain: Drain,
    pub(super) watchdog: Watchdog,
    pub(super) origin: StartInfo,
    pub(super) start: Instant,
    /// The time of the start by the system's clock.
    pub(super) began: SystemTime,
    /// Counts the generations in use: each holds a reference.
    pub(super) used: Arc<()>,
    /// The addresses of the listeners.
    pub(super) listeners: ListenAddresses,
    pub(super) reload_failure: ReloadFailure,
}

impl Process {
    /// Creates the state from the settings that only a restart changes. Also returns the
    /// requests of Laravel that an earlier process has published.
    ///
    /// # Errors
    /// Returns [`Error::Tickets`] if the system provides no randomness for session tickets, and
    /// [`Error::History`] if the event log cannot be used.
    pub(super) fn new(
        config: &Config,
        origin: StartInfo,
        listeners: ListenAddresses,
    ) -> Result<(Self, Vec<PastRequest>), Error> {
        let limits = &config.limits;
        let connections = ConcurrencyLimit::new(limits.max_connections);
        let drain = Drain::new();
        let (rooms, past_requests) = Rooms::open(
            config.rooms.clone(),
            config.history.clone(),
            &config.broadcast.watermark(),
            drain.clone(),
        )?;
        let process = Self {
            sessions: Sessions::new(rooms.parked().cloned(), rooms.next_offset()),
            rooms,
            ids: Arc::new(SessionIds::new()),
            invalidations: Invalidations::new(),
            metrics: AllMetrics::default(),
            load: OverloadMonitor::new(connections.clone(), limits.max_connections),
            connections,
            handshakes: ConcurrencyLimit::new(limits.max_handshakes),
            shares: ClientConcurrency::default(),
            ticketer: crate::tls::ticketer()?,
            drain,
            watchdog: Watchdog::default(),
            origin,
            start: Instant::now(),
            began: SystemTime::now(),
            used: Arc::default(),
            listeners,
            reload_failure: ReloadFailure::default(),
        };
        Ok((process, past_requests))
    }
}
