//! The parts of a generation that the next one shares if their settings have not changed. So
//! a reload loses no connection, no cached decision and no limit's state.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Error;
use super::process::Process;
use crate::auth::{AuthClient, Authenticator, Authorizer};
use crate::config::Config;
use crate::http::Upstreams;
use crate::limit::{ConcurrencyLimit, Limits};
use crate::runtime::drain::Drain;
use crate::tls::{self, Certificates, Renewal};
use crate::upstream::Upstream;
use crate::ws::upload::Uploads;

/// The parts of one generation that the next one may share.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) certificates: Reusable<Certificates>,
    pub(super) upstreams: Reusable<Upstreams>,
    pub(super) auth: Reusable<(Authenticator, Authorizer)>,
    /// The uploads; paused ones wait here until their client resumes.
    pub(super) uploads: Reusable<Uploads>,
    pub(super) limits: Arc<Limits>,
    pub(super) in_flight: ConcurrencyLimit,
    pub(super) open_files: ConcurrencyLimit,
}

/// A part that the next generation shares if its settings are the same, and the drain for the
/// tasks that live as long as the part.
#[derive(Debug)]
pub(super) struct Reusable<T> {
    pub(super) part: Arc<T>,
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

/// A task to spawn once the generation is in use.
pub(super) type Task = BoxFuture<'static, ()>;

impl Parts {
    /// Builds the parts for `config`, and shares the unchanged ones of `old`, which were built
    /// for the configuration beside them. Adds the tasks of the new parts to `tasks`. Blocks.
    ///
    /// # Errors
    /// Returns [`Error::Tls`] or [`Error::Acme`] if a certificate or the ACME state is unusable.
    pub(super) fn build(
        config: &Config,
        process: &Process,
        old: Option<(&Config, &Self)>,
        tasks: &mut Vec<Task>,
    ) -> Result<Self, Error> {
        // The old parts if the settings that `is_same` compares have not changed. Parts that
        // use another part compare its settings, too: they must not share an old one.
        let same = |is_same: fn(&Config, &Config) -> bool| {
            let same = old.filter(|(old, _)| is_same(old, config));
            same.map(|(_, parts)| parts)
        };
        let certificates = match same(|a, b| a.tls == b.tls) {
            // Their own task reloads the files.
            Some(old) => old.certificates.clone(),
            None => new_certificates(config, process, tasks)?,
        };
        let upstreams = match same(has_same_apps) {
            Some(old) => old.upstreams.clone(),
            None => new_upstreams(config, process, tasks),
        };
        let laravel = &upstreams.part.laravel;
        let auth = match same(|a, b| has_same_apps(a, b) && a.auth == b.auth) {
            Some(old) => old.auth.clone(),
            None => new_auth(config, process, laravel),
        };
        let old_parts = old.map(|(_, parts)| parts);
        let uploads = match same(has_same_uploads) {
            Some(old) => old.uploads.clone(),
            None => new_uploads(config, process, laravel, old_parts),
        };
        let limits = match same(|a, b| a.limits == b.limits) {
            Some(old) => Arc::clone(&old.limits),
            None => Arc::new(Limits::new(
                config.limits.clone(),
                Arc::clone(&process.metrics.limit),
                old_parts.map(|old| &*old.limits),
            )),
        };
        let in_flight = match same(has_same_max_requests) {
            Some(old) => old.in_flight.clone(),
            None => ConcurrencyLimit::new(config.limits.max_requests_in_flight),
        };
        let open_files = match same(|a, b| a.limits.max_open_files == b.limits.max_open_files) {
            Some(old) => old.open_files.clone(),
            None => ConcurrencyLimit::new(config.limits.max_open_files),
        };
        Ok(Self {
            certificates,
            upstreams,
            auth,
            uploads,
            limits,
            in_flight,
            open_files,
        })
    }

    /// Stops the tasks of the parts that `next` does not share.
    pub(super) fn retire_unless_in(&self, next: &Self) {
        self.certificates.retire_unless_in(&next.certificates);
        self.upstreams.retire_unless_in(&next.upstreams);
        self.auth.retire_unless_in(&next.auth);
        self.uploads.retire_unless_in(&next.uploads);
    }
}

fn has_same_apps(a: &Config, b: &Config) -> bool {
    a.upstream == b.upstream && a.upstreams == b.upstreams
}

fn has_same_uploads(a: &Config, b: &Config) -> bool {
    has_same_apps(a, b)
        && a.websocket.uploads == b.websocket.uploads
        && a.auth.token_form == b.auth.token_form
}

fn has_same_max_requests(a: &Config, b: &Config) -> bool {
    a.limits.max_requests_in_flight == b.limits.max_requests_in_flight
}

/// Loads the certificates, and adds the tasks that renew and reload them.
fn new_certificates(
    config: &Config,
    process: &Process,
    tasks: &mut Vec<Task>,
) -> Result<Reusable<Certificates>, Error> {
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

/// Creates the clients of all apps: Laravel, and those that routes name. Adds the tasks of
/// their health checks.
fn new_upstreams(config: &Config, process: &Process, tasks: &mut Vec<Task>) -> Reusable<Upstreams> {
    for doubt in config.apps().filter_map(|app| app.doubt()) {
        tracing::warn!(
            name: "upstream_needs_attention",
            detail = doubt,
            "upstream needs attention"
        );
    }
    let named = config.upstreams.iter();
    let upstreams = Reusable::new(
        Upstreams {
            laravel: Upstream::new(&config.upstream),
            named: named
                .map(|(name, settings)| (name.clone(), Upstream::new(settings)))
                .collect(),
        },
        process,
    );
    let apps = &upstreams.part;
    let named = config.upstreams.iter();
    let checks = named
        .filter_map(|(name, settings)| Some(apps.named.get(name)?.health_checks(settings)))
        .chain([apps.laravel.health_checks(&config.upstream)]);
    tasks.extend(checks.map(|checks| {
        let drain = upstreams.drain.clone();
        async move { checks.start(&drain) }.boxed()
    }));
    upstreams
}

fn new_auth(
    config: &Config,
    process: &Process,
    laravel: &Upstream,
) -> Reusable<(Authenticator, Authorizer)> {
    let settings = Arc::new(config.auth.clone());
    let metrics = Arc::clone(&process.metrics.auth);
    let auth_client = AuthClient::new(laravel.clone(), &settings, metrics);
    let (invalidations, drain) = (&process.invalidations, &process.drain);
    let identity = Authenticator::new(
        auth_client.clone(),
        Arc::clone(&settings),
        invalidations.clone(),
        drain.clone(),
    );
    let access = Authorizer::new(auth_client, settings, invalidations.clone(), drain.clone());
    Reusable::new((identity, access), process)
}

/// Creates the registry of uploads, which takes over the uploads of `old`.
fn new_uploads(
    config: &Config,
    process: &Process,
    laravel: &Upstream,
    old: Option<&Parts>,
) -> Reusable<Uploads> {
    let uploads = Uploads::new(
        laravel.clone(),
        config.websocket.uploads.clone(),
        config.auth.token_form,
        old.map(|old| &*old.uploads.part),
    );
    Reusable::new(uploads, process)
}
