//! The settings of `[[routes]]` in `config.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use hyper::StatusCode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::upgrade_protocol::UpgradeProtocol;
use crate::core::host_port::HostPort;
use crate::core::origin::Origin;
use crate::core::request_path::UrlPath;
use crate::core::units::{ByteSize, PositiveCount, deserialize_number};
use crate::files;
use crate::introspection::LARAVEL;

/// A route: the destination of the requests to some hosts below some path. The first route
/// that matches a request applies.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Settings {
    /// The hosts; empty for all.
    pub hosts: Vec<HostPattern>,
    /// The path, with everything below it.
    pub path: UrlPath,
    /// The destination of the requests.
    pub(crate) to: RouteAction,
    /// The maximum size of a request body; `http.max_body_size` if `None`.
    pub(crate) max_body_size: Option<ByteSize>,
    /// Whether the route rejects clients without a certificate.
    pub(crate) require_client_certificate: bool,
    /// Protocols whose upgrades are tunneled to the upstream; empty for none.
    pub(crate) upgrade_protocols: Vec<UpgradeProtocol>,
    /// The rate of each client: requests per minute, and the burst.
    pub(crate) rate: Option<(PositiveCount, PositiveCount)>,
    /// Directories whose files the upstream may name in `X-Accel-Redirect`, by the path that
    /// stands for them there, and in `X-Sendfile`.
    pub(crate) sendfile: Vec<(UrlPath, PathBuf)>,
}

/// The destination of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteAction {
    /// An application, to which the edge forwards the requests.
    App(App),
    /// The files of a directory, and an application for requests that match no file.
    Files(files::Settings, Option<App>),
    /// A redirect to another origin, with the same path and query.
    Redirect(Origin),
    /// A rejection with 403 or 404.
    Reject(StatusCode),
}

/// An application behind the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum App {
    /// The application of `[upstream]`, called `laravel`.
    Laravel,
    /// The application of `[upstreams.NAME]`.
    Named(String),
}

impl From<String> for App {
    fn from(name: String) -> Self {
        if name == LARAVEL {
            Self::Laravel
        } else {
            Self::Named(name)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    hosts: Vec<HostPattern>,
    path: Option<UrlPath>,
    upstream: Option<String>,
    files: Option<PathBuf>,
    fallback: Option<files::SafePath>,
    allowed_symlink_targets: Option<Vec<PathBuf>>,
    #[serde(default, deserialize_with = "deserialize_redirect")]
    redirect: Option<Origin>,
    #[serde(default, deserialize_with = "deserialize_status")]
    status: Option<StatusCode>,
    max_body_size: Option<ByteSize>,
    #[serde(default)]
    require_client_certificate: bool,
    #[serde(default)]
    pass_upgrades: bool,
    upgrade_protocols: Option<Vec<UpgradeProtocol>>,
    requests_per_minute: Option<PositiveCount>,
    request_burst: Option<PositiveCount>,
    #[serde(default)]
    sendfile: BTreeMap<String, PathBuf>,
}

impl TryFrom<Written> for Settings {
    type Error = String;

    fn try_from(mut written: Written) -> Result<Self, String> {
        let to = written.destination()?;
        let has_upstream = matches!(to, RouteAction::App(_) | RouteAction::Files(_, Some(_)));
        if !has_upstream && (written.pass_upgrades || written.max_body_size.is_some()) {
            return Err("pass_upgrades and max_body_size need a route to an upstream".to_owned());
        }
        let upgrade_protocols = match (written.pass_upgrades, written.upgrade_protocols) {
            (false, None) => Vec::new(),
            (true, None) => vec![UpgradeProtocol::websocket()],
            (true, Some(protocols)) if !protocols.is_empty() => protocols,
            (true, Some(_)) => {
                return Err("upgrade_protocols names none; leave out pass_upgrades then".to_owned());
            }
            (false, Some(_)) => {
                return Err("upgrade_protocols needs pass_upgrades = true".to_owned());
            }
        };
        let rate = match (written.requests_per_minute, written.request_burst) {
            (None, None) => None,
            (None, Some(_)) => return Err("request_burst needs requests_per_minute".to_owned()),
            (Some(count), burst) => Some((count, burst.unwrap_or(count))),
        };
        if !has_upstream && !written.sendfile.is_empty() {
            return Err("sendfile needs a route to an upstream, which names the files".to_owned());
        }
        Ok(Self {
            sendfile: sendfile_directories(written.sendfile)?,
            hosts: written.hosts,
            path: written.path.unwrap_or_else(|| UrlPath::new("/")),
            to,
            max_body_size: written.max_body_size,
            require_client_certificate: written.require_client_certificate,
            upgrade_protocols,
            rate,
        })
    }
}

impl Settings {
    /// Returns all file system paths of the route, so that they can be made absolute.
    pub(crate) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let files = match &mut self.to {
            RouteAction::Files(files, _) => Some(files),
            _ => None,
        };
        let sendfile = self.sendfile.iter_mut().map(|(_, directory)| directory);
        let files = files.into_iter().flat_map(files::Settings::paths_mut);
        files.chain(sendfile)
    }
}

impl Written {
    fn destination(&mut self) -> Result<RouteAction, String> {
        let app = self.upstream.take().map(App::from);
        let files = self.files.take();
        let (fallback, targets) = (self.fallback.take(), self.allowed_symlink_targets.take());
        if files.is_none() && (fallback.is_some() || targets.is_some()) {
            return Err(
                "fallback and allowed_symlink_targets need files, the directory they belong to"
                    .to_owned(),
            );
        }
        if fallback.is_some() && app.is_some() {
            return Err(
                "a route has a fallback or an upstream: either one responds to requests for no file".to_owned(),
            );
        }
        let is_empty = |path: &PathBuf| path.as_os_str().is_empty();
        if files.iter().chain(targets.iter().flatten()).any(is_empty) {
            return Err(
                "files and allowed_symlink_targets must name directories: \"\" would be that of config.toml"
                    .to_owned(),
            );
        }
        match (files, app, self.redirect.take(), self.status) {
            (Some(root), app, None, None) => {
                let allowed_symlink_targets = targets.unwrap_or_default();
                let files = files::Settings {
                    root,
                    fallback,
                    allowed_symlink_targets,
                };
                Ok(RouteAction::Files(files, app))
            }
            (None, app, None, None) => Ok(RouteAction::App(app.unwrap_or(App::Laravel))),
            (None, None, Some(origin), None) => Ok(RouteAction::Redirect(origin)),
            (None, None, None, Some(status)) => Ok(RouteAction::Reject(status)),
            _ => Err("a route has one of upstream, files, redirect and status".to_owned()),
        }
    }
}

/// A pattern of hosts, without a port: a name, or `*.name` for all names below it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPattern {
    /// The name in lower case. A leading dot stands for all names below.
    name: String,
}

