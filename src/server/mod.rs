//! The whole edge: built from a configuration and sockets, run until told to
//! stop. The caller owns sockets and signal, so tests need neither ports nor
//! signals of their own.

mod accept;
mod entrances;
mod listeners;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::time::Instant;

use self::accept::Acceptance;
use self::entrances::Entrances;
pub use self::listeners::{ListenError, Listeners};
use crate::auth::{Access, Asker, Doubts, Identity};
use crate::broadcast::{self, Api, View};
use crate::config::Config;
use crate::drain::Drain;
use crate::http::{self, Handler, Pages, PagesError, Routes, Upstreams};
use crate::ids::SessionIds;
use crate::limit::{Connections, RequestRate};
use crate::rooms::{Rooms, Sessions};
use crate::tls::{self, Certificates, Renewal};
use crate::upstream::Upstream;
use crate::ws::upload::Uploads;
use crate::ws::{Gateway, Services};

/// Why the edge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// Certificates cannot be obtained.
    #[error(transparent)]
    Acme(#[from] tls::AcmeError),
    /// No randomness for session tickets.
    #[error("cannot make session tickets: {0}")]
    Tickets(#[from] rustls::Error),
    /// The sysadmin's error pages cannot be used.
    #[error(transparent)]
    Pages(#[from] PagesError),
    /// A socket cannot be handed to the runtime.
    #[error("cannot use a listening socket: {0}")]
    Socket(#[from] std::io::Error),
}

/// The edge, ready to run.
#[derive(Debug)]
pub struct Server {
    entrances: Entrances,
    certificates: Arc<Certificates>,
    renewal: Option<Renewal>,
    broadcast: UnixListener,
    acceptance: Arc<Acceptance>,
    api: Arc<Api>,
    rooms: Arc<Rooms>,
    rate: Arc<RequestRate>,
    drain: Drain,
    grace: Duration,
}

impl Server {
    /// Builds everything that `config` describes around `listeners`. Must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    /// The certificate cannot be used, or a socket cannot.
    pub fn bind(config: &Config, listeners: Listeners) -> Result<Self, Error> {
        let drain = Drain::new();
        let certificates = Arc::new(Certificates::load(&config.tls)?);
        for doubt in certificates.doubts() {
            tracing::warn!("{doubt}");
        }
        let entrances = Entrances::new(config, &listeners, &certificates)?;
        let renewal = Renewal::new(&config.tls, &certificates)?;
        let upstream = Upstream::new(&config.upstream);
        let services = services(config, &upstream, &drain);
        let rooms = Arc::clone(&services.rooms);
        let api = Api::new(
            View {
                rooms: Arc::clone(&rooms),
                sessions: services.sessions.clone(),
                doubts: services.doubts.clone(),
                upstream: upstream.clone(),
                metrics: Arc::clone(&services.metrics),
                certificates: Arc::clone(&certificates),
                start: Instant::now(),
            },
            config.broadcast.clone(),
        );
        let rate = Arc::new(RequestRate::new(&config.limits));
        let gateway = Gateway::new(services, config.websocket.clone());
        let limits = &config.limits;
        let in_flight = Connections::new(
            limits.requests_in_flight,
            limits.requests_in_flight_per_client,
        );
        let routes = Routes::new(
            &config.routes,
            &upstreams(config, upstream),
            config.http.max_body.get(),
        );
        let handler = Handler::new(http::Parts {
            settings: config.http.clone(),
            compression: config.compression.clone(),
            proxies: config.server.trusted_proxies.clone(),
            rate: Arc::clone(&rate),
            in_flight,
            gateway,
            routes,
            pages: Pages::load(config.http.error_pages.as_deref())?,
            drain: drain.clone(),
        });
        Ok(Self {
            entrances,
            renewal,
            certificates,
            broadcast: listeners.broadcast()?,
            acceptance: Arc::new(Acceptance {
                handler: Arc::new(handler),
                connections: Connections::new(limits.connections, limits.connections_per_client),
                proxies: config.server.trusted_proxies.clone(),
                patience: config.tls.handshake_timeout.get(),
                drain: drain.clone(),
            }),
            api: Arc::new(api),
            rooms,
            rate,
            drain,
            grace: config.server.shutdown_grace.get(),
        })
    }

    /// The addresses on which TLS is spoken.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.entrances.https()
    }

    /// The addresses on which plain HTTP is sent to TLS.
    pub fn redirect_addresses(&self) -> Vec<SocketAddr> {
        self.entrances.plain()
    }

    /// The certificates, for whoever is told to read them again.
    pub fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.certificates)
    }

    /// Serves until `stop` completes, then lets what is under way end. Returns
    /// how many tasks were cut off when the grace was over.
    pub async fn run(self, stop: impl Future<Output = ()>) -> usize {
        let drain = self.drain;
        for (listener, entrance) in self.entrances {
            drain.spawn(Arc::clone(&self.acceptance).accept(listener, entrance));
        }
        if let Some(renewal) = self.renewal {
            drain.spawn(renewal.run(drain.clone()));
        }
        drain.spawn(tls::watch(self.certificates, drain.clone()));
        drain.spawn(forget_idle(self.rate, drain.clone()));
        drain.spawn(broadcast::serve(self.broadcast, self.api, drain.clone()));
        let served = async {
            stop.await;
            drain.stop(self.grace).await
        };
        // No task of the drain's: sessions that are still open are told who
        // leaves until the last of them is closed.
        tokio::select! {
            cut_off = served => cut_off,
            never = self.rooms.keep_time() => match never {},
        }
    }
}

/// All apps: Laravel, and those that only routes name.
fn upstreams(config: &Config, laravel: Upstream) -> Upstreams {
    let named = config.upstreams.iter();
    let named = named.map(|(name, settings)| (name.clone(), Upstream::new(settings)));
    Upstreams {
        laravel,
        named: named.collect(),
    }
}

fn services(config: &Config, upstream: &Upstream, drain: &Drain) -> Services {
    let auth = Arc::new(config.auth.clone());
    let asker = Asker::new(upstream.clone(), auth.timeout.get());
    let doubts = Doubts::new();
    Services {
        identity: Identity::new(
            asker.clone(),
            Arc::clone(&auth),
            doubts.clone(),
            drain.clone(),
        ),
        access: Access::new(asker, Arc::clone(&auth), doubts.clone(), drain.clone()),
        doubts,
        logout_paths: auth.logout_paths.clone().into(),
        patience: auth.patience.get(),
        rooms: Arc::new(Rooms::new(config.rooms.clone())),
        sessions: Sessions::default(),
        ids: Arc::new(SessionIds::new()),
        uploads: Uploads::new(upstream.clone(), config.websocket.uploads.clone()),
        drain: drain.clone(),
        metrics: Arc::default(),
        close_spread: config.server.close_spread.get(),
    }
}

/// Once a minute, forgets clients whose rate has recovered.
async fn forget_idle(rate: Arc<RequestRate>, drain: Drain) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(60)) => rate.forget_idle(),
            () = drain.token().cancelled() => return,
        }
    }
}
