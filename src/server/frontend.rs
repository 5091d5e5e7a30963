//! What is spoken at each listener.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Error;
use super::process::Process;
use crate::config::Config;
use crate::http::HttpsRedirect;
use crate::tls::{self, Acceptors, Certificates, ClientAuthorities};

/// What is spoken at a listener.
#[derive(Clone, Debug)]
pub(super) struct Frontend {
    pub(super) kind: FrontendKind,
    /// Whether a proxy of ours speaks first, and says for whom.
    pub(super) proxied: bool,
}

/// What is spoken with the client.
#[derive(Clone, Debug)]
pub(super) enum FrontendKind {
    /// TLS, and the site in it.
    Tls(tls::Acceptor),
    /// The way to TLS.
    Plain(Arc<HttpsRedirect>),
}

/// One for each address of `server.listen`, then of `server.redirect_listen`.
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
        https_port(&process.https),
        config.http.header_timeout.get(),
    ));
    let frontend = |address, inside| Frontend {
        kind: inside,
        proxied: config.server.proxy_protocol.contains(address),
    };
    let tls = config.server.listen.iter();
    let tls = tls.map(|address| frontend(address, FrontendKind::Tls(acceptors.on(address))));
    let redirects = config.server.redirect_listen.iter();
    let redirects =
        redirects.map(|address| frontend(address, FrontendKind::Plain(Arc::clone(&plain))));
    Ok(tls.chain(redirects).collect())
}

/// Where plain HTTP is sent to: 443 if that is served, else what is.
fn https_port(https: &[SocketAddr]) -> u16 {
    let mut ports = https.iter().map(SocketAddr::port);
    let first = ports.next().unwrap_or(443);
    if ports.any(|port| port == 443) {
        443
    } else {
        first
    }
}
