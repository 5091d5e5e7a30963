//! The stage of routing, with the table of `[[routes]]`: finds the route of a request by host and path, and
//! with it the upstream, file directory, redirect or rejection.

mod settings;
mod upgrade_protocol;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::header::HOST;
use hyper::{Request, StatusCode};

pub(crate) use self::settings::{App, HostPattern, RouteAction, Settings};
pub(crate) use self::upgrade_protocol::UpgradeProtocol;
use crate::core::host_port::HostPort;
use crate::core::origin::Origin;
use crate::core::request_path::{NormalizedPath, UrlPath};
use crate::files::{Files, UnusableDirectory};
use crate::http::{BadRequest, Metrics, Rejection, RouteMetrics};
use crate::limit::Rate;
use crate::upstream::Upstream;

/// The routes in order of precedence. A request that matches none goes to Laravel.
#[derive(Debug)]
pub(crate) struct Routes {
    routes: Vec<Route>,
    default: Route,
}

/// One route: the requests that it matches, and their destination.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) metrics: Arc<RouteMetrics>,
    hosts: Vec<HostPattern>,
    path: UrlPath,
    pub(super) action: Action,
    pub(super) max_body_size: usize,
    pub(super) require_client_certificate: bool,
    /// Protocols whose upgrades are tunneled to the upstream.
    pub(super) upgrade_protocols: Vec<UpgradeProtocol>,
    pub(super) rate: Option<Rate>,
    /// The directories whose files the application may name instead of a response.
    pub(super) sendfile: Vec<SendfileDirectory>,
}

/// A directory whose files an application may name instead of a response.
#[derive(Debug)]
pub(super) struct SendfileDirectory {
    /// The prefix that stands for the directory in `X-Accel-Redirect`.
    pub(super) prefix: UrlPath,
    pub(super) files: Files,
}

/// The destination of a request.
#[derive(Debug)]
pub(super) enum Action {
    Upstream(Upstream),
    /// Files, and the upstream for requests that match no file.
    Files(Files, Option<Upstream>),
    Redirect(Origin),
    /// A rejection with 403 or 404.
    Reject(StatusCode),
}

/// The applications behind the edge.
#[derive(Clone, Debug)]
pub(crate) struct Upstreams {
    /// The application of `[upstream]`.
    pub(crate) laravel: Upstream,
    /// The applications of `[upstreams.NAME]`, by name.
    pub(crate) named: BTreeMap<String, Upstream>,
}

impl Upstreams {
    fn app(&self, app: &App) -> Upstream {
        let named = match app {
            App::Laravel => None,
            App::Named(name) => self.named.get(name),
        };
        named.unwrap_or(&self.laravel).clone()
    }

    fn action(&self, to: &RouteAction) -> Result<Action, UnusableDirectory> {
        Ok(match to {
            RouteAction::App(app) => Action::Upstream(self.app(app)),
            RouteAction::Files(files, app) => {
                Action::Files(Files::open(files)?, app.as_ref().map(|app| self.app(app)))
            }
            RouteAction::Redirect(origin) => Action::Redirect(origin.clone()),
            RouteAction::Reject(status) => Action::Reject(*status),
        })
    }
}

impl Routes {
    /// Creates the table of `settings`, with `max_body_size` as the default in bytes. An
    /// unknown upstream name stands for Laravel; the configuration rejects such names.
    ///
    /// # Errors
    /// Returns [`UnusableDirectory`] if the directory of a route with files cannot be used.
    pub(crate) fn new(
        settings: &[Settings],
        upstreams: &Upstreams,
        max_body_size: usize,
        metrics: &Metrics,
    ) -> Result<Self, UnusableDirectory> {
        let route = |route: &Settings| -> Result<Route, UnusableDirectory> {
            Ok(Route {
                metrics: metrics.route(&route.name().into()),
                hosts: route.hosts.clone(),
                path: route.path.clone(),
                action: upstreams.action(&route.to)?,
                max_body_size: route.max_body_size.map_or(max_body_size, |most| most.get()),
                require_client_certificate: route.require_client_certificate,
                upgrade_protocols: route.upgrade_protocols.clone(),
                rate: route
                    .rate
                    .map(|(count, burst)| Rate::per_minute(count, burst)),
                sendfile: route
                    .sendfile
                    .iter()
                    .map(|(prefix, directory)| {
                        Ok(SendfileDirectory {
                            prefix: prefix.clone(),
                            files: Files::in_directory(directory, "sendfile")?,
                        })
                    })
                    .collect::<Result<_, _>>()?,
            })
        };
        Ok(Self {
            routes: settings.iter().map(route).collect::<Result<_, _>>()?,
            default: Route {
                metrics: metrics.route(&"/".into()),
                hosts: Vec::new(),
                path: UrlPath::new("/"),
                action: Action::Upstream(upstreams.laravel.clone()),
                max_body_size,
                require_client_certificate: false,
                upgrade_protocols: Vec::new(),
                rate: None,
                sendfile: Vec::new(),
            },
        })
    }

    /// Returns the route of `request`, which must be normalized.
    ///
    /// # Errors
    /// Returns [`Rejection::BadRequest`] if the path contains a NUL, or if two readings of it
    /// lead to different routes: such a path is meant to bypass one of them.
    pub(super) fn find<B>(&self, request: &Request<B>) -> Result<&Route, Rejection> {
        let path = NormalizedPath::parse(request.uri().path())
            .map_err(|_| Rejection::BadRequest(BadRequest::NulInPath))?;
        if self.routes.is_empty() {
            return Ok(&self.default);
        }
        let host = request
            .headers()
            .get(HOST)
            .and_then(|host| HostPort::parse(host.to_str().ok()?))
            .map(|parsed| parsed.host)
            .unwrap_or_default();
        let route = self.first_match(&host, &path.literal);
        let leads_there = |reading| std::ptr::eq(route, self.first_match(&host, reading));
        if path.readings().all(leads_there) {
            Ok(route)
        } else {
            Err(Rejection::BadRequest(BadRequest::AmbiguousPath))
        }
    }

    fn first_match(&self, host: &str, path: &str) -> &Route {
        let matches = |route: &&Route| route.matches(host, path);
        self.routes.iter().find(matches).unwrap_or(&self.default)
    }
}

impl Routes {
    /// Frees the state of clients whose rates have recovered completely.
    pub(crate) fn forget_idle(&self) {
        let rates = self.routes.iter().filter_map(|route| route.rate.as_ref());
        rates.for_each(Rate::forget_idle);
    }
}

impl Route {
    fn matches(&self, host: &str, path: &str) -> bool {
        let matches_host =
            self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host));
        matches_host && self.path.is_above(path)
    }
}

impl Settings {
    /// Returns the name of the route in metrics: hosts and path.
    fn name(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(ToString::to_string).collect();
        format!("{}{}", hosts.join(","), self.path.as_str())
    }

    /// Returns whether this route matches every request that `other` matches.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let is_covered = |pattern: &HostPattern| self.hosts.iter().any(|own| own.covers(pattern));
        let covers_hosts = match (self.hosts.is_empty(), other.hosts.is_empty()) {
            (true, _) => true,
            (false, true) => false,
            (false, false) => other.hosts.iter().all(is_covered),
        };
        covers_hosts && self.path.is_above(other.path.as_str())
    }
}
