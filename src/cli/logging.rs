//! Where log lines go: standard error, for journald or a terminal.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Format, Log};

/// Starts to log. The configured level is ours; what the libraries say below a
/// warning is of no use to an operator and may quote what a client sent.
/// `RUST_LOG` wins over the configuration.
pub(super) fn start(log: &Log) {
    let ours = format!("warn,pwd_edge={}", log.level.as_str());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(ours));
    let terminal = std::io::stderr().is_terminal();
    let human = match log.format {
        Format::Auto => terminal,
        Format::Human => true,
        Format::Json => false,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    // A second start, in one process, changes nothing.
    let _ = match human {
        true => registry.with(lines.with_ansi(terminal)).try_init(),
        false => registry.with(lines.json().flatten_event(true)).try_init(),
    };
}
