//! `pwd-edge run`.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, logging};
use crate::config::Config;
use crate::server::{Listeners, Server};
use crate::tls::{self, Certificates};

/// Serves until told to stop.
pub(super) fn run(path: &Path) -> Result<(), Failure> {
    let config = Config::load(path).map_err(Failure::config)?;
    logging::start(&config.log);
    warn_of_few_files(&config);
    let listeners = Listeners::open(&config).map_err(Failure::other)?;
    let runtime = runtime(&config).map_err(Failure::other)?;
    runtime.block_on(serve(&config, listeners))?;
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

async fn serve(config: &Config, listeners: Listeners) -> Result<(), Failure> {
    let server = Server::bind(config, listeners).map_err(Failure::config)?;
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
    let certificates = server.certificates();
    let served = server.run(async {
        stop.await;
        tracing::info!("stopping");
        notify(NotifyState::Stopping);
    });
    let cut_off = tokio::select! {
        cut_off = served => cut_off,
        never = read_again_on_hangup(hangup, &certificates) => match never {},
    };
    match cut_off {
        0 => tracing::info!("stopped"),
        tasks => tracing::warn!(tasks, "stopped; the grace was over for some connections"),
    }
    Ok(())
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

/// At every SIGHUP, reads the certificates again.
async fn read_again_on_hangup(mut hangup: Signal, certificates: &Arc<Certificates>) -> Infallible {
    while hangup.recv().await.is_some() {
        tracing::info!("told to read the certificates again");
        tls::reload(certificates).await;
    }
    std::future::pending().await
}

/// Tells systemd, if it listens.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// Raises the limit of open files as far as it goes, and warns if that is not
/// enough: a connection is one file, and so is a request on its way to Laravel.
fn warn_of_few_files(config: &Config) {
    let limits = &config.limits;
    let wanted = u64::from(limits.connections.get())
        + u64::from(limits.requests_in_flight.get())
        + u64::from(config.broadcast.connections.get())
        + 64;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(files) if files < wanted => tracing::warn!(
            files,
            wanted,
            "few open files are allowed; raise LimitNOFILE or lower limits.connections"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot tell how many files may be open"),
    }
}
