//! The whole server: built from a configuration and listening sockets, run until the caller
//! stops it. It has the accept loop, reload by generations, socket activation, and the admin
//! listener. The caller owns sockets and signals, so tests need neither fixed ports nor
//! signals.

mod accept;
mod admin;
mod frontend;
mod generation;
mod listeners;
mod metric_registry;
mod metrics;
mod parts;
mod port_owner;
mod process;
mod reload;
mod socket_activation;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::{BoxFuture, join_all};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;

use self::accept::accept;
use self::generation::Generation;
pub use self::listeners::Listeners;
pub(crate) use self::port_owner::PortOwner;
use self::process::Process;
pub use self::process::StartInfo;
pub use self::reload::Reloader;
pub use self::socket_activation::InheritedSockets;
use crate::auth;
use crate::config::Config;
use crate::control::{self, Api, ControlListener};
use crate::files;
use crate::http::{self, PagesError};
use crate::introspection::{self, ListenAddresses};
use crate::rooms;
use crate::runtime::drain::Drain;
use crate::runtime::watchdog::Watchdog;
use crate::tls;

/// The reason why the edge cannot start, or cannot use another configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key is unusable.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The ACME client cannot work.
    #[error(transparent)]
    Acme(#[from] tls::AcmeError),
    /// The system provides no randomness for session tickets.
    #[error("cannot make session tickets")]
    Tickets(#[from] rustls::Error),
    /// The operator's error pages are unusable.
    #[error(transparent)]
    Pages(#[from] PagesError),
    /// The task that builds the configuration was aborted or has panicked.
    #[error("the configuration was not built")]
    Broken(#[from] tokio::task::JoinError),
    /// The directory of a route for static files is unusable.
    #[error(transparent)]
    Files(#[from] files::UnusableDirectory),
    /// The maintenance page is unreachable.
    #[error(transparent)]
    Maintenance(#[from] http::PageUnreachable),
    /// The secret of the Pusher protocol cannot be used.
    #[error(transparent)]
    Secret(#[from] auth::SecretError),
    /// The event log cannot be used.
    #[error(transparent)]
    History(#[from] rooms::HistoryError),
    /// A socket cannot be registered with the runtime.
    #[error("cannot use a listening socket")]
    Socket(#[from] std::io::Error),
}

/// The server, ready to run.
pub struct Server {
    sites: Vec<TcpListener>,
    admin: Vec<TcpListener>,
    broadcast: ControlListener<UnixListener>,
    tasks: Vec<BoxFuture<'static, ()>>,
    running: Arc<Running>,
}

/// The state that all tasks share: the process, and the configuration in use.
#[derive(Debug)]
struct Running {
    process: Process,
    current: ArcSwap<Generation>,
    api: Arc<Api>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Builds a server from `config` and `listeners`. It accepts nothing before
    /// [`Self::run`].
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    ///
    /// # Errors
    /// Returns the variant of [`Error`] for the first thing that `config` names and that is
    /// unusable, and [`Error::Socket`] if a socket is.
    pub fn bind(config: &Config, listeners: Listeners, origin: StartInfo) -> Result<Self, Error> {
        let (https, plain, admin) = (listeners.https()?, listeners.plain()?, listeners.admin()?);
        let addresses = ListenAddresses {
            https: addresses(&https),
            redirect: addresses(&plain),
            admin: addresses(&admin),
        };
        let (process, past_requests) = Process::new(config, origin, addresses)?;
        let built = Generation::build(config.clone(), &process, None)?;
        let introspection = Arc::clone(&built.generation.introspection);
        Ok(Self {
            sites: https.into_iter().chain(plain).collect(),
            admin,
            broadcast: listeners.into_broadcast()?,
            tasks: built.tasks,
            running: Arc::new(Running {
                api: Arc::new(Api::new(
                    introspection,
                    config.broadcast.clone(),
                    past_requests,
                    process.drain.clone(),
                )),
                current: ArcSwap::from_pointee(built.generation),
                process,
            }),
        })
    }

    /// Returns the addresses of the TLS listeners.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.running.process.listeners.https.clone()
    }

    /// Returns the addresses of the listeners that redirect plain HTTP to HTTPS.
    pub fn redirect_addresses(&self) -> Vec<SocketAddr> {
        self.running.process.listeners.redirect.clone()
    }

    /// Returns the addresses of the admin listeners, for monitoring.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        self.running.process.listeners.admin.clone()
    }

    /// Returns the watchdog that checks whether the accept loops still respond.
    pub fn watchdog(&self) -> Watchdog {
        self.running.process.watchdog.clone()
    }

    /// Returns the handle that replaces the configuration while the server runs.
    pub fn reloader(&self) -> Reloader {
        Reloader::new(Arc::clone(&self.running))
    }

    /// Serves until `stop` completes, and then waits for the tasks to end, for at most the
    /// shutdown timeout. Returns the number of tasks that were still running then; they end
    /// with the runtime.
    pub async fn run(self, stop: impl Future<Output = ()>) -> usize {
        let running = self.running;
        let drain = &running.process.drain;
        for (number, listener) in self.sites.into_iter().enumerate() {
            let heartbeat = running.process.watchdog.register(name_of(&listener));
            drain.spawn(accept(Arc::clone(&running), listener, number, heartbeat));
        }
        for task in self.tasks {
            drain.spawn(task);
        }
        for _ in 0..Handle::current().metrics().num_workers() {
            drain.spawn(run_scheduler(Arc::clone(&running)));
        }
        drain.spawn(forget_idle(Arc::clone(&running)));
        drain.spawn(monitor_memory(Arc::clone(&running)));
        drain.spawn(watch_maintenance(Arc::clone(&running)));
        let api = Arc::clone(&running.api);
        let heartbeat = running.process.watchdog.register("broadcast.socket");
        let socket = Drain::new();
        socket.spawn(control::serve(
            self.broadcast,
            api,
            socket.clone(),
            heartbeat,
        ));
        let admin = self.admin.into_iter().map(|listener| {
            let heartbeat = running.process.watchdog.register("admin.listen");
            admin::serve(listener, Arc::clone(&running), heartbeat)
        });
        let served = async {
            stop.await;
            let grace = running.current.load().config.server.shutdown_timeout.get();
            let remaining = drain.stop(grace).await;
            let remaining = remaining + socket.stop(control::STOP_TIMEOUT).await;
            let rooms = Arc::clone(&running.process.rooms);
            // A panic in it was logged by the panic hook.
            let _ = tokio::task::spawn_blocking(move || rooms.close_log()).await;
            remaining
        };
        // The Unix socket, the timers of rooms and the admin listeners are not tasks of the
        // drain, so they run until the drain is empty: sessions that are still open get
        // broadcasts and presence events until the last one is closed, Laravel never waits
        // for the next process before this one ends, and monitoring can watch the shutdown.
        tokio::select! {
            cut_off = served => cut_off,
            never = running.process.rooms.run_timers() => match never {},
            () = async { join_all(admin).await; std::future::pending().await } => 0,
        }
    }
}

fn name_of(listener: &TcpListener) -> String {
    let address = listener.local_addr();
    address.map_or_else(|_| "a listener".to_owned(), |address| address.to_string())
}

fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    let addresses = listeners.iter().map(TcpListener::local_addr);
    addresses.filter_map(Result::ok).collect()
}

/// Delivers events to large rooms in turn, until the process stops.
async fn run_scheduler(running: Arc<Running>) {
    let process = &running.process;
    tokio::select! {
        never = process.rooms.run_scheduler() => match never {},
        () = process.drain.token().cancelled() => {}
    }
}

/// Measures the memory in use every second, and logs when it passes `limits.max_memory`.
async fn monitor_memory(running: Arc<Running>) {
    let (load, drain) = (&running.process.load, &running.process.drain);
    while !drain.is_stopping() {
        let limit = running.current.load().config.limits.max_memory;
        let limit = limit.map(|size| size.get() as u64);
        let bytes = limit.and_then(|_| introspection::memory()).unwrap_or(0);
        match load.update_memory(bytes, limit) {
            Some(true) => tracing::warn!(
                name: "memory_limit_exceeded",
                bytes,
                "memory limit exceeded"
            ),
            Some(false) => tracing::info!(
                name: "memory_limit_recovered",
                bytes,
                "memory below limit again"
            ),
            None => {}
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = drain.token().cancelled() => return,
        }
    }
}

/// Checks every second whether the maintenance page exists.
async fn watch_maintenance(running: Arc<Running>) {
    let drain = &running.process.drain;
    while !drain.is_stopping() {
        let current = running.current.load_full();
        if current.config.maintenance.page.is_some() {
            let maintenance = Arc::clone(current.pipeline.maintenance());
            drop(current);
            // A panic in it is logged by the panic hook; the next round retries.
            let _ = tokio::task::spawn_blocking(move || maintenance.refresh()).await;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = drain.token().cancelled() => return,
        }
    }
}

/// Removes idle clients from the limits once a minute.
async fn forget_idle(running: Arc<Running>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(60)) => {
                running.current.load().pipeline.forget_idle();
            }
            () = running.process.drain.token().cancelled() => return,
        }
    }
}
