//! An edge in this process, on ports of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use pwd_edge::config::Config;
use pwd_edge::runtime::watchdog::Watchdog;
use pwd_edge::server::{InheritedSockets, Listeners, Reloader, Server, StartInfo};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Laravel, history_off};

pub(crate) struct Edge {
    pub(crate) address: SocketAddr,
    pub(crate) broadcasts: PathBuf,
    pub(crate) certificate: CertificateDer<'static>,
    /// All addresses; the first is `address`.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The addresses of `server.redirect_listen`.
    pub(crate) redirects: Vec<SocketAddr>,
    /// The configuration, which a test may change and reload.
    pub(crate) config: Config,
    /// The addresses of `admin.listen`.
    pub(crate) admin: Vec<SocketAddr>,
    reloader: Reloader,
    watchdog: Watchdog,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<usize>,
    _directory: TempDir,
}

impl Edge {
    /// An edge before `laravel`, with defaults.
    pub(crate) fn before(laravel: &Laravel) -> Self {
        Self::configured(&laravel.url(), "")
    }

    /// An edge before whatever is at `upstream`, configured by more TOML.
    pub(crate) fn configured(upstream: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let upstream = if more.contains("[upstream]") {
            String::new()
        } else {
            format!("[upstream]\nurl = \"{upstream}\"\n")
        };
        let history = history_off(more);
        let text = format!("{history}{upstream}{more}");
        let mut config = Config::from_toml(&text).unwrap_or_else(|wrong| panic!("{wrong}"));
        if !more.contains("[server]") {
            config.server.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        }
        config.tls.certificate = file("cert.pem");
        config.tls.key = file("key.pem");
        config.broadcast.socket = file("broadcast.sock");
        let listeners = Listeners::open(&config, InheritedSockets::default()).unwrap();
        let server = Server::bind(&config, listeners, StartInfo::default()).unwrap();
        let addresses = server.addresses();
        let redirects = server.redirect_addresses();
        let (reloader, admin) = (server.reloader(), server.admin_addresses());
        let watchdog = server.watchdog();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Self {
            address: addresses[0],
            addresses,
            redirects,
            admin,
            reloader,
            watchdog,
            broadcasts: config.broadcast.socket.clone(),
            config,
            certificate: made.cert.der().clone(),
            stop,
            ended,
            _directory: directory,
        }
    }

    /// Reads the same configuration and the certificates again, as SIGHUP does.
    pub(crate) async fn reload(&self) {
        let reloaded = self.reload_with(|_| {}).await;
        assert_eq!(reloaded.unwrap(), [""; 0]);
    }

    /// Asks whether it still accepts.
    pub(crate) fn watchdog(&self) -> Watchdog {
        self.watchdog.clone()
    }

    /// Returns the number of configurations that are still in use.
    pub(crate) fn generations(&self) -> usize {
        self.reloader.generations()
    }

    /// Reloads a changed configuration; returns the keys that need a restart.
    pub(crate) async fn reload_with(
        &self,
        change: impl FnOnce(&mut Config),
    ) -> Result<Vec<&'static str>, pwd_edge::server::Error> {
        let mut config = self.config.clone();
        change(&mut config);
        self.reloader.reload(config).await
    }

    /// Tells the edge to stop; the handle ends when it has, with the number of
    /// tasks that it cut off.
    pub(crate) fn stop(self) -> JoinHandle<usize> {
        self.stop.send(()).unwrap();
        self.ended
    }
}
