//! The log: starts it, and sends events to journald as fields or to standard error as
//! lines.

mod journald;
mod json;
mod metrics;
mod recent_events;
mod settings;
mod writer;

use std::fmt::{Debug, Write};
use std::fs;
use std::io::{self, BufWriter, IsTerminal, Write as _};
use std::os::unix::fs::MetadataExt;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use self::journald::{JOURNAL_SOCKET, JournalLayer, JournalSocket};
use self::json::JsonLayer;
pub(crate) use self::metrics::Metrics;
pub(crate) use self::recent_events::{LoggedEvent, RecentEvents};
pub(crate) use self::settings::{Format, Level, Settings};
use self::writer::{FlushGuard, LogWriter};
use crate::core::error_chain::error_chain;

/// A handle to the running log. Dropping it flushes the log.
#[derive(Debug)]
pub(crate) struct Logging {
    /// The most recent warnings and errors.
    pub(crate) recent: RecentEvents,
    /// The count of lines lost to a full queue or a failed write.
    pub(crate) metrics: Metrics,
    filter: reload::Handle<Targets, Registry>,
    _flush: FlushGuard,
}

impl Logging {
    /// Changes the level; `RUST_LOG` takes precedence. A failure is logged.
    pub(crate) fn set_level(&self, level: Level) {
        if let Err(error) = self.filter.reload(filter(level)) {
            tracing::warn!(
                name: "log_level_unchanged",
                error = error_chain(&error),
                "log level not changed"
            );
        }
    }
}

/// Starts the log and installs the panic hook.
///
/// The configured level applies to the edge's own events. Libraries log from `warn` up:
/// their lower levels do not help an operator and may quote client data. `RUST_LOG` takes
/// precedence over the configuration.
///
/// # Errors
/// The operating system cannot start the writer thread.
pub(crate) fn start(settings: &Settings) -> io::Result<Logging> {
    let (filter, handle) = reload::Layer::new(filter(settings.level));
    let recent = RecentEvents::default();
    let terminal = io::stderr().is_terminal();
    let human = match settings.format {
        Format::Auto => terminal,
        Format::Human => true,
        Format::Json => false,
    };
    let is_journal = is_journal();
    let (journal, refused) = match settings.format {
        Format::Auto if is_journal => match JournalSocket::connect(Path::new(JOURNAL_SOCKET)) {
            Ok(journal) => (Some(journal), None),
            Err(error) => (None, Some(error)),
        },
        _ => (None, None),
    };
    let as_fields = journal.is_some();
    let out = match journal {
        Some(journal) => LogWriter::spawn(journal, false)?,
        // Standard error is unbuffered; the buffer turns many lines into one write.
        None => LogWriter::spawn(
            BufWriter::with_capacity(MAX_BATCH_BYTES, io::stderr()),
            is_journal,
        )?,
    };
    let (metrics, flush) = (out.metrics(), out.flush_at_end());
    let panics = out.clone();
    let keep = RecentEventsLayer(recent.clone());
    let registry = tracing_subscriber::registry().with(filter).with(keep);
    let lines = |out| fmt::layer().with_writer(out).with_target(false);
    // Ignored: a second start in one process, as in tests, keeps the first subscriber.
    let _ = match (as_fields, human) {
        (true, _) => registry.with(JournalLayer(out)).try_init(),
        (_, true) => registry.with(lines(out).with_ansi(terminal)).try_init(),
        (_, false) => registry.with(JsonLayer(out)).try_init(),
    };
    // A panic may end the process, so the hook flushes the log before it returns.
    std::panic::set_hook(Box::new(move |panic| {
        log_panic(panic);
        drop(panics.flush_at_end());
    }));
    if let Some(error) = refused {
        tracing::warn!(
            name: "journald_unreachable",
            error = error_chain(&error),
            path = JOURNAL_SOCKET,
            hint = "until the next start the journal gets lines of JSON without fields",
            "journald unreachable"
        );
    }
    warn_if_filter_invalid();
    Ok(Logging {
        recent,
        metrics,
        filter: handle,
        _flush: flush,
    })
}

/// Logs the location of a panic, and its message if that is a literal. A formatted message
/// may quote client data, so it is left out.
fn log_panic(panic: &PanicHookInfo<'_>) {
    if !tracing::enabled!(tracing::Level::ERROR) {
        // `RUST_LOG` turns the log off, but a panic must not go unnoticed.
        let location = panic.location().map(ToString::to_string);
        print_warning(&format!(
            "internal error: task panicked at {}; please report",
            location.unwrap_or_default()
        ));
    }
    let location = panic.location().map(tracing::field::display);
    let panic = panic.payload().downcast_ref::<&str>();
    tracing::error!(
        name: "task_panicked",
        location,
        panic,
        "internal error: task panicked; please report"
    );
}

/// Returns the stable id of an event, which its call site sets as `name:`.
///
/// Events of libraries have no id. Their name is the default of tracing, a source location
/// that contains a space.
pub(super) fn event_id(metadata: &Metadata<'_>) -> Option<&'static str> {
    Some(metadata.name()).filter(|name| !name.contains(' '))
}

/// Buffer size of standard error: bytes of lines that one write sends at most.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// Returns whether standard error is connected to the journal (`JOURNAL_STREAM` in
/// systemd.exec(5)).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let here = fs::metadata("/proc/self/fd/2");
    here.is_ok_and(|here| stream == format!("{}:{}", here.dev(), here.ino()))
}

