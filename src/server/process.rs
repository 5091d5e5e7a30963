//! What is made once and outlives every reading of the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::server::ProducesTickets;
use tokio::time::Instant;

use crate::auth::Invalidations;
use crate::config::Config;
use crate::core::ids::SessionIds;
use crate::limit::{ClientConcurrency, ConcurrencyLimit, OverloadMonitor};
use crate::logging::RecentEvents;
use crate::metrics::{Counter, Metrics};
use crate::rooms::{Rooms, Sessions};
use crate::runtime::drain::Drain;
use crate::runtime::watchdog::Watchdog;

/// Who starts a server, and from what: for those who ask it later.
#[derive(Clone, Debug, Default)]
pub struct StartInfo {
    /// The configuration's file.
    pub config: Option<PathBuf>,
    /// What the log last complained of.
    pub recent: RecentEvents,
    /// Lines of the log that were lost because nobody read them.
    pub lost_lines: Arc<Counter>,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) rooms: Arc<Rooms>,
    pub(super) sessions: Sessions,
    pub(super) ids: Arc<SessionIds>,
    pub(super) invalidations: Invalidations,
    pub(super) metrics: Arc<Metrics>,
    pub(super) connections: ConcurrencyLimit,
    pub(super) load: OverloadMonitor,
    /// TLS handshakes.
    pub(super) handshakes: ConcurrencyLimit,
    /// WebSocket sessions of each client.
    pub(super) shares: ClientConcurrency,
    /// So that a reload costs nobody a resumption.
    pub(super) ticketer: Arc<dyn ProducesTickets>,
    pub(super) drain: Drain,
    pub(super) watchdog: Watchdog,
    pub(super) origin: StartInfo,
    pub(super) start: Instant,
    /// The same by the clock of that moment.
    pub(super) began: SystemTime,
    /// Held by each configuration that is still in use.
    pub(super) used: Arc<()>,
    /// Where TLS is spoken.
    pub(super) https: Vec<SocketAddr>,
}

impl Process {
    pub(super) fn new(
        config: &Config,
        origin: StartInfo,
        https: Vec<SocketAddr>,
    ) -> Result<Self, rustls::Error> {
        let limits = &config.limits;
        let connections = ConcurrencyLimit::new(limits.connections);
        Ok(Self {
            rooms: Arc::new(Rooms::new(config.rooms.clone())),
            sessions: Sessions::default(),
            ids: Arc::new(SessionIds::new()),
            invalidations: Invalidations::new(),
            metrics: Arc::default(),
            load: OverloadMonitor::new(connections.clone(), limits.connections),
            connections,
            handshakes: ConcurrencyLimit::new(limits.handshakes),
            shares: ClientConcurrency::default(),
            ticketer: crate::tls::ticketer()?,
            drain: Drain::new(),
            watchdog: Watchdog::default(),
            origin,
            start: Instant::now(),
            began: SystemTime::now(),
            used: Arc::default(),
            https,
        })
    }
}
