//! What is spoken at each listener.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::{Error, Listeners};
use crate::config::Config;
use crate::http::Plain;
use crate::tls::{self, Acceptors, Certificates};

/// What is spoken at a listener.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    pub(super) inside: Inside,
    /// Whether a proxy of ours speaks first, and says for whom.
    pub(super) proxied: bool,
}

/// What is spoken with the client.
#[derive(Clone, Debug)]
pub(super) enum Inside {
    /// TLS, and the site in it.
    Tls(tls::Acceptor),
    /// The way to TLS.
    Plain(Arc<Plain>),
}

/// All listeners.
#[derive(Debug)]
pub(super) struct Entrances(Vec<(TcpListener, Entrance)>);

impl Entrances {
    pub(super) fn new(
        config: &Config,
        listeners: &Listeners,
        certificates: &Arc<Certificates>,
    ) -> Result<Self, Error> {
        let acceptors = Acceptors::new(&config.tls, certificates, tls::ticketer()?)?;
        let entrance = |address, inside| Entrance {
            inside,
            proxied: config.server.proxy_protocol.contains(address),
        };
        let configured = config.server.listen.iter();
        let tls = configured.map(|address| entrance(address, Inside::Tls(acceptors.on(address))));
        let mut all = Self(listeners.https()?.into_iter().zip(tls).collect());
        let plain = Arc::new(Plain::new(
            certificates.challenges(),
            https_port(&all.https()),
            config.http.header_timeout.get(),
        ));
        let configured = config.server.redirect_listen.iter();
        let plain = configured.map(|address| entrance(address, Inside::Plain(Arc::clone(&plain))));
        all.0.extend(listeners.plain()?.into_iter().zip(plain));
        Ok(all)
    }

    /// Where TLS is spoken.
    pub(super) fn https(&self) -> Vec<SocketAddr> {
        self.addresses(|inside| matches!(inside, Inside::Tls(_)))
    }

    /// Where it is not.
    pub(super) fn plain(&self) -> Vec<SocketAddr> {
        self.addresses(|inside| matches!(inside, Inside::Plain(_)))
    }

    fn addresses(&self, wanted: impl Fn(&Inside) -> bool) -> Vec<SocketAddr> {
        let these = self
            .0
            .iter()
            .filter(|(_, entrance)| wanted(&entrance.inside));
        these
            .filter_map(|(listener, _)| listener.local_addr().ok())
            .collect()
    }
}

impl IntoIterator for Entrances {
    type Item = (TcpListener, Entrance);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Where plain HTTP is sent to: 443 if that is served, else what is.
fn https_port(https: &[SocketAddr]) -> u16 {
    let mut ports = https.iter().map(SocketAddr::port);
    let first = ports.next().unwrap_or(443);
    match ports.any(|port| port == 443) {
        true => 443,
        false => first,
    }
}
