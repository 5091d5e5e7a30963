//! The configuration: reads `config.toml` into values that are all in range.
//!
//! Each module of the edge defines the settings of its own table. This module combines
//! them and checks the rules that span several keys. It opens no file but `config.toml`;
//! it follows other paths on disk only to check that no route serves a private key.

mod admin;
mod control_socket;
mod diagnostics;
mod explain;
mod key_path;
mod listen_rules;
mod reader;
mod renamed;
mod route_rules;
mod rules;
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub(crate) use self::admin::Admin;
pub(crate) use self::control_socket::ControlSocket;
pub use self::diagnostics::{Diagnostic, Diagnostics};
pub(crate) use self::server::Server;
use crate::{auth, control, http, limit, logging, rooms, tls, upstream, ws};

/// The settings of `config.toml`, with defaults for missing keys.
///
/// [`Config::from_toml`] and [`Config::load`] return it only if every value is in range and
/// every rule across keys holds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses, trusted proxies, threads and shutdown: `[server]`.
    pub server: Server,
    /// Addresses of the monitoring endpoints: `[admin]`.
    pub(crate) admin: Admin,
    /// Log level and format: `[log]`.
    pub(crate) log: logging::Settings,
    /// Certificates, ACME and client certificates: `[tls]`.
    pub tls: tls::Settings,
    /// The upstream of all requests that no route sends elsewhere: `[upstream]`.
    pub upstream: upstream::Settings,
    /// Further upstreams by the name that routes use: `[upstreams.NAME]`.
    pub(crate) upstreams: BTreeMap<String, upstream::Settings>,
    /// Routes in the order of the file; the first match wins: `[[routes]]`.
    pub routes: Vec<http::RouteSettings>,
    /// Response compression: `[compression]`.
    pub(crate) compression: http::CompressionSettings,
    /// Timeouts and limits of HTTP: `[http]`.
    pub http: http::Settings,
    /// Maintenance mode: `[maintenance]`.
    pub(crate) maintenance: http::MaintenanceSettings,
    /// Connection and rate limits: `[limits]`.
    pub(crate) limits: limit::Settings,
    /// WebSocket sessions and uploads: `[websocket]`.
    pub(crate) websocket: ws::Settings,
    /// The Pusher protocol: `[pusher]`.
    pub(crate) pusher: ws::PusherSettings,
    /// Authentication by Laravel and its cache: `[auth]`.
    pub(crate) auth: auth::settings::Settings,
    /// Rooms and presence: `[rooms]`.
    pub(crate) rooms: rooms::Settings,
    /// The history of events for clients that return: `[history]`.
    pub(crate) history: rooms::HistorySettings,
    /// The control socket and the events that it accepts: `[broadcast]`.
    pub broadcast: control::Settings,
}

/// An error that leaves the edge without a configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file cannot be read, or the path of a `root` in it cannot be made absolute.
    #[error("cannot read {}; name the file with --config", .path.display())]
    Read {
        /// The configuration file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file is not encoded in UTF-8.
    #[error(
        "{}: {problem}; save it as UTF-8, such as with `iconv -f {encoding} -t UTF-8 OLD >NEW`",
        .path.display()
    )]
    Encoding {
        /// The configuration file.
        path: PathBuf,
        /// What shows the encoding; it has the line of the first invalid byte if it is known.
        problem: String,
        /// The likely encoding, by the name that iconv(1) has for it.
        encoding: &'static str,
    },
    /// The text has syntax errors, invalid values or broken rules.
    #[error("{0}")]
    Mistakes(Diagnostics),
    /// A route serves a directory that holds a secret, so that any client could fetch it.
    #[error(
        "{}: {} (files, sendfile or allowed_symlink_targets of a route) holds {}, a secret that \
         everyone could then fetch; name a directory of the site alone, such as \
         \"/var/www/app/public\"",
        .file.display(),
        .root.display(),
        .secret.display()
    )]
    Exposed {
        /// The configuration file.
        file: PathBuf,
        /// The private key, the storage directory of the ACME client, or `pusher.secret_file`.
        secret: PathBuf,
        /// The directory that the route serves.
        root: PathBuf,
    },
}

/// Decodes the bytes of a file as UTF-8.
///
/// # Errors
/// Returns [`Error::Encoding`] with `path`. It names UTF-16, or the first line, from 1, with
/// an invalid byte.
fn decode(bytes: Vec<u8>, path: &Path) -> Result<String, Error> {
    let failure = |problem, encoding| Error::Encoding {
        path: path.to_owned(),
        problem,
        encoding,
    };
    // The byte order mark of UTF-16 (RFC 2781 §3.2). Editors on Windows write it.
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(failure("the file is in UTF-16".to_owned(), "UTF-16"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let lines = error.as_bytes()[..valid].split(|byte| *byte == b'\n');
        let line = lines.count();
        let problem = format!("line {line} is not UTF-8, but perhaps Latin-1");
        failure(problem, "LATIN1")
    })
}

