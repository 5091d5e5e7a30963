//! Log events as journald entries with searchable fields, in its native protocol:
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
//!
//! The crate tracing-journald has the same protocol, but sends from the thread that logs.
//! There a blocked journal would block requests.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::event_id;
use super::writer::{LogWriter, escape};

/// The path of journald's socket for the native protocol.
pub(super) const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// A datagram socket to journald. Each write sends one entry.
#[derive(Debug)]
pub(super) struct JournalSocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl JournalSocket {
    /// Returns a socket that sends to `path`, after a trial connection.
    ///
    /// # Errors
    /// No process listens at `path`, or the socket cannot be created.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(path)?;
        Ok(Self {
            // Not connected, so that entries reach a restarted journald with a new socket.
            socket: UnixDatagram::unbound()?,
            path: path.to_owned(),
        })
    }
}

impl Write for JournalSocket {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        self.socket.send_to(entry, &self.path)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A layer that sends each event to journald as one entry.
#[derive(Debug)]
pub(super) struct JournalLayer(pub(super) LogWriter);

impl<S: Subscriber> Layer<S> for JournalLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        event.record(&mut entry);
        let metadata = event.metadata();
        let entry = entry.finish(*metadata.level(), event_id(metadata));
        self.0.send(&entry, *metadata.level());
    }
}

/// A journald entry in the making.
#[derive(Default)]
struct Entry {
    /// The event's message, which begins `MESSAGE`.
    message: String,
    /// The fields as readable text, which follows the message.
    field_text: String,
    /// The fields in journald's form: one `NAME=value` per line.
    fields: String,
}

impl Entry {
    /// Returns the serialized entry.
    fn finish(self, level: Level, id: Option<&str>) -> Vec<u8> {
        let Self {
            message,
            field_text,
            fields,
        } = self;
        let (priority, name) = (priority(level), env!("CARGO_PKG_NAME"));
        let (message, field_text) = (one_line(&message), one_line(&field_text));
        let event = id.map(|id| format!("EVENT={id}\n")).unwrap_or_default();
        format!(
            "PRIORITY={priority}\nSYSLOG_IDENTIFIER={name}\nMESSAGE={message}{field_text}\n\
             {event}{fields}"
        )
        .into()
    }

    /// Appends a field under a name that journald accepts: upper case, digits and `_`.
    fn add(&mut self, name: &str, value: &str) {
        let letters = name.chars().map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        });
        self.fields.extend(letters);
        self.fields.extend(["=", &one_line(value), "\n"]);
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name => {
                let value = cut(value);
                // Ignored: writing to a `String` cannot fail.
                let _ = write!(self.field_text, " {name}={value:?}");
                self.add(name, &value);
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.message.push_str(&value),
            name => {
                let value = cut(&value);
                self.field_text.extend([" ", name, "=", &value]);
                self.add(name, &value);
            }
        }
    }
}

/// Returns the syslog priority of a level (syslog(3)).
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Returns the text with control and bidirectional characters escaped. A line feed in a
/// value would otherwise start a forged field.
fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// Returns the value, truncated to [`MAX_VALUE_BYTES`].
///
/// Clients choose paths, and an entry larger than one datagram (208 KiB) is lost. Escapes
/// lengthen a value up to six times, and each entry contains it twice.
fn cut(value: &str) -> Cow<'_, str> {
    match value.split_at(value.floor_char_boundary(MAX_VALUE_BYTES)) {
        (_, "") => value.into(),
        (beginning, _) => format!("{beginning}\u{2026}").into(),
    }
}

/// Maximum length of a field's value in bytes, before escapes.
const MAX_VALUE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn event_is_sent_as_fields_without_injection() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let lines = LogWriter::spawn(JournalSocket::connect(&path).unwrap(), false).unwrap();
        let subscriber = tracing_subscriber::registry().with(JournalLayer(lines));
        tracing::subscriber::with_default(subscriber, || {
            let path = "/a\nPRIORITY=0\u{202e}";
            tracing::warn!(
                name: "http_request",
                path, status = 404, client.ip = %"192.0.2.7", "request"
            );
            tracing::warn!("of a library");
        });
        let mut entry = [0; 512];
        let length = journald.recv(&mut entry).unwrap();
        assert_eq!(
            std::str::from_utf8(&entry[..length]).unwrap(),
            "PRIORITY=4\nSYSLOG_IDENTIFIER=pwd-edge\n\
             MESSAGE=request path=\"/a\\nPRIORITY=0\\u{202e}\" status=404 client.ip=192.0.2.7\n\
             EVENT=http_request\nPATH=/a\\u000aPRIORITY=0\\u202e\nSTATUS=404\nCLIENT_IP=192.0.2.7\n"
        );
        let length = journald.recv(&mut entry).unwrap();
        assert_eq!(
            std::str::from_utf8(&entry[..length]).unwrap(),
            "PRIORITY=4\nSYSLOG_IDENTIFIER=pwd-edge\nMESSAGE=of a library\n"
        );
    }

    #[test]
    fn long_path_is_truncated_and_the_event_still_sent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let lines = LogWriter::spawn(JournalSocket::connect(&path).unwrap(), false).unwrap();
        let metrics = lines.metrics();
        let subscriber = tracing_subscriber::registry().with(JournalLayer(lines));
        tracing::subscriber::with_default(subscriber, || {
            let path = "/".to_owned() + &"\u{85}".repeat(30_000);
            tracing::info!(name: "http_request", path, status = 404, "request");
            tracing::info!("next");
        });
        let mut entry = vec![0; 1 << 20];
        let length = journald.recv(&mut entry).unwrap();
        let entry = std::str::from_utf8(&entry[..length]).unwrap();
        assert!(
            entry.contains("\nEVENT=http_request\nPATH=/\\u0085"),
            "{entry}"
        );
        assert!(entry.ends_with("\u{2026}\nSTATUS=404\n"), "{entry}");
        assert_eq!(metrics.dropped.get(), 0);
    }

    #[test]
    fn missing_journal_socket_is_an_error() {
        assert!(JournalSocket::connect(Path::new("/nowhere/socket")).is_err());
    }
}
