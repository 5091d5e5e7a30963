//! Everything that is made from one reading of the configuration. It is never
//! edited, only replaced; what did not change is handed on, so that a reload
//! costs nobody a connection, an answer that is known, or a limit's memory.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Error;
use super::frontend::{Frontend, frontends};
use super::process::Process;
use crate::auth::{AuthClient, Authenticator, Authorizer};
use crate::config::Config;
use crate::http::{self, ErrorPages, Handler, Maintenance, Routes, Upstreams};
use crate::introspection::{Introspection, LARAVEL, StartContext};
use crate::limit::{ConcurrencyLimit, Limits};
use crate::runtime::drain::Drain;
use crate::tls::{self, Certificates, ClientAuthorities, Renewal};
use crate::upstream::Upstream;
use crate::ws::upload::Uploads;
use crate::ws::{Backend, CurrentBackend, Gateway, Services};

#[derive(Debug)]
pub(super) struct Generation {
    pub(super) config: Config,
    pub(super) entrances: Vec<Frontend>,
    pub(super) handler: Arc<Handler>,
    pub(super) introspection: Arc<Introspection>,
    pub(super) limits: Arc<Limits>,
    in_flight: ConcurrencyLimit,
    open_files: ConcurrencyLimit,
    pages: ErrorPages,
    authorities: ClientAuthorities,
    certificates: Reusable<Certificates>,
    upstreams: Reusable<Upstreams>,
    auth: Reusable<(Authenticator, Authorizer)>,
    /// Those that wait for their client to come back wait here.
    uploads: Reusable<Uploads>,
    /// What sessions ask with while this one is in use.
    backend: Arc<Backend>,
    current_backend: CurrentBackend,
    /// Cancelled when the next one is there: its HTTP connections end what they
    /// are doing.
    pub(super) drain: Drain,
}

/// A part that the next generation takes over if its settings are the same, and
/// the tasks that live as long as the part.
#[derive(Debug)]
struct Reusable<T> {
    part: Arc<T>,
    drain: Drain,
}

impl<T> Clone for Reusable<T> {
    fn clone(&self) -> Self {
        Self {
            part: Arc::clone(&self.part),
            drain: self.drain.clone(),
        }
    }
}

impl<T> Reusable<T> {
    fn new(part: T, process: &Process) -> Self {
        Self {
            part: Arc::new(part),
            drain: process.drain.part(),
        }
    }

    /// Ends the part's tasks, unless `next` has taken the part over.
    fn retire_unless_in(&self, next: &Self) {
        if !Arc::ptr_eq(&self.part, &next.part) {
            self.drain.retire();
        }
    }
}

/// A generation, and the tasks to start once it is in use.
pub(super) struct BuiltGeneration {
    pub(super) generation: Generation,
    pub(super) tasks: Vec<BoxFuture<'static, ()>>,
}