impl HostPattern {
    /// Returns whether the pattern matches `host`, which is in lower case.
    pub(super) fn matches(&self, host: &str) -> bool {
        if self.name.starts_with('.') {
            host.ends_with(&self.name)
        } else {
            host == self.name
        }
    }

    /// Returns whether this pattern matches every host that `other` matches.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self == other || self.name.starts_with('.') && other.name.ends_with(&self.name)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.name.starts_with('.') { "*" } else { "" };
        write!(f, "{star}{}", self.name)
    }
}

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (dot, name) = match text.strip_prefix("*.") {
            Some(name) => (".", name),
            None => ("", text.as_str()),
        };
        match HostPort::parse(name) {
            Some(HostPort { host, port: None }) if !name.ends_with(':') => Ok(Self {
                name: format!("{dot}{host}"),
            }),
            _ => Err(format!(
                "{text:?} is not a host; expected \"admin.example.org\" or \"*.example.org\""
            )),
        }
    }
}

/// Checks the prefixes and directories of `sendfile`.
fn sendfile_directories(
    written: BTreeMap<String, PathBuf>,
) -> Result<Vec<(UrlPath, PathBuf)>, String> {
    let directories = written.into_iter().map(|(prefix, directory)| {
        if directory.as_os_str().is_empty() {
            return Err(format!("sendfile must name a directory for {prefix:?}"));
        }
        Ok((UrlPath::try_from(prefix)?, directory))
    });
    directories.collect()
}

/// Reads the status of a rejection: 403 or 404.
fn deserialize_status<'de, D: Deserializer<'de>>(value: D) -> Result<Option<StatusCode>, D::Error> {
    let status = |number| match number {
        403 => Some(StatusCode::FORBIDDEN),
        404 => Some(StatusCode::NOT_FOUND),
        _ => None,
    };
    deserialize_number(value, "the number 403 or 404", status).map(Some)
}

/// Reads the origin of `redirect`.
fn deserialize_redirect<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Origin>, D::Error> {
    let text = String::deserialize(value)?;
    parse_redirect(&text).map(Some).map_err(D::Error::custom)
}

/// Parses the origin of `redirect`, which may end with a slash.
fn parse_redirect(text: &str) -> Result<Origin, String> {
    Origin::parse(text.trim_end_matches('/')).ok_or_else(|| {
        format!(
            "{text:?} is not a site; expected \"https://www.example.org\": path and query \
             stay as they are"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn wildcard_host_matches_subdomains_only() {
        assert!(pattern("*.Example.org").matches("a.b.example.org"));
        assert!(!pattern("*.example.org").matches("example.org"));
        assert!(!pattern("*.example.org").matches("badexample.org"));
        assert!(pattern("example.org").matches("example.org"));
        assert!(pattern("*.example.org").covers(&pattern("*.a.example.org")));
        assert!(!pattern("*.a.example.org").covers(&pattern("*.example.org")));
        for wrong in ["", "*", "a:", "a:80", "https://a", "a.*", "*.*.a", "a b"] {
            assert!(HostPattern::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn redirect_target_that_is_no_origin_is_rejected() {
        for wrong in [
            "",
            "www.example.org",
            "https://a/b",
            "ftp://a",
            "https://a b",
            "https://u@a",
        ] {
            assert!(parse_redirect(wrong).is_err(), "{wrong}");
        }
        let origin = parse_redirect("https://a:8443/").unwrap();
        assert_eq!(origin.to_string(), "https://a:8443");
    }
}
