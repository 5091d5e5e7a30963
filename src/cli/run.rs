//! `pwd-edge run`.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use crate::config::Config;
use crate::core::error_chain::error_chain;
use crate::logging::{self, Logging};
use crate::runtime::watchdog::Watchdog;
use crate::server::{InheritedSockets, Listeners, Reloader, Server, StartInfo};
use crate::upstream::MAX_BUFFERED_RESPONSES;

/// Serves until told to stop.
pub(super) fn run(path: &Path) -> Result<(), Failure> {
    let inherited = InheritedSockets::take();
    let config = Config::load(path).map_err(Failure::config)?;
    let logging = logging::start(&config.log).map_err(Failure::other)?;
    warn_of_few_files(&config);
    let listeners = Listeners::open(&config, inherited).map_err(Failure::other)?;
    let runtime = runtime(&config).map_err(Failure::other)?;
    runtime.block_on(serve(path, &config, listeners, &logging))?;
    // What is left was counted and warned of; it ends here.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// The runtime that `[server]` asks for.
pub(super) fn runtime(config: &Config) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if config.server.worker_threads > 0 {
        builder.worker_threads(config.server.worker_threads);
    }
    builder.enable_all().build()
}

async fn serve(
    path: &Path,
    config: &Config,
    listeners: Listeners,
    logging: &Logging,
) -> Result<(), Failure> {
    let origin = StartInfo {
        config: Some(path.to_owned()),
        recent: logging.recent.clone(),
        lost_lines: Arc::clone(&logging.lost),
    };
    let server = Server::bind(config, listeners, origin).map_err(Failure::config)?;
    let stop = stop_signal().map_err(Failure::other)?;
    let hangup = signal(SignalKind::hangup()).map_err(Failure::other)?;
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    tracing::info!(
        upstream = %config.upstream.url,
        broadcasts = %config.broadcast.socket.display(),
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    notify(NotifyState::Ready);
    let (reloader, watchdog) = (server.reloader(), server.watchdog());
    let served = server.run(async {
        stop.await;
        tracing::info!("stopping");
        notify(NotifyState::Stopping);
    });
    let cut_off = tokio::select! {
        cut_off = served => cut_off,
        never = notify_watchdog(&watchdog) => match never {},
        never = reload_on_hangup(hangup, path, &reloader, logging) => match never {},
    };
    match cut_off {
        0 => tracing::info!("stopped"),
        tasks => tracing::warn!(tasks, "stopped; the grace was over for some connections"),
    }
    Ok(())
}

/// Tells systemd that all is well, often enough for its patience, while
/// every loop that accepts goes round.
async fn notify_watchdog(watchdog: &Watchdog) -> Infallible {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|time| !time.is_zero()) else {
        return std::future::pending().await;
    };
    // Once more than that: an answer may take as long as the pause.
    let pause = patience / 4;
    loop {
        let answered = tokio::time::timeout(pause, watchdog.check());
        match answered.await {
            Ok(()) => notify(NotifyState::Watchdog),
            Err(_) => {
                let silent = watchdog.unresponsive().join(", ");
                tracing::error!(silent, "accepts nothing; systemd will start the edge again");
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Completes at the first SIGTERM or SIGINT.
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// At every SIGHUP, reads the configuration and the certificates again, one after
/// the other; those that come meanwhile are one.
async fn reload_on_hangup(
    mut hangup: Signal,
    path: &Path,
    reloader: &Reloader,
    logging: &Logging,
) -> Infallible {
    while hangup.recv().await.is_some() {
        notify(NotifyState::Reloading);
        let mut reload = pin!(reload(path, reloader, logging));
        while tokio::time::timeout(SLOW_RELOAD, reload.as_mut())
            .await
            .is_err()
        {
            tracing::error!(
                config = %path.display(),
                "still reads the configuration or a file that it names; does the disk answer? \
                 the old one stays in use"
            );
        }
        notify(NotifyState::Ready);
    }
    std::future::pending().await
}

/// All of the new configuration, or nothing of it.
async fn reload(path: &Path, reloader: &Reloader, logging: &Logging) {
    let file = path.to_owned();
    // Aside from this task, which answers the watchdog as well.
    let config = match tokio::task::spawn_blocking(move || Config::load(&file)).await {
        Ok(Ok(config)) => config,
        Ok(Err(error)) => return log_reload_failure(reloader, &error),
        Err(error) => return log_reload_failure(reloader, &error),
    };
    let level = config.log.level;
    match reloader.reload(config).await {
        Ok(waiting) => {
            logging.set_level(level);
            tracing::info!("configuration and certificates read again");
            if !waiting.is_empty() {
                let keys = waiting.join(", ");
                tracing::warn!(keys, "changed, but in use only after a restart");
            }
        }
        Err(error) => log_reload_failure(reloader, &error),
    }
}

fn log_reload_failure(reloader: &Reloader, error: &dyn std::error::Error) {
    reloader.record_failure();
    tracing::error!(
        cause = error_chain(error),
        "configuration not read again; the old one stays in use"
    );
}

/// Tells systemd, if it listens.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(error = error_chain(&error), "systemd was not told");
    }
}

/// Raises the limit of open files as far as it goes, and warns if that is not
/// enough: a connection is one file, and so are a request on its way to Laravel, and a
/// file or a buffered response on its way to a client.
fn warn_of_few_files(config: &Config) {
    let limits = &config.limits;
    // A request to php-fpm may have a long body on disk as well: to write and to read.
    let for_each = if config.uses_fpm() { 3 } else { 1 };
    let wanted = u64::from(limits.connections.get())
        + u64::from(limits.requests_in_flight.get()) * for_each
        + u64::from(limits.open_files.get())
        + u64::from(config.broadcast.connections.get())
        + config.apps().count() as u64 * MAX_BUFFERED_RESPONSES
        + 64;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(files) if files < wanted => tracing::warn!(
            files,
            wanted,
            "few open files are allowed; raise LimitNOFILE or lower limits.connections"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(
            error = error_chain(&error),
            "cannot tell how many files may be open"
        ),
    }
}

/// When a reload takes so long that somebody should know.
const SLOW_RELOAD: Duration = Duration::from_secs(10);