impl Generation {
    /// Does all that can fail.
    pub(super) fn build(
        config: Config,
        process: &Process,
        old: Option<&Self>,
    ) -> Result<BuiltGeneration, Error> {
        let mut tasks = Vec::new();
        let certificates = certificates(&config, process, old, &mut tasks)?;
        let authorities = ClientAuthorities::load(&config.tls.clients)?;
        let entrances = frontends(&config, process, &certificates.part, &authorities)?;
        let pages = ErrorPages::load(config.http.error_pages.as_deref())?;

        let same =
            |same: fn(&Config, &Config) -> bool| old.filter(|old| same(&old.config, &config));
        let apps = |a: &Config, b: &Config| a.upstream == b.upstream && a.upstreams == b.upstreams;
        let upstreams = same(apps).map(|old| old.upstreams.clone());
        let upstreams = upstreams.unwrap_or_else(|| {
            let upstreams = Reusable::new(upstreams_of(&config), process);
            tasks.extend(health_checks(&config, &upstreams));
            upstreams
        });
        let asks = |a: &Config, b: &Config| {
            a.upstream == b.upstream && a.upstreams == b.upstreams && a.auth == b.auth
        };
        let auth = same(asks).map(|old| old.auth.clone());
        let auth = auth.unwrap_or_else(|| {
            Reusable::new(auth_of(&config, process, &upstreams.part.laravel), process)
        });
        let sends = |a: &Config, b: &Config| {
            a.upstream == b.upstream
                && a.upstreams == b.upstreams
                && a.websocket.uploads == b.websocket.uploads
                && a.auth.token_form == b.auth.token_form
        };
        let uploads = same(sends).map(|old| old.uploads.clone());
        let uploads = uploads.unwrap_or_else(|| {
            let uploads = Uploads::new(
                upstreams.part.laravel.clone(),
                config.websocket.uploads.clone(),
                config.auth.token_form,
                old.map(|old| &*old.uploads.part),
            );
            Reusable::new(uploads, process)
        });
        let limits = same(|a, b| a.limits == b.limits).map(|old| Arc::clone(&old.limits));
        let limits = limits.unwrap_or_else(|| {
            let metrics = Arc::clone(&process.metrics);
            let old = old.map(|old| &*old.limits);
            Arc::new(Limits::new(config.limits.clone(), metrics, old))
        });
        let places =
            |a: &Config, b: &Config| a.limits.requests_in_flight == b.limits.requests_in_flight;
        let in_flight = same(places).map(|old| old.in_flight.clone());
        let in_flight =
            in_flight.unwrap_or_else(|| ConcurrencyLimit::new(config.limits.requests_in_flight));
        let files = |a: &Config, b: &Config| a.limits.open_files == b.limits.open_files;
        let open_files = same(files).map(|old| old.open_files.clone());
        let open_files =
            open_files.unwrap_or_else(|| ConcurrencyLimit::new(config.limits.open_files));

        let backend = Arc::new(backend(&config, &auth.part, &uploads.part, &limits));
        let current_backend = old.map_or_else(
            || CurrentBackend::new(Arc::clone(&backend)),
            |old| old.current_backend.clone(),
        );
        let gateway = Gateway::new(
            services(&config, process, &current_backend),
            config.websocket.clone(),
        );
        let introspection =
            introspection(process, &certificates.part, &upstreams.part, &auth.part.1);
        let routes = Routes::new(
            &config.routes,
            &upstreams.part,
            config.http.max_body.get(),
            &process.metrics,
        )?;
        let handler = Handler::new(http::HandlerDeps {
            settings: config.http.clone(),
            compression: config.compression.clone(),
            proxies: config.server.trusted_proxies.clone(),
            trusted_headers: config.server.trusted_headers.clone(),
            limits: Arc::clone(&limits),
            sessions: process.shares.clone(),
            load: process.load.clone(),
            in_flight: in_flight.clone(),
            open_files: open_files.clone(),
            gateway,
            routes,
            pages: pages.clone(),
            maintenance: Maintenance::new(&config.maintenance)?,
            drain: process.drain.clone(),
            metrics: Arc::clone(&process.metrics),
        });
        let generation = Self {
            config,
            entrances,
            handler: Arc::new(handler),
            introspection: Arc::new(introspection),
            limits,
            in_flight,
            open_files,
            pages,
            authorities,
            certificates,
            upstreams,
            auth,
            uploads,
            backend,
            current_backend,
            drain: process.drain.part(),
        };
        Ok(BuiltGeneration { generation, tasks })
    }

    /// Whether `config` would make just the same.
    pub(super) fn is_made_of(&self, config: &Config) -> Result<bool, Error> {
        let pages = ErrorPages::load(config.http.error_pages.as_deref())?;
        let authorities = ClientAuthorities::load(&config.tls.clients)?;
        Ok(*config == self.config && pages == self.pages && authorities == self.authorities)
    }

    /// The certificates in use.
    pub(super) fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.certificates.part)
    }

    /// Lets sessions ask as `next` says, the connections of this one end, and the tasks
    /// of what `next` has not taken over.
    pub(super) fn retire(&self, next: &Self) {
        next.current_backend.replace(Arc::clone(&next.backend));
        self.certificates.retire_unless_in(&next.certificates);
        self.upstreams.retire_unless_in(&next.upstreams);
        self.auth.retire_unless_in(&next.auth);
        self.uploads.retire_unless_in(&next.uploads);
        self.drain.retire();
    }
}

