//! Which request goes where: the table that `[[routes]]` writes.

mod protocol;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::header::{HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};

pub use self::protocol::UpgradeProtocol;
pub use self::settings::{App, HostPattern, Origin, RouteAction, Settings};
use super::{BadRequest, Rejection};
use crate::core::host_port::HostPort;
use crate::core::paths::{NormalizedPath, UrlPath};
use crate::files::{Files, UnusableDirectory};
use crate::limit::Rate;
use crate::metrics::{self, Metrics};
use crate::upstream::Upstream;

/// All routes, in order; what fits none goes to Laravel.
#[derive(Debug)]
pub struct Routes {
    routes: Vec<Route>,
    rest: Route,
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) metrics: Arc<metrics::Route>,
    hosts: Vec<HostPattern>,
    path: UrlPath,
    pub(super) action: Action,
    pub(super) max_body_size: usize,
    pub(super) require_client_certificate: bool,
    /// Upgrades to which protocols go there, too.
    pub(super) upgrade_protocols: Vec<UpgradeProtocol>,
    pub(super) rate: Option<Rate>,
}

/// Where a request goes.
#[derive(Debug)]
pub(super) enum Action {
    Upstream(Upstream),
    /// What is no file goes to the upstream, if there is one.
    Files(Files, Option<Upstream>),
    Redirect(Origin),
    Refusal(StatusCode),
}

/// The apps behind the edge.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// `[upstream]`.
    pub laravel: Upstream,
    /// `[upstreams.NAME]`.
    pub named: BTreeMap<String, Upstream>,
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
            RouteAction::Refusal(status) => Action::Refusal(*status),
        })
    }
}

impl Routes {
    /// The table for `settings`; bodies of up to `max_body_size` bytes where a route
    /// says nothing else. A name that is not among `upstreams` means Laravel;
    /// the configuration has none such.
    ///
    /// # Errors
    /// A directory of files cannot be used.
    pub fn new(
        settings: &[Settings],
        upstreams: &Upstreams,
        max_body_size: usize,
        metrics: &Metrics,
    ) -> Result<Self, UnusableDirectory> {
        let route = |route: &Settings| -> Result<Route, UnusableDirectory> {
            Ok(Route {
                metrics: metrics.requests.route(&route.name().into()),
                hosts: route.hosts.clone(),
                path: route.path.clone(),
                action: upstreams.action(&route.to)?,
                max_body_size: route.max_body_size.map_or(max_body_size, |most| most.get()),
                require_client_certificate: route.require_client_certificate,
                upgrade_protocols: route.upgrade_protocols.clone(),
                rate: route
                    .rate
                    .map(|(count, burst)| Rate::per_minute(count, burst)),
            })
        };
        Ok(Self {
            routes: settings.iter().map(route).collect::<Result<_, _>>()?,
            rest: Route {
                metrics: metrics.requests.route(&"/".into()),
                hosts: Vec::new(),
                path: UrlPath::new("/"),
                action: Action::Upstream(upstreams.laravel.clone()),
                max_body_size,
                require_client_certificate: false,
                upgrade_protocols: Vec::new(),
                rate: None,
            },
        })
    }

    /// The route of `request`, whose `Host` is settled.
    ///
    /// # Errors
    /// The path can be read in two ways that lead to two routes: whoever spells
    /// it so wants to get past one of them.
    pub(super) fn find<B>(&self, request: &Request<B>) -> Result<&Route, Rejection> {
        let path = NormalizedPath::parse(request.uri().path())
            .map_err(|_| Rejection::BadRequest(BadRequest::NulInPath))?;
        if self.routes.is_empty() {
            return Ok(&self.rest);
        }
        let host = request.headers().get(HOST);
        let host = host.and_then(|host| HostPort::parse(host.to_str().ok()?));
        let host = host.map(|host| host.host).unwrap_or_default();
        let literal = self.route(&host, &path.literal);
        let agree = std::ptr::eq(literal, self.route(&host, &path.resolved));
        if agree && !path.is_ambiguous {
            Ok(literal)
        } else {
            Err(Rejection::BadRequest(BadRequest::AmbiguousPath))
        }
    }

    fn route(&self, host: &str, path: &str) -> &Route {
        let fits = |route: &&Route| route.matches(host, path);
        self.routes.iter().find(fits).unwrap_or(&self.rest)
    }
}

impl Routes {
    /// Frees what the routes' rates keep of clients that have been quiet.
    pub fn forget_idle(&self) {
        let rates = self.routes.iter().filter_map(|route| route.rate.as_ref());
        rates.for_each(Rate::forget_idle);
    }
}

impl Route {
    fn matches(&self, host: &str, path: &str) -> bool {
        let host = self.hosts.is_empty() || self.hosts.iter().any(|one| one.matches(host));
        host && self.path.is_above(path)
    }
}

impl Settings {
    /// As metrics name it: hosts and path.
    fn name(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(ToString::to_string).collect();
        format!("{}{}", hosts.join(","), self.path.as_str())
    }

    /// Whether every request that fits `other` fits this one.
    pub fn covers(&self, other: &Self) -> bool {
        let covered = |one: &HostPattern| self.hosts.iter().any(|mine| mine.covers(one));
        let hosts = match (self.hosts.is_empty(), other.hosts.is_empty()) {
            (true, _) => true,
            (false, true) => false,
            (false, false) => other.hosts.iter().all(covered),
        };
        hosts && self.path.is_above(other.path.as_str())
    }
}

/// The same path and query at another site.
pub(super) fn redirect_location(origin: &Origin, uri: &Uri) -> Option<HeaderValue> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    HeaderValue::try_from(format!("{}{target}", origin.as_str())).ok()
}
