//! A generation: everything that the edge builds from one reading of the configuration. It is
//! immutable; a reload builds another one. Parts whose settings have not changed are shared,
//! so that a reload loses no connection, no cached decision and no limit's state.

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

/// One generation. Connections hold the one they began with, until they end.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) config: Config,
    pub(super) frontends: Vec<Frontend>,
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
    /// The uploads; paused ones wait here until their client resumes.
    uploads: Reusable<Uploads>,
    /// The services for sessions, also those of older generations, while this one is in use.
    backend: Arc<Backend>,
    /// The handle through which sessions find the backend in use; shared by all generations.
    current_backend: CurrentBackend,
    /// Retired when the next generation is in use: HTTP connections finish their requests and
    /// close.
    pub(super) drain: Drain,
}

/// A part that the next generation shares if its settings are the same, and the drain for the
/// tasks that live as long as the part.
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

    /// Stops the part's tasks, unless `next` shares the part.
    fn retire_unless_in(&self, next: &Self) {
        if !Arc::ptr_eq(&self.part, &next.part) {
            self.drain.retire();
        }
    }
}

/// A new generation, and the tasks to spawn once it is in use.
pub(super) struct BuiltGeneration {
    pub(super) generation: Generation,
    pub(super) tasks: Vec<BoxFuture<'static, ()>>,
}

impl Generation {
    /// Builds a generation, and shares the unchanged parts of `old`. It starts nothing and
    /// changes nothing outside, so that a failure leaves `old` in use. Blocks.
    ///
    /// # Errors
    /// Returns the variant of [`Error`] for the first thing that is unusable.
    pub(super) fn build(
        config: Config,
        process: &Process,
        old: Option<&Self>,
    ) -> Result<BuiltGeneration, Error> {
        let mut tasks = Vec::new();
        let certificates = certificates(&config, process, old, &mut tasks)?;
        let authorities = ClientAuthorities::load(&config.tls.client_auth)?;
        let frontends = frontends(&config, process, &certificates.part, &authorities)?;
        let pages = ErrorPages::load(config.http.error_pages.as_deref())?;

        // The old generation if the settings that `is_same` compares have not changed. Parts
        // that use another part compare its settings, too: they must not share an old one.
        let same =
            |is_same: fn(&Config, &Config) -> bool| old.filter(|old| is_same(&old.config, &config));
        let apps = |a: &Config, b: &Config| a.upstream == b.upstream && a.upstreams == b.upstreams;
        let upstreams = match same(apps) {
            Some(old) => old.upstreams.clone(),
            None => {
                let new = Reusable::new(build_upstreams(&config), process);
                tasks.extend(health_checks(&config, &new));
                new
            }
        };
        let auth_settings = |a: &Config, b: &Config| {
            a.upstream == b.upstream && a.upstreams == b.upstreams && a.auth == b.auth
        };
        let auth = match same(auth_settings) {
            Some(old) => old.auth.clone(),
            None => Reusable::new(
                build_auth(&config, process, &upstreams.part.laravel),
                process,
            ),
        };
        let upload_settings = |a: &Config, b: &Config| {
            a.upstream == b.upstream
                && a.upstreams == b.upstreams
                && a.websocket.uploads == b.websocket.uploads
                && a.auth.token_form == b.auth.token_form
        };
        let uploads = match same(upload_settings) {
            Some(old) => old.uploads.clone(),
            None => {
                let new = Uploads::new(
                    upstreams.part.laravel.clone(),
                    config.websocket.uploads.clone(),
                    config.auth.token_form,
                    old.map(|old| &*old.uploads.part),
                );
                Reusable::new(new, process)
            }
        };
        let limits = match same(|a, b| a.limits == b.limits) {
            Some(old) => Arc::clone(&old.limits),
            None => Arc::new(Limits::new(
                config.limits.clone(),
                Arc::clone(&process.metrics),
                old.map(|old| &*old.limits),
            )),
        };
        let places = |a: &Config, b: &Config| {
            a.limits.max_requests_in_flight == b.limits.max_requests_in_flight
        };
        let in_flight = same(places).map(|old| old.in_flight.clone());
        let in_flight = in_flight
            .unwrap_or_else(|| ConcurrencyLimit::new(config.limits.max_requests_in_flight));
        let files = |a: &Config, b: &Config| a.limits.max_open_files == b.limits.max_open_files;
        let open_files = same(files).map(|old| old.open_files.clone());
        let open_files =
            open_files.unwrap_or_else(|| ConcurrencyLimit::new(config.limits.max_open_files));

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
            config.http.max_body_size.get(),
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
            frontends,
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

    /// Returns whether `config`, with the files that it names, would build the same
    /// generation. Certificates are not compared, since they are reloaded on their own.
    /// Blocks.
    ///
    /// # Errors
    /// Returns [`Error::Pages`] or [`Error::Tls`] if a file is unusable.
    pub(super) fn is_made_of(&self, config: &Config) -> Result<bool, Error> {
        let pages = ErrorPages::load(config.http.error_pages.as_deref())?;
        let authorities = ClientAuthorities::load(&config.tls.client_auth)?;
        Ok(*config == self.config && pages == self.pages && authorities == self.authorities)
    }

    /// Returns the certificates of this generation.
    pub(super) fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.certificates.part)
    }

    /// Retires this generation: sessions use the backend of `next`, HTTP connections finish
    /// their requests and close, and the tasks of parts that `next` does not share stop.
    pub(super) fn retire(&self, next: &Self) {
        next.current_backend.replace(Arc::clone(&next.backend));
        self.certificates.retire_unless_in(&next.certificates);
        self.upstreams.retire_unless_in(&next.upstreams);
        self.auth.retire_unless_in(&next.auth);
        self.uploads.retire_unless_in(&next.uploads);
        self.drain.retire();
    }
}

/// Returns the old certificates if `[tls]` has not changed, since their own task reloads the
/// files. Loads the certificates otherwise, and adds the tasks that renew and reload them.
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

/// Creates the clients of all apps: Laravel, and those that routes name.
fn build_upstreams(config: &Config) -> Upstreams {
    for doubt in config.apps().filter_map(|app| app.doubt()) {
        tracing::warn!(
            name: "upstream_needs_attention",
            detail = doubt,
            "upstream needs attention"
        );
    }
    Upstreams {
        laravel: Upstream::new(&config.upstream),
        named: config
            .upstreams
            .iter()
            .map(|(name, settings)| (name.clone(), Upstream::new(settings)))
            .collect(),
    }
}

/// Returns the tasks of the apps' health checks.
fn health_checks(config: &Config, upstreams: &Reusable<Upstreams>) -> Vec<BoxFuture<'static, ()>> {
    let apps = &upstreams.part;
    config
        .upstreams
        .iter()
        .filter_map(|(name, settings)| apps.named.get(name)?.health_checks(settings))
        .chain(apps.laravel.health_checks(&config.upstream))
        .map(|checks| {
            let drain = upstreams.drain.clone();
            async move { checks.start(&drain) }.boxed()
        })
        .collect()
}

fn build_auth(
    config: &Config,
    process: &Process,
    laravel: &Upstream,
) -> (Authenticator, Authorizer) {
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
        retry_timeout: config.auth.retry_timeout.get(),
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