/// The old certificates if nothing about TLS changed: they are read again by
/// their own task.
fn certificates(
    config: &Config,
    process: &Process,
    old: Option<&Generation>,
    tasks: &mut Vec<BoxFuture<'static, ()>>,
) -> Result<Reusable<Certificates>, Error> {
    if let Some(old) = old.filter(|old| old.config.tls == config.tls) {
        return Ok(old.certificates.clone());
    }
    let certificates = Reusable::new(Certificates::load(&config.tls)?, process);
    for doubt in certificates.part.warnings() {
        tracing::warn!(
            name: "certificate_needs_attention",
            detail = doubt,
            "certificate needs attention"
        );
    }
    if let Some(renewal) = Renewal::new(&config.tls, &certificates.part)? {
        tasks.push(renewal.run(certificates.drain.clone()).boxed());
    }
    tasks.push(tls::watch(Arc::clone(&certificates.part), certificates.drain.clone()).boxed());
    Ok(certificates)
}

/// All apps: Laravel, and those that only routes name.
fn upstreams_of(config: &Config) -> Upstreams {
    for doubt in config.apps().filter_map(|app| app.doubt()) {
        tracing::warn!(
            name: "upstream_needs_attention",
            detail = doubt,
            "upstream needs attention"
        );
    }
    let named = config.upstreams.iter();
    let named = named.map(|(name, settings)| (name.clone(), Upstream::new(settings)));
    Upstreams {
        laravel: Upstream::new(&config.upstream),
        named: named.collect(),
    }
}

/// The tasks that ask the apps how they are.
fn health_checks(config: &Config, upstreams: &Reusable<Upstreams>) -> Vec<BoxFuture<'static, ()>> {
    let named = &upstreams.part.named;
    let named = config
        .upstreams
        .iter()
        .filter_map(|(name, settings)| named.get(name)?.health_checks(settings));
    let all = named.chain(upstreams.part.laravel.health_checks(&config.upstream));
    let drain = &upstreams.drain;
    all.map(|probes| {
        let drain = drain.clone();
        async move { probes.start(&drain) }.boxed()
    })
    .collect()
}

fn auth_of(config: &Config, process: &Process, laravel: &Upstream) -> (Authenticator, Authorizer) {
    let settings = Arc::new(config.auth.clone());
    let metrics = Arc::clone(&process.metrics);
    let auth_client = AuthClient::new(laravel.clone(), &settings, metrics);
    let (invalidations, drain) = (&process.invalidations, &process.drain);
    let identity = Authenticator::new(
        auth_client.clone(),
        Arc::clone(&settings),
        invalidations.clone(),
        drain.clone(),
    );
    let access = Authorizer::new(auth_client, settings, invalidations.clone(), drain.clone());
    (identity, access)
}

fn backend(
    config: &Config,
    auth: &(Authenticator, Authorizer),
    uploads: &Uploads,
    limits: &Arc<Limits>,
) -> Backend {
    let (identity, access) = auth.clone();
    Backend {
        identity,
        access,
        uploads: uploads.clone(),
        patience: config.auth.patience.get(),
        limits: Arc::clone(limits),
    }
}

fn services(config: &Config, process: &Process, backend: &CurrentBackend) -> Services {
    Services {
        backend: backend.clone(),
        invalidations: process.invalidations.clone(),
        logout_paths: config.auth.logout_paths.clone().into(),
        rooms: Arc::clone(&process.rooms),
        sessions: process.sessions.clone(),
        ids: Arc::clone(&process.ids),
        drain: process.drain.clone(),
        metrics: Arc::clone(&process.metrics),
        close_spread: config.server.close_spread.get(),
    }
}

fn introspection(
    process: &Process,
    certificates: &Arc<Certificates>,
    upstreams: &Upstreams,
    access: &Authorizer,
) -> Introspection {
    let laravel = [(LARAVEL.to_owned(), upstreams.laravel.clone())];
    Introspection {
        rooms: Arc::clone(&process.rooms),
        sessions: process.sessions.clone(),
        invalidations: process.invalidations.clone(),
        access: access.clone(),
        upstreams: upstreams.named.clone().into_iter().chain(laravel).collect(),
        metrics: Arc::clone(&process.metrics),
        certificates: Arc::clone(certificates),
        connections: process.connections.clone(),
        load: process.load.clone(),
        drain: process.drain.clone(),
        recent: process.origin.recent.clone(),
        lost_lines: Arc::clone(&process.origin.lost_lines),
        about: StartContext {
            config: process.origin.config.clone(),
            loaded: SystemTime::now(),
            listeners: process.https.clone(),
            start: process.start,
            began: process.began,
        },
        used: Arc::clone(&process.used),
    }
}
