//! A generation: everything that the edge builds from one reading of the configuration. It is
//! immutable; a reload builds another one. The two share the [`Parts`] whose settings have not
//! changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::Error;
use super::frontend::{Frontend, frontends};
use super::metric_registry::metric_registry;
use super::parts::{Parts, Task};
use super::process::Process;
use crate::auth::AppKey;
use crate::config::Config;
use crate::http::{ErrorPages, Maintenance, Pipeline, PipelineDeps, Routes};
use crate::introspection::{Introspection, LARAVEL, StartContext, TotalsReader};
use crate::limit::Limits;
use crate::runtime::drain::Drain;
use crate::tls::{Certificates, ClientAuthorities};
use crate::ws::{Backend, CurrentBackend, Gateway, Services};

/// One generation. Connections hold the one they began with, until they end.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) config: Config,
    pub(super) frontends: Vec<Frontend>,
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) introspection: Arc<Introspection>,
    parts: Parts,
    pages: ErrorPages,
    authorities: ClientAuthorities,
    /// The services for sessions, also those of older generations, while this one is in use.
    backend: Arc<Backend>,
    /// The handle through which sessions find the backend in use; shared by all generations.
    current_backend: CurrentBackend,
    /// Retired when the next generation is in use: HTTP connections finish their requests and
    /// close.
    pub(super) drain: Drain,
}

/// A new generation, and the tasks to spawn once it is in use.
pub(super) struct BuiltGeneration {
    pub(super) generation: Generation,
    pub(super) tasks: Vec<Task>,
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
        let old_parts = old.map(|old| (&old.config, &old.parts));
        let parts = Parts::build(&config, process, old_parts, &mut tasks)?;
        let authorities = ClientAuthorities::load(&config.tls.client_auth)?;
        let frontends = frontends(&config, process, &parts.certificates.part, &authorities)?;
        let pages = ErrorPages::load(config.http.error_pages.as_deref())?;
        let pusher = config.pusher.load_key()?.map(Arc::new);
        let backend = Arc::new(backend(&config, &parts, pusher));
        let current_backend = old.map_or_else(
            || CurrentBackend::new(Arc::clone(&backend)),
            |old| old.current_backend.clone(),
        );
        let pipeline = pipeline(&config, process, &parts, &pages, &current_backend)?;
        let generation = Self {
            frontends,
            pipeline: Arc::new(pipeline),
            introspection: Arc::new(introspection(&config, process, &parts)),
            pages,
            authorities,
            backend,
            current_backend,
            drain: process.drain.part(),
            parts,
            config,
        };
        Ok(BuiltGeneration { generation, tasks })
    }

    /// Returns whether `config`, with the files that it names, would build the same
    /// generation. Certificates are not compared, since they are reloaded on their own.
    /// Blocks.
    ///
    /// # Errors
    /// Returns [`Error::Pages`], [`Error::Tls`] or [`Error::Secret`] if a file is unusable.
    pub(super) fn is_made_of(&self, config: &Config) -> Result<bool, Error> {
        let pages = ErrorPages::load(config.http.error_pages.as_deref())?;
        let authorities = ClientAuthorities::load(&config.tls.client_auth)?;
        let pusher = config.pusher.load_key()?;
        let is_same_key = pusher.as_ref() == self.backend.pusher.as_deref();
        let has_same_files = pages == self.pages && authorities == self.authorities;
        Ok(*config == self.config && has_same_files && is_same_key)
    }

    /// Returns the certificates of this generation.
    pub(super) fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.parts.certificates.part)
    }

    /// Returns the limits per client.
    pub(super) fn limits(&self) -> &Arc<Limits> {
        &self.parts.limits
    }

    /// Retires this generation: sessions use the backend of `next`, HTTP connections finish
    /// their requests and close, and the tasks of parts that `next` does not share stop.
    pub(super) fn retire(&self, next: &Self) {
        next.current_backend.replace(Arc::clone(&next.backend));
        self.parts.retire_unless_in(&next.parts);
        self.drain.retire();
    }
}

fn pipeline(
    config: &Config,
    process: &Process,
    parts: &Parts,
    pages: &ErrorPages,
    current_backend: &CurrentBackend,
) -> Result<Pipeline, Error> {
    let gateway = Gateway::new(
        services(config, process, current_backend),
        config.websocket.clone(),
        config.pusher.clone(),
    );
    let routes = Routes::new(
        &config.routes,
        &parts.upstreams.part,
        config.http.max_body_size.get(),
        &process.metrics.http,
    )?;
    Ok(Pipeline::new(PipelineDeps {
        settings: config.http.clone(),
        compression: config.compression.clone(),
        proxies: config.server.trusted_proxies.clone(),
        trusted_headers: config.server.trusted_headers.clone(),
        limits: Arc::clone(&parts.limits),
        sessions: process.shares.clone(),
        load: process.load.clone(),
        in_flight: parts.in_flight.clone(),
        open_files: parts.open_files.clone(),
        gateway,
        routes,
        pages: pages.clone(),
        maintenance: Maintenance::new(&config.maintenance)?,
        drain: process.drain.clone(),
        metrics: Arc::clone(&process.metrics.http),
    }))
}

fn backend(config: &Config, parts: &Parts, pusher: Option<Arc<AppKey>>) -> Backend {
    let (identity, access) = (*parts.auth.part).clone();
    Backend {
        identity,
        access,
        uploads: (*parts.uploads.part).clone(),
        retry_timeout: config.auth.retry_timeout.get(),
        pusher,
        limits: Arc::clone(&parts.limits),
    }
}

fn services(config: &Config, process: &Process, backend: &CurrentBackend) -> Services {
    Services {
        backend: backend.clone(),
        invalidations: process.invalidations.clone(),
        session_cookies: config.auth.session_cookies.clone().into(),
        logout_paths: config.auth.logout_paths.clone().into(),
        rooms: Arc::clone(&process.rooms),
        sessions: process.sessions.clone(),
        ids: Arc::clone(&process.ids),
        drain: process.drain.clone(),
        metrics: Arc::clone(&process.metrics.ws),
        close_spread: config.server.close_spread.get(),
    }
}

fn introspection(config: &Config, process: &Process, parts: &Parts) -> Introspection {
    let upstreams = &parts.upstreams.part;
    let laravel = [(LARAVEL.to_owned(), upstreams.laravel.clone())];
    let upstreams: BTreeMap<_, _> = upstreams.named.clone().into_iter().chain(laravel).collect();
    let certificates = Arc::clone(&parts.certificates.part);
    let (loaded, totals) = (SystemTime::now(), process.metrics.clone());
    Introspection {
        rooms: Arc::clone(&process.rooms),
        sessions: process.sessions.clone(),
        invalidations: process.invalidations.clone(),
        access: parts.auth.part.1.clone(),
        metrics: metric_registry(
            process,
            upstreams.clone(),
            Arc::clone(&certificates),
            loaded,
        ),
        totals: TotalsReader::new(move || totals.totals()),
        upstreams,
        required_upstreams: config.admin.required_upstreams.clone(),
        certificates,
        connections: process.connections.clone(),
        load: process.load.clone(),
        drain: process.drain.clone(),
        recent: process.origin.recent.clone(),
        about: StartContext {
            config: process.origin.config.clone(),
            loaded,
            listeners: process.listeners.clone(),
            reload_failure: process.reload_failure.clone(),
            start: process.start,
        },
    }
}
