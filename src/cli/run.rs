//! `pwd-edge run`: serving, signals, reload and the systemd watchdog.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use crate::config::Config;
use crate::core::error_chain::error_chain;
use crate::logging::{self, Logging};
use crate::runtime::open_file_limit::raise_open_file_limit;
use crate::runtime::watchdog::Watchdog;
use crate::server::{InheritedSockets, Listeners, Reloader, Server, StartInfo};
use crate::upstream::MAX_BUFFERED_RESPONSES;

/// Serves until SIGTERM or SIGINT, then drains and returns.
///
/// # Errors
/// The configuration or a file that it names is invalid, or the log, a listener, the
/// runtime or a signal handler cannot be set up.
pub(super) fn run(path: &Path) -> Result<(), Failure> {
    let inherited = InheritedSockets::take();
    let config = Config::load(path).map_err(Failure::usage)?;
    let logging = logging::start(&config.log).map_err(Failure::failed)?;
    warn_of_few_files(&config);
    let listeners = Listeners::open(&config, inherited)
        .map_err(|errors| Failure::failed(errors.in_file(path)))?;
    let runtime = runtime(&config).map_err(Failure::failed)?;
    runtime.block_on(serve(path, &config, listeners, &logging))?;
    // `serve` has already logged the remaining tasks. They are dropped here; blocking calls
    // get one more second.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// Builds the Tokio runtime with `server.worker_threads`; 0 means one thread per CPU.
///
/// # Errors
/// The operating system cannot start the runtime.
pub(super) fn runtime(config: &Config) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if config.server.worker_threads > 0 {
        builder.worker_threads(config.server.worker_threads);
    }
    builder.enable_all().build()
}