impl Config {
    /// Reads the configuration file at `path`.
    ///
    /// Relative paths in the file are resolved against its directory. The call blocks on
    /// the file system.
    ///
    /// # Errors
    /// The errors of [`Config::read`], and the first that it returns beside a configuration.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let (config, broken) = Self::read(path)?;
        broken.into_iter().next().map_or(Ok(config), Err)
    }

    /// Reads the configuration file at `path`, as [`Config::load`] does. Returns it also if it
    /// breaks rules between keys, with [`Error::Mistakes`], and if a route serves a directory
    /// that holds a private key, with [`Error::Exposed`]: the files that it names can be checked
    /// all the same.
    ///
    /// # Errors
    /// - [`Error::Read`] if the file cannot be read, or a `root` cannot be made absolute.
    /// - [`Error::Encoding`] if the file is not UTF-8.
    /// - [`Error::Mistakes`] if the syntax or a key is invalid.
    pub(crate) fn read(path: &Path) -> Result<(Self, Vec<Error>), Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let text = decode(bytes, path)?;
        let mistakes =
            |mistakes: Diagnostics| Error::Mistakes(mistakes.in_file(&path.display().to_string()));
        let directory = path.parent().unwrap_or_else(|| Path::new(""));
        let rules = |config: &Self| rules::violations(config, directory);
        let (mut config, broken_rules) = reader::read(&text, rules).map_err(mistakes)?;
        config.resolve_paths(path)?;
        let exposed = config
            .find_exposed_key()
            .map(|(secret, root)| Error::Exposed {
                file: path.to_owned(),
                secret,
                root,
            });
        let broken = broken_rules.map(mistakes).into_iter().chain(exposed);
        Ok((config, broken.collect()))
    }

    /// Resolves relative paths against the directory of the configuration file at `path`.
    ///
    /// # Errors
    /// Returns [`Error::Read`] if a `root` cannot be made absolute.
    fn resolve_paths(&mut self, path: &Path) -> Result<(), Error> {
        let directory = path.parent().unwrap_or_else(|| Path::new(""));
        let files = self
            .tls
            .paths_mut()
            .chain([&mut self.broadcast.socket])
            .chain(&mut self.http.error_pages)
            .chain(&mut self.maintenance.page)
            .chain(&mut self.pusher.secret_file)
            .chain(self.history.directory_mut());
        let routes = self.routes.iter_mut();
        for file in files.chain(routes.flat_map(http::RouteSettings::paths_mut)) {
            *file = directory.join(&*file);
        }
        // php-fpm runs in another working directory, so that a path that is relative to the
        // edge's would name another file there.
        let apps = [&mut self.upstream].into_iter();
        let roots = apps.chain(self.upstreams.values_mut());
        for root in roots.filter_map(|app| app.root.as_mut()) {
            let full = std::path::absolute(directory.join(&*root));
            *root = full.map_err(|source| Error::Read {
                path: path.to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    /// Returns the first secret that a route would serve as a file, and the directory
    /// that the route serves.
    fn find_exposed_key(&mut self) -> Option<(PathBuf, PathBuf)> {
        // Symbolic links are resolved, or a link could hide a key. A path that does not exist
        // yet cannot be resolved and is compared as written.
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let roots: Vec<_> = self
            .routes
            .iter_mut()
            .flat_map(http::RouteSettings::paths_mut)
            .map(|root| real(root))
            .collect();
        let secrets = self.tls.secrets().chain(&self.pusher.secret_file);
        let mut secrets = secrets.map(|secret| (secret, real(secret)));
        secrets.find_map(|(secret, end)| {
            let root = roots.iter().find(|root| end.starts_with(root))?;
            Some((secret.clone(), root.clone()))
        })
    }

    /// Reads a configuration from the text of a file. Paths stay as written.
    ///
    /// # Errors
    /// The first syntax error, or else all invalid keys and broken rules, sorted by line.
    /// After 50 invalid keys the reading stops.
    pub fn from_toml(text: &str) -> Result<Self, Diagnostics> {
        let rules = |config: &Self| rules::violations(config, Path::new(""));
        let (config, broken_rules) = reader::read(text, rules)?;
        broken_rules.map_or(Ok(config), Err)
    }

    /// Returns whether an upstream is php-fpm; only these have a `root`.
    pub(crate) fn uses_fpm(&self) -> bool {
        self.apps().any(|app| app.root.is_some())
    }

    /// Returns all upstreams: that of `[upstream]`, then those of `[upstreams.NAME]` sorted
    /// by name.
    pub(crate) fn apps(&self) -> impl Iterator<Item = &upstream::Settings> {
        [&self.upstream].into_iter().chain(self.upstreams.values())
    }
}

#[cfg(test)]
mod tests;
