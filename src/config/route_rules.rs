//! Rules that relate `[[routes]]` and upstreams to each other and to other tables.

use super::Config;
use super::reader::RuleViolation;
use crate::core::units::ByteSize;
use crate::http::{App, RouteAction, RouteSettings};
use crate::introspection::LARAVEL;
use crate::tls::ClientAuthMode;
use crate::upstream::{self, Protocol};

/// Checks all routes and upstreams, and returns the rules that do not hold.
pub(super) fn rules(config: &Config) -> Vec<RuleViolation> {
    let routes = config.routes.iter().enumerate();
    let mut broken: Vec<_> = routes
        .flat_map(|(number, route)| route_violations(config, number, route))
        .collect();
    broken.extend(upstream_rules(config, "upstream", &config.upstream));
    if config.upstreams.contains_key(LARAVEL) {
        broken.push(RuleViolation {
            keys: vec![format!("upstreams.{LARAVEL}")],
            message: format!("{LARAVEL:?} is the name of [upstream]; give this one another"),
        });
    }
    let required = config.admin.required_upstreams.iter().enumerate();
    broken.extend(
        required
            .filter(|(_, name)| *name != LARAVEL && !config.upstreams.contains_key(*name))
            .map(|(number, name)| RuleViolation {
                keys: vec![format!("admin.required_upstreams.{number}")],
                message: format!("there is no [upstreams.{name}]"),
            }),
    );
    for (name, upstream) in &config.upstreams {
        let section = format!("upstreams.{name}");
        broken.extend(upstream_rules(config, &section, upstream));
        broken.extend(check_response_timeout(config, &section, upstream));
    }
    broken
}

/// Returns the rules that `route`, which has this `number` in the file from 0, does not hold.
fn route_violations(config: &Config, number: usize, route: &RouteSettings) -> Vec<RuleViolation> {
    let mut broken = Vec::new();
    let mut report =
        |keys: Vec<String>, message: String| broken.push(RuleViolation { keys, message });
    if let RouteAction::App(App::Named(name)) | RouteAction::Files(_, Some(App::Named(name))) =
        &route.to
        && !config.upstreams.contains_key(name)
    {
        report(
            route_keys(number, &["upstream"]),
            format!("there is no [upstreams.{name}]"),
        );
    }
    if route.require_client_certificate && config.tls.client_auth.mode == ClientAuthMode::Off {
        let message = "the edge requests no client certificates: tls.client_auth.mode must be \
                       \"optional\" or \"required\"";
        report(
            route_keys(number, &["require_client_certificate"]),
            message.to_owned(),
        );
    }
    if !route.upgrade_protocols.is_empty()
        && upstream(config, &route.to).is_some_and(|it| it.root.is_some())
    {
        let message = "php-fpm takes no upgrades: a tunnel needs an upstream that speaks HTTP";
        report(route_keys(number, &["pass_upgrades"]), message.to_owned());
    }
    let earlier = &config.routes[..number];
    if let Some(above) = earlier.iter().position(|earlier| earlier.covers(route)) {
        let message = format!(
            "this route is never reached: all its requests fit [[routes]] number {} above; \
             put this one first",
            above + 1
        );
        let fit = ["path", "hosts"];
        report(
            [route_keys(number, &fit), route_keys(above, &fit)].concat(),
            message,
        );
    }
    broken
}

/// Returns the paths of `keys` of a route. The route itself comes last: it is reported if the
/// file has none of the keys.
fn route_keys(number: usize, keys: &[&str]) -> Vec<String> {
    let keys = keys.iter().map(|key| format!("routes.{number}.{key}"));
    keys.chain([format!("routes.{number}")]).collect()
}

/// Checks that connections outlive the response timeout of `upstream`, whose table is
/// `section`.
fn check_response_timeout(
    config: &Config,
    section: &str,
    upstream: &upstream::Settings,
) -> Option<RuleViolation> {
    if upstream.response_timeout < config.http.stream_idle_timeout {
        return None;
    }
    Some(RuleViolation {
        keys: vec![
            format!("{section}.response_timeout"),
            "http.stream_idle_timeout".to_owned(),
        ],
        message: format!(
            "http.stream_idle_timeout must be longer than {section}.response_timeout, \
             or the edge closes connections before the app's time is up"
        ),
    })
}

/// Returns the upstream that a route with the action `to` sends requests to, or `None` if it
/// has none or the name is unknown.
fn upstream<'a>(config: &'a Config, to: &RouteAction) -> Option<&'a upstream::Settings> {
    match to {
        RouteAction::App(app) | RouteAction::Files(_, Some(app)) => match app {
            App::Laravel => Some(&config.upstream),
            App::Named(name) => config.upstreams.get(name),
        },
        RouteAction::Files(_, None) | RouteAction::Redirect(_) | RouteAction::Reject(_) => None,
    }
}

/// Returns the size of the longest request body that the edge may send to `app`.
///
/// It is the largest of `http.max_body_size`, `max_body_size` of the routes to `app` and, if
/// `app` is Laravel, `websocket.uploads.max_size`.
fn max_body_size(config: &Config, app: &upstream::Settings) -> ByteSize {
    // Two upstreams may have equal settings; the address distinguishes them.
    let leads_there = |to| upstream(config, to).is_some_and(|it| std::ptr::eq(it, app));
    let routes = config.routes.iter().filter(|route| leads_there(&route.to));
    let uploads =
        leads_there(&RouteAction::App(App::Laravel)).then_some(config.websocket.uploads.max_size);
    let bodies = routes
        .filter_map(|route| route.max_body_size)
        .chain(uploads);
    bodies.fold(config.http.max_body_size, ByteSize::max)
}

/// Checks the rules about `upstream`, whose table is `section`. Returns the first that does
/// not hold.
fn upstream_rules(
    config: &Config,
    section: &str,
    upstream: &upstream::Settings,
) -> Vec<RuleViolation> {
    let is_fastcgi = upstream.url.protocol() == Protocol::FastCgi;
    let message = match (is_fastcgi, &upstream.root) {
        (true, None) => {
            "php-fpm needs the path of the app: root = \"/var/www/app/public\", as php-fpm sees it"
        }
        (false, Some(_)) => {
            "root is for php-fpm, whose url begins with \"fastcgi\"; an HTTP server has its own"
        }
        _ if is_fastcgi
            && upstream.disk_buffer_size.get() / 4 < max_body_size(config, upstream).get() =>
        {
            "disk_buffer_size must be four times the longest body that may come \
             (http.max_body_size, max_body_size of a route, websocket.uploads.max_size) or more: a \
             quarter is the most that one client may fill"
        }
        _ if is_fastcgi && config.http.max_header_size > MAX_FASTCGI_HEAD => {
            "http.max_header_size must not be more than 60 KiB: php-fpm takes no longer header"
        }
        _ => return Vec::new(),
    };
    let keys = ["root", "disk_buffer_size", "url"].map(|key| format!("{section}.{key}"));
    vec![RuleViolation {
        keys: keys.to_vec(),
        message: format!("{section}: {message}"),
    }]
}

/// Largest `http.max_header_size` with php-fpm. A header becomes one FastCGI parameter, and
/// php-fpm closes the connection if a parameter does not fit into one record of 65,535 bytes.
const MAX_FASTCGI_HEAD: ByteSize = ByteSize::kib(60);
