//! The whole edge: built from a configuration and sockets, run until told to
//! stop. The caller owns sockets and signal, so tests need neither ports nor
//! signals of their own.

mod accept;
mod admin;
mod frontend;
mod generation;
mod listeners;
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
pub use self::listeners::{ListenError, ListenErrors, Listeners};
pub use self::port_owner::PortOwner;
use self::process::Process;
pub use self::process::StartInfo;
pub use self::reload::Reloader;
pub use self::socket_activation::InheritedSockets;
use crate::config::Config;
use crate::control::{self, Api};
use crate::files;
use crate::http::{self, PagesError};
use crate::introspection;
use crate::runtime::watchdog::Watchdog;
use crate::tls;

/// Why the edge cannot start, or not go on with another configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// Certificates cannot be obtained.
    #[error(transparent)]
    Acme(#[from] tls::AcmeError),
    /// No randomness for session tickets.
    #[error("cannot make session tickets")]
    Tickets(#[from] rustls::Error),
    /// The sysadmin's error pages cannot be used.
    #[error(transparent)]
    Pages(#[from] PagesError),
    /// Building it was broken off.
    #[error("the configuration was not built")]
    Broken(#[from] tokio::task::JoinError),
    /// A directory whose files a route sends cannot be used.
    #[error(transparent)]
    Files(#[from] files::UnusableDirectory),
    /// The page that closes the site is out of reach.
    #[error(transparent)]
    Maintenance(#[from] http::PageUnreachable),
    /// A socket cannot be handed to the runtime.
    #[error("cannot use a listening socket")]
    Socket(#[from] std::io::Error),
}

/// The edge, ready to run.
pub struct Server {
    sites: Vec<TcpListener>,
    admin: Vec<TcpListener>,
    broadcast: UnixListener,
    redirects: Vec<SocketAddr>,
    tasks: Vec<BoxFuture<'static, ()>>,
    running: Arc<Running>,
}

/// What all tasks share: the process, and the configuration in use.
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
    /// Builds everything that `config` describes around `listeners`. Must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    /// The certificate cannot be used, or a socket cannot.
    pub fn bind(config: &Config, listeners: Listeners, origin: StartInfo) -> Result<Self, Error> {
        let (https, plain) = (listeners.https()?, listeners.plain()?);
        let process = Process::new(config, origin, addresses(&https))?;
        let built = Generation::build(config.clone(), &process, None)?;
        let introspection = Arc::clone(&built.generation.introspection);
        Ok(Self {
            redirects: addresses(&plain),
            sites: https.into_iter().chain(plain).collect(),
            admin: listeners.admin()?,
            broadcast: listeners.broadcast()?,
            tasks: built.tasks,
            running: Arc::new(Running {
                api: Arc::new(Api::new(introspection, config.broadcast.clone())),
                current: ArcSwap::from_pointee(built.generation),
                process,
            }),
        })
    }

    /// The addresses on which TLS is spoken.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.running.process.https.clone()
    }

    /// The addresses on which plain HTTP is sent to TLS.
    pub fn redirect_addresses(&self) -> Vec<SocketAddr> {
        self.redirects.clone()
    }

    /// The addresses on which monitoring asks.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.admin)
    }

    /// Asks the server whether it still accepts.
    pub fn watchdog(&self) -> Watchdog {
        self.running.process.watchdog.clone()
    }

    /// Gives the server another configuration while it runs.
    pub fn reloader(&self) -> Reloader {
        Reloader::new(Arc::clone(&self.running))
    }

    /// Serves until `stop` completes, then lets what is under way end. Returns
    /// how many tasks were cut off when the grace was over.
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
        drain.spawn(control::serve(
            self.broadcast,
            api,
            drain.clone(),
            heartbeat,
        ));
        let admin = self.admin.into_iter();
        let admin = admin.map(|listener| {
            let heartbeat = running.process.watchdog.register("admin.listen");
            admin::serve(listener, Arc::clone(&running), heartbeat)
        });
        let served = async {
            stop.await;
            let grace = running.current.load().config.server.shutdown_grace.get();
            drain.stop(grace).await
        };
        // No tasks of the drain's: sessions that are still open are told who
        // leaves until the last of them is closed, and monitoring sees it.
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

/// Until the process stops: then nobody's turn matters any more.
async fn run_scheduler(running: Arc<Running>) {
    let process = &running.process;
    tokio::select! {
        never = process.rooms.run_scheduler() => match never {},
        () = process.drain.token().cancelled() => {}
    }
}

/// Every second, looks how much memory is in use.
async fn monitor_memory(running: Arc<Running>) {
    let (load, drain) = (&running.process.load, &running.process.drain);
    while !drain.is_stopping() {
        let most = running.current.load().config.limits.max_memory;
        let most = most.map(|most| most.get() as u64);
        let bytes = most.and_then(|_| introspection::memory()).unwrap_or(0);
        match load.update_memory(bytes, most) {
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

/// Every second, looks whether the site is closed.
async fn watch_maintenance(running: Arc<Running>) {
    let drain = &running.process.drain;
    while !drain.is_stopping() {
        let current = running.current.load_full();
        if current.config.maintenance.page.is_some() {
            let handler = Arc::clone(&current.handler);
            drop(current);
            let looked = tokio::task::spawn_blocking(move || handler.refresh_maintenance());
            let _ = looked.await;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = drain.token().cancelled() => return,
        }
    }
}

/// Once a minute, forgets clients whose rate has recovered.
async fn forget_idle(running: Arc<Running>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(60)) => {
                running.current.load().handler.forget_idle();
            }
            () = running.process.drain.token().cancelled() => return,
        }
    }
}