/// Returns the filter of `RUST_LOG`; without a valid one, `level` for the edge and `warn`
/// for libraries.
fn filter(level: Level) -> Targets {
    filter_override()
        .and_then(|directives| parse_filter(&directives))
        .unwrap_or_else(|| {
            Targets::new()
                .with_default(LevelFilter::WARN)
                .with_target(env!("CARGO_CRATE_NAME"), level)
        })
}

/// Returns the value of `RUST_LOG`, or `None` if it is not set or empty.
fn filter_override() -> Option<String> {
    let value = std::env::var_os("RUST_LOG")?;
    (!value.is_empty()).then(|| value.to_string_lossy().into_owned())
}

/// Logs a warning if `RUST_LOG` is set to a list that the edge ignores.
fn warn_if_filter_invalid() {
    if filter_override().is_some_and(|directives| parse_filter(&directives).is_none()) {
        tracing::warn!(
            name: "log_filter_invalid",
            hint = "write RUST_LOG like warn,pwd_edge=debug; log.level applies until then",
            "log filter invalid"
        );
    }
}

/// Parses directives `LEVEL`, `TARGET` and `TARGET=LEVEL` with commas between them. Returns
/// `None` if one is invalid or if there is none.
fn parse_filter(directives: &str) -> Option<Targets> {
    let directives = directives.split(',').map(str::trim);
    let directives: Vec<_> = directives.filter(|one| !one.is_empty()).collect();
    // `Targets` takes any text for a target, and none for all targets at `trace`.
    let is_known = |one: char| one.is_ascii_alphanumeric() || "_:-=".contains(one);
    let is_valid = |one: &&str| !one.starts_with('=') && one.chars().all(is_known);
    if directives.is_empty() || !directives.iter().all(is_valid) {
        return None;
    }
    directives.join(",").parse().ok()
}

/// A layer that stores warnings and errors in [`RecentEvents`].
struct RecentEventsLayer(RecentEvents);

impl<S: Subscriber> Layer<S> for RecentEventsLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => "error",
            tracing::Level::WARN => "warn",
            _ => return,
        };
        let mut text = Text::default();
        event.record(&mut text);
        self.0.push(LoggedEvent {
            at: SystemTime::now(),
            level,
            id: event_id(event.metadata()),
            text: text.message + &text.fields,
        });
    }
}

/// A visitor that formats an event as text: its message, then its fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Ignored: writing to a `String` cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Writes a warning to standard error, past the log. If standard error is closed, the
/// warning is lost.
pub(crate) fn print_warning(text: &str) {
    let _ = writeln!(io::stderr(), "warning: {text}");
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};
    use std::panic::{catch_unwind, set_hook, take_hook};
    use std::thread;

    use super::*;

    #[test]
    fn filter_enables_targets_at_their_levels() {
        let filter = parse_filter("warn, pwd_edge=debug,pwd_edge::tls=OFF,").unwrap();
        let enables = |target, level| filter.would_enable(target, &level);
        assert!(enables("hyper::proto", tracing::Level::WARN));
        assert!(!enables("hyper::proto", tracing::Level::INFO));
        assert!(enables("pwd_edge::http", tracing::Level::DEBUG));
        assert!(!enables("pwd_edge::http", tracing::Level::TRACE));
        assert!(!enables("pwd_edge::tls", tracing::Level::ERROR));
        let filter = parse_filter("info").unwrap();
        assert!(filter.would_enable("hyper", &tracing::Level::INFO));
        assert!(!filter.would_enable("hyper", &tracing::Level::DEBUG));
    }

    #[test]
    fn invalid_filter_is_no_filter() {
        for directives in [
            "",
            " ,",
            "pwd_edge=loud",
            "a=b=info",
            "=info",
            "info!",
            "[a]=info",
        ] {
            assert_eq!(parse_filter(directives), None, "{directives}");
        }
    }

    #[test]
    fn panic_is_logged_as_one_line_without_user_data() {
        let (mut read, write) = pipe().unwrap();
        let lines = LogWriter::spawn(io::LineWriter::new(write), false).unwrap();
        let subscriber = tracing_subscriber::registry().with(JsonLayer(lines));
        let (here, others) = (thread::current().id(), take_hook());
        set_hook(Box::new(move |panic| {
            if thread::current().id() == here {
                log_panic(panic)
            } else {
                others(panic)
            }
        }));
        let secret = std::hint::black_box("se\u{e9}cret");
        tracing::subscriber::with_default(subscriber, || {
            catch_unwind(|| panic!("all is lost")).unwrap_err();
            catch_unwind(|| secret[..3].len()).unwrap_err();
        });
        let _ = take_hook();
        let mut all = String::new();
        read.read_to_string(&mut all).unwrap();
        let lines: Vec<_> = all.lines().collect();
        assert_eq!(lines.len(), 2, "{all}");
        assert!(
            lines
                .iter()
                .all(|line| line.contains(concat!(file!(), ":")))
        );
        assert!(
            lines[0].contains("all is lost") && !all.contains("cret"),
            "{all}"
        );
    }
}
