//! Configuration reload without dropping connections: the new configuration takes effect
//! completely or not at all.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Error, Running};
use crate::config::Config;
use crate::server::generation::Generation;
use crate::tls;

/// The handle that replaces the configuration of a running server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloader {
    pub(super) running: Arc<Running>,
    /// Serializes reloads. Only threads for blocking work wait for it.
    lock: Arc<Mutex<()>>,
}

impl Reloader {
    pub(super) fn new(running: Arc<Running>) -> Self {
        Self {
            running,
            lock: Arc::default(),
        }
    }

    /// Puts `config` into use and reloads the certificates. Returns the keys that have changed
    /// but need a restart.
    ///
    /// New connections use the new configuration. Old HTTP connections finish their requests
    /// and close. WebSocket sessions and tunnels continue with the settings they began with.
    /// If nothing has changed, no connection is affected at all.
    ///
    /// Files are read on a thread for blocking work, so a hanging disk delays only the reload.
    /// Dropping the future does not stop a reload that has begun.
    ///
    /// # Errors
    /// Returns the variant of [`Error`] for the first thing that `config` names and that is
    /// unusable. The old configuration stays in use then.
    pub async fn reload(&self, config: Config) -> Result<Vec<&'static str>, Error> {
        let this = self.clone();
        let swap = move || {
            let _lock = this.lock.lock();
            this.swap(config)
        };
        let waiting = tokio::task::spawn_blocking(swap).await??;
        self.running.process.metrics.reloads.add("ok");
        let current = self.running.current.load_full();
        tls::reload(&current.certificates()).await;
        Ok(waiting)
    }

    /// Returns the number of generations in use: the current one, and those of open
    /// connections.
    pub fn generations(&self) -> usize {
        // One reference is the process' own.
        Arc::strong_count(&self.running.process.used) - 1
    }

    /// Counts a reload that failed because of mistakes in the configuration.
    pub fn record_failure(&self) {
        self.running.process.metrics.reloads.add("failed");
    }

    /// Builds the new generation, swaps it in, and retires the old one. Blocks.
    fn swap(&self, mut config: Config) -> Result<Vec<&'static str>, Error> {
        let running = &self.running;
        let old = running.current.load_full();
        let waiting = keep_boot_settings(&mut config, &old.config);
        if old.is_made_of(&config)? {
            return Ok(waiting);
        }
        let built = Generation::build(config, &running.process, Some(&old))?;
        let new = Arc::new(built.generation);
        running
            .api
            .replace(Arc::clone(&new.introspection), new.config.broadcast.clone());
        running.current.store(Arc::clone(&new));
        // The order matters: the old parts stop only after new connections use the new ones.
        for task in built.tasks {
            running.process.drain.spawn(task);
        }
        old.retire(&new);
        Ok(waiting)
    }
}

/// Restores in `new` the settings that only a restart can change. Returns their keys, if they
/// differ.
fn keep_boot_settings(new: &mut Config, old: &Config) -> Vec<&'static str> {
    let mut waiting = Vec::new();
    let (server, was) = (&mut new.server, &old.server);
    keep_old(
        "server.listen",
        &mut server.listen,
        &was.listen,
        &mut waiting,
    );
    let redirects = (&mut server.redirect_listen, &was.redirect_listen);
    keep_old(
        "server.redirect_listen",
        redirects.0,
        redirects.1,
        &mut waiting,
    );
    let threads = (&mut server.worker_threads, &was.worker_threads);
    keep_old("server.worker_threads", threads.0, threads.1, &mut waiting);
    keep_old(
        "admin.listen",
        &mut new.admin.listen,
        &old.admin.listen,
        &mut waiting,
    );
    keep_old(
        "log.format",
        &mut new.log.format,
        &old.log.format,
        &mut waiting,
    );
    let (limits, were) = (&mut new.limits, &old.limits);
    keep_old(
        "limits.max_connections",
        &mut limits.max_connections,
        &were.max_connections,
        &mut waiting,
    );
    let handshakes = (&mut limits.max_handshakes, &were.max_handshakes);
    keep_old(
        "limits.max_handshakes",
        handshakes.0,
        handshakes.1,
        &mut waiting,
    );
    keep_old("rooms", &mut new.rooms, &old.rooms, &mut waiting);
    let (broadcast, was) = (&mut new.broadcast, &old.broadcast);
    keep_old(
        "broadcast.socket",
        &mut broadcast.socket,
        &was.socket,
        &mut waiting,
    );
    keep_old(
        "broadcast.socket_mode",
        &mut broadcast.socket_mode,
        &was.socket_mode,
        &mut waiting,
    );
    keep_old(
        "broadcast.max_connections",
        &mut broadcast.max_connections,
        &was.max_connections,
        &mut waiting,
    );
    waiting
}

fn keep_old<T: Clone + PartialEq>(
    key: &'static str,
    new: &mut T,
    old: &T,
    waiting: &mut Vec<&'static str>,
) {
    if new != old {
        waiting.push(key);
        new.clone_from(old);
    }
}
