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
pub(super) enum Entrance {
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
        let configured = config.server.listen.iter();
        let tls = configured.map(|address| Entrance::Tls(acceptors.on(address)));
        let mut all = Self(listeners.https()?.into_iter().zip(tls).collect());
        let plain = Arc::new(Plain::new(
            certificates.challenges(),
            https_port(&all.https()),
            config.http.header_timeout.get(),
        ));
        let listeners = listeners.plain()?.into_iter();
        let plain = listeners.map(|one| (one, Entrance::Plain(Arc::clone(&plain))));
        all.0.extend(plain);
        Ok(all)
    }

    /// Where TLS is spoken.
    pub(super) fn https(&self) -> Vec<SocketAddr> {
        self.addresses(|entrance| matches!(entrance, Entrance::Tls(_)))
    }

    /// Where it is not.
    pub(super) fn plain(&self) -> Vec<SocketAddr> {
        self.addresses(|entrance| matches!(entrance, Entrance::Plain(_)))
    }

    fn addresses(&self, wanted: impl Fn(&Entrance) -> bool) -> Vec<SocketAddr> {
        let these = self.0.iter().filter(|(_, entrance)| wanted(entrance));
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