/// Binds the server and runs it until a stop signal, with reload and watchdog beside it.
///
/// # Errors
/// The server cannot be built from the configuration, or a signal handler cannot be set up.
async fn serve(
    path: &Path,
    config: &Config,
    listeners: Listeners,
    logging: &Logging,
) -> Result<(), Failure> {
    let origin = StartInfo {
        config: Some(path.to_owned()),
        recent: logging.recent.clone(),
        log_metrics: logging.metrics.clone(),
    };
    let server = Server::bind(config, listeners, origin)
        .map_err(|error| Failure::configuration(path, error))?;
    let stop = stop_signal().map_err(Failure::failed)?;
    // Handled, so that a write beyond the limit of a file's size fails and does not kill the edge.
    let _file_size = signal(SignalKind::from_raw(SIGXFSZ)).map_err(Failure::failed)?;
    let hangup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
    for (key, addresses) in [
        ("server.listen", server.addresses()),
        ("server.redirect_listen", server.redirect_addresses()),
        ("admin.listen", server.admin_addresses()),
    ] {
        for address in addresses {
            tracing::info!(name: "listening", %address, key, "listening");
        }
    }
    tracing::info!(
        name: "ready",
        upstream = %config.upstream.url,
        broadcasts = %config.broadcast.socket.display(),
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    notify(NotifyState::Ready);
    let (reloader, watchdog) = (server.reloader(), server.watchdog());
    let served = server.run(async {
        stop.await;
        tracing::info!(name: "stopping", "stopping");
        notify(NotifyState::Stopping);
    });
    let cut_off = tokio::select! {
        cut_off = served => cut_off,
        never = notify_watchdog(&watchdog) => match never {},
        never = reload_on_hangup(hangup, path, &reloader, logging) => match never {},
    };
    match cut_off {
        0 => tracing::info!(name: "stopped", "stopped"),
        tasks => tracing::warn!(
            name: "shutdown_timeout",
            tasks,
            "shutdown timeout reached; connections aborted"
        ),
    }
    Ok(())
}

/// Notifies the systemd watchdog as long as every accept loop responds. Waits forever if
/// the watchdog is disabled. Never completes.
async fn notify_watchdog(watchdog: &Watchdog) -> Infallible {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|time| !time.is_zero()) else {
        return std::future::pending().await;
    };
    // One round is a check of up to one pause, and the pause itself. Together they are half
    // of the watchdog timeout, as sd_watchdog_enabled(3) recommends.
    let pause = patience / 4;
    loop {
        let answered = tokio::time::timeout(pause, watchdog.check());
        match answered.await {
            Ok(()) => notify(NotifyState::Watchdog),
            Err(_) => {
                let loops = watchdog.unresponsive().join(", ");
                tracing::error!(
                    name: "accept_loop_stalled",
                    loops,
                    "accept loop not responding; systemd will restart the service"
                );
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Returns a future that completes at the first SIGTERM or SIGINT. Signals count from this
/// call on, not from the first poll.
///
/// # Errors
/// A signal handler cannot be installed.
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

/// Reloads the configuration and the certificates at every SIGHUP. Reloads never overlap:
/// all SIGHUPs during one cause a single further reload. Never completes.
async fn reload_on_hangup(
    mut hangup: Signal,
    path: &Path,
    reloader: &Reloader,
    logging: &Logging,
) -> Infallible {
    while hangup.recv().await.is_some() {
        notify(NotifyState::Reloading);
        // Pinned, so that the timeout only logs and does not cancel the reload.
        let mut reload = pin!(reload(path, reloader, logging));
        while tokio::time::timeout(SLOW_RELOAD, reload.as_mut())
            .await
            .is_err()
        {
            tracing::warn!(
                name: "reload_slow",
                config = %path.display(),
                hint = "check the disk of the configuration and of the files that it names",
                "reload still reading files"
            );
        }
        notify(NotifyState::Ready);
    }
    std::future::pending().await
}

/// Reloads the configuration. If any part is invalid, the current configuration stays in
/// force as a whole, and the failure is logged.
async fn reload(path: &Path, reloader: &Reloader, logging: &Logging) {
    let file = path.to_owned();
    // On a blocking thread: this task also notifies the watchdog.
    let config = match tokio::task::spawn_blocking(move || Config::load(&file)).await {
        Ok(Ok(config)) => config,
        Ok(Err(error)) => return log_reload_failure(reloader, &error),
        Err(error) => return log_reload_failure(reloader, &error),
    };
    let level = config.log.level;
    match reloader.reload(config).await {
        Ok(waiting) => {
            logging.set_level(level);
            tracing::info!(name: "reload_succeeded", "configuration reloaded");
            if !waiting.is_empty() {
                let keys = waiting.join(", ");
                tracing::warn!(
                    name: "settings_need_restart",
                    keys,
                    "settings ignored until restart"
                );
            }
        }
        Err(error) => log_reload_failure(reloader, &error),
    }
}

/// Records the failed reload for `status`, and logs it.
fn log_reload_failure(reloader: &Reloader, error: &dyn std::error::Error) {
    let error = error_chain(error);
    reloader.record_failure(error.clone());
    tracing::warn!(
        name: "reload_failed",
        error,
        "reload failed; keeping the current configuration"
    );
}

/// Sends a state to systemd. Does nothing without `NOTIFY_SOCKET`; logs a failure.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(
            name: "systemd_notify_failed",
            error = error_chain(&error),
            "systemd notification failed"
        );
    }
}

/// Raises the limit of open files as far as permitted, and warns if it stays below the
/// configured limits. Each of these takes one file: a connection, a request to an upstream,
/// an open static file, and a buffered response.
fn warn_of_few_files(config: &Config) {
    let limits = &config.limits;
    // A request to PHP-FPM may also buffer its body on disk: one file to write, one to read.
    let for_each = if config.uses_fpm() { 3 } else { 1 };
    let wanted = u64::from(limits.max_connections.get())
        + u64::from(limits.max_requests_in_flight.get()) * for_each
        + u64::from(limits.max_open_files.get())
        + u64::from(config.broadcast.max_connections.get())
        + config.apps().count() as u64 * MAX_BUFFERED_RESPONSES
        + 64;
    match raise_open_file_limit(wanted) {
        Ok(files) if files < wanted => tracing::warn!(
            name: "open_file_limit_low",
            files,
            wanted,
            hint = "raise LimitNOFILE or lower limits.max_connections",
            "open file limit too low"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(
            name: "open_file_limit_unknown",
            error = error_chain(&error),
            "open file limit unknown"
        ),
    }
}

/// Interval of the warnings during a slow reload.
const SLOW_RELOAD: Duration = Duration::from_secs(10);

/// The number of the signal on Linux.
const SIGXFSZ: i32 = 25;
