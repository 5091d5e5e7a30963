//! Another configuration, while everything goes on: all of it or nothing.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Error, Running};
use crate::config::Config;
use crate::server::generation::Generation;
use crate::tls;

/// Gives a running server another configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloader {
    pub(super) running: Arc<Running>,
    /// One at a time.
    turn: Arc<Mutex<()>>,
}

impl Reloader {
    pub(super) fn new(running: Arc<Running>) -> Self {
        Self {
            running,
            turn: Arc::default(),
        }
    }

    /// Goes on with `config`, and reads the certificates again. New connections
    /// are served as it says; old HTTP connections end what they are doing;
    /// WebSocket sessions and tunnels are not touched, and keep the settings
    /// they began with; if nothing differs, nothing is touched at all. Returns the
    /// keys that differ but wait for a restart. Files are read aside from the
    /// threads that serve: a disk that hangs holds up the reload alone.
    ///
    /// # Errors
    /// The configuration names something that cannot be used. Everything stays
    /// as it was.
    pub async fn reload(&self, config: Config) -> Result<Vec<&'static str>, Error> {
        let this = self.clone();
        let swap = move || {
            let _turn = this.turn.lock();
            this.swap(config)
        };
        let waiting = tokio::task::spawn_blocking(swap).await??;
        self.running.process.metrics.reloads.add("done");
        let current = self.running.current.load_full();
        tls::reload(&current.certificates()).await;
        Ok(waiting)
    }

    /// Configurations that open connections still use, the present one included.
    pub fn generations(&self) -> usize {
        Arc::strong_count(&self.running.process.used) - 1
    }

    /// Counts a configuration that had mistakes.
    pub fn record_failure(&self) {
        self.running.process.metrics.reloads.add("refused");
    }

    fn swap(&self, mut config: Config) -> Result<Vec<&'static str>, Error> {
        let running = &self.running;
        let old = running.current.load_full();
        let waiting = keep_boot_settings(&mut config, &old.config);
        if old.is_made_of(&config)? {
            return Ok(waiting);
        }
        let built = Generation::build(config, &running.process, Some(&old))?;
        let new = Arc::new(built.generation);
        let shown = (Arc::clone(&new.introspection), new.config.broadcast.clone());
        running.api.replace(shown.0, shown.1);
        running.current.store(Arc::clone(&new));
        for task in built.tasks {
            running.process.drain.spawn(task);
        }
        old.retire(&new);
        Ok(waiting)
    }
}

/// Puts back in `new` what only a restart can change; returns the keys that
/// differed.
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
        "limits.connections",
        &mut limits.connections,
        &were.connections,
        &mut waiting,
    );
    let handshakes = (&mut limits.handshakes, &were.handshakes);
    keep_old(
        "limits.handshakes",
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
        "broadcast.mode",
        &mut broadcast.mode,
        &was.mode,
        &mut waiting,
    );
    keep_old(
        "broadcast.connections",
        &mut broadcast.connections,
        &was.connections,
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
