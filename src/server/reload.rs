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

    /// Puts `config` into use, reloads the certificates, and retries a failed ACME order.
    /// Returns the keys that have changed but need a restart.
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
        let process = &self.running.process;
        process.metrics.server.count_reload("ok");
        process.reload_failure.record(None);
        let certificates = self.running.current.load().certificates();
        tls::reload(&certificates).await;
        certificates.retry_order();
        Ok(waiting)
    }

    /// Returns the number of generations in use: the current one, and those of open
    /// connections.
    pub fn generations(&self) -> usize {
        // One reference is the process' own.
        Arc::strong_count(&self.running.process.used) - 1
    }

    /// Records the error of a reload that failed because of mistakes in the configuration.
    pub(crate) fn record_failure(&self, error: String) {
        let process = &self.running.process;
        process.metrics.server.count_reload("failed");
        process.reload_failure.record(Some(error));
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
    let changed = BOOT_SETTINGS
        .iter()
        .filter(|(_, restore)| restore(new, old));
    changed.map(|(key, _)| *key).collect()
}

/// Restores `new` to `old`. Returns whether they differed.
fn restore<T: Clone + PartialEq>(new: &mut T, old: &T) -> bool {
    let differs = new != old;
    if differs {
        new.clone_from(old);
    }
    differs
}

/// Restores one setting of the new configuration to that of the old one. Returns whether they
/// differed.
type Restore = fn(&mut Config, &Config) -> bool;

/// The settings that only a restart can change, by key.
const BOOT_SETTINGS: &[(&str, Restore)] = &[
    ("server.listen", |new, old| {
        restore(&mut new.server.listen, &old.server.listen)
    }),
    ("server.redirect_listen", |new, old| {
        restore(&mut new.server.redirect_listen, &old.server.redirect_listen)
    }),
    ("server.worker_threads", |new, old| {
        restore(&mut new.server.worker_threads, &old.server.worker_threads)
    }),
    ("admin.listen", |new, old| {
        restore(&mut new.admin.listen, &old.admin.listen)
    }),
    ("log.format", |new, old| {
        restore(&mut new.log.format, &old.log.format)
    }),
    ("limits.max_connections", |new, old| {
        restore(&mut new.limits.max_connections, &old.limits.max_connections)
    }),
    ("limits.max_handshakes", |new, old| {
        restore(&mut new.limits.max_handshakes, &old.limits.max_handshakes)
    }),
    ("rooms", |new, old| restore(&mut new.rooms, &old.rooms)),
    ("history", |new, old| {
        restore(&mut new.history, &old.history)
    }),
    ("broadcast.socket", |new, old| {
        restore(&mut new.broadcast.socket, &old.broadcast.socket)
    }),
    ("broadcast.socket_mode", |new, old| {
        restore(&mut new.broadcast.socket_mode, &old.broadcast.socket_mode)
    }),
    ("broadcast.max_connections", |new, old| {
        restore(
            &mut new.broadcast.max_connections,
            &old.broadcast.max_connections,
        )
    }),
];
