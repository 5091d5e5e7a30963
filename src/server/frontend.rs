//! The frontends: the protocol of each listener, and whether a proxy connects to it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Error;
use super::process::Process;
use crate::config::Config;
use crate::http::HttpsRedirect;
use crate::tls::{self, Acceptors, Certificates, ClientAuthorities};

/// The way in which a listener's connections are served.
#[derive(Clone, Debug)]
pub(super) struct Frontend {
    pub(super) kind: FrontendKind,
    /// Whether each connection begins with a PROXY header of a trusted proxy.
    pub(super) proxied: bool,
}

/// The protocol of a frontend.
#[derive(Clone, Debug)]
pub(super) enum FrontendKind {
    /// TLS, with the site and its WebSockets.
    Tls(tls::Acceptor),
    /// Plain HTTP, which is redirected to HTTPS.
    Plain(Arc<HttpsRedirect>),
}

/// Builds the frontends: one for each address of `server.listen`, then of
/// `server.redirect_listen`, in the order of the listeners.
///
/// # Errors
/// Returns [`Error::Tls`] if the CAs of client certificates are unusable.
pub(super) fn frontends(
    config: &Config,
    process: &Process,
    certificates: &Arc<Certificates>,
    authorities: &ClientAuthorities,
) -> Result<Vec<Frontend>, Error> {
    let ticketer = Arc::clone(&process.ticketer);
    let acceptors = Acceptors::new(&config.tls, certificates, authorities, ticketer)?;
    let plain = Arc::new(HttpsRedirect::new(
        certificates.challenges(),
        https_port(&process.listeners.https),
        config.http.header_timeout.get(),
    ));
    let frontend = |address, kind| Frontend {
        kind,
        proxied: config.server.proxy_protocol.contains(address),
    };
    let tls = config
        .server
        .listen
        .iter()
        .map(|address| frontend(address, FrontendKind::Tls(acceptors.on(address))));
    let redirects = config
        .server
        .redirect_listen
        .iter()
        .map(|address| frontend(address, FrontendKind::Plain(Arc::clone(&plain))));
    Ok(tls.chain(redirects).collect())
}

/// Returns the port to which plain HTTP is redirected: 443 if a TLS listener has it, else the
/// port of the first one.
fn https_port(https: &[SocketAddr]) -> u16 {
    let mut ports = https.iter().map(SocketAddr::port);
    let first = ports.next().unwrap_or(443);
    if ports.any(|port| port == 443) {
        443
    } else {
        first
    }
}
