//! Log lines in JSON. The subscriber's own writer makes them; but of the lines that
//! there is one of for each request it makes five times the work.

use std::fmt::{self, Debug, Display, Write};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, FormatEvent, JsonFields, Writer};
use tracing_subscriber::fmt::{self as lines, FmtContext};
use tracing_subscriber::registry::LookupSpan;

use crate::http::ACCESS;

/// One line for each event.
pub(super) struct Json(Format<lines::format::Json>);

impl Json {
    /// All fields side by side.
    pub(super) fn flat() -> Self {
        Self(
            lines::format()
                .json()
                .flatten_event(true)
                .with_target(false),
        )
    }
}

impl<S> FormatEvent<S, JsonFields> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        // What libraries say may be within something, which is written, too.
        if metadata.target() != ACCESS || context.lookup_current().is_some() {
            return self.0.format_event(context, out, event);
        }
        // A clock may be set to before all time that can be told.
        let now = SystemTime::now().max(SystemTime::UNIX_EPOCH);
        let now = humantime::format_rfc3339_micros(now);
        let level = metadata.level();
        // Not into `out` piece by piece: each would pass several writers.
        let mut line = String::with_capacity(USUAL);
        write!(line, "{{\"timestamp\":\"{now}\",\"level\":\"{level}\"")?;
        event.record(&mut Fields(&mut line));
        line.push_str("}\n");
        out.write_str(&line)
    }
}

/// Writes fields behind others. Writing to a text cannot fail.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    /// A field's name comes from our source and needs no escapes.
    fn begin(&mut self, field: &Field) {
        self.0.push_str(",\"");
        self.0.push_str(field.name());
        self.0.push_str("\":");
    }

    fn add(&mut self, field: &Field, value: impl Display) {
        self.begin(field);
        let _ = write!(self.0, "{value}");
    }
}

impl Visit for Fields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.begin(field);
        self.0.push('"');
        let _ = Quoted(self.0).write_str(value);
        self.0.push('"');
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.begin(field);
        self.0.push('"');
        let _ = write!(Quoted(self.0), "{value:?}");
        self.0.push('"');
    }
}

/// Writes what is between the quotes of a string.
struct Quoted<'a>(&'a mut String);

impl Write for Quoted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        // Without a branch for each byte.
        if text.bytes().fold(true, |all, byte| all & is_plain(byte)) {
            self.0.push_str(text);
        } else {
            let quoted = serde_json::to_string(text).map_err(|_| fmt::Error)?;
            self.0.push_str(&quoted[1..quoted.len() - 1]);
        }
        Ok(())
    }
}

/// Bytes of most lines.
const USUAL: usize = 512;

#[cfg(test)]
mod tests {
    use std::io::{self, PipeReader, Read, pipe};

    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::cli::lines::Lines;

    /// Says something, once so and once as the subscriber does it.
    fn both(say: impl Fn()) -> [String; 2] {
        let ours = |out| {
            lines::layer()
                .json()
                .event_format(Json::flat())
                .with_writer(out)
        };
        let theirs = |out| {
            lines::layer()
                .json()
                .flatten_event(true)
                .with_target(false)
                .with_writer(out)
        };
        let (read, out) = sink();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(ours(out)), &say);
        let first = told(read);
        let (read, out) = sink();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(theirs(out)), &say);
        [first, told(read)]
    }

    fn sink() -> (PipeReader, Lines) {
        let (read, write) = pipe().unwrap();
        (read, Lines::to(io::LineWriter::new(write), true).unwrap())
    }

    /// All lines, without the times.
    fn told(mut read: PipeReader) -> String {
        let mut lines = String::new();
        read.read_to_string(&mut lines).unwrap();
        let without = |line: &str| {
            let value: Value = serde_json::from_str(&line[3..]).unwrap();
            let time = value["timestamp"].as_str().unwrap();
            humantime::parse_rfc3339(time).unwrap();
            line.replace(time, &"t".repeat(time.len()))
        };
        lines.lines().map(without).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_request_is_told_as_the_subscriber_would() {
        let [ours, theirs] = both(|| {
            for path in [
                "/",
                "/a\"b\\c\n\t\u{1}\u{1b}\u{7f}\u{85}\u{202e}\u{e9}\u{1f600}",
            ] {
                tracing::info!(
                    target: ACCESS,
                    method = %"GE\"T",
                    path,
                    version = ?hyper::Version::HTTP_2,
                    status = 200_u16,
                    bytes = u64::MAX,
                    signed = -1,
                    yes = true,
                    refused = None::<&str>,
                    also = Some("because"),
                    client.ip = %std::net::Ipv6Addr::LOCALHOST,
                    "request"
                );
                tracing::warn!(%path, "between");
            }
            let span = tracing::error_span!("within", of = 1);
            span.in_scope(|| tracing::info!(target: ACCESS, status = 1, "request"));
        });
        assert_eq!(ours, theirs);
        assert_eq!(ours.lines().count(), 5);
        assert!(ours.starts_with("<6>{\"timestamp\":\"ttt"), "{ours}");
        assert!(
            ours.contains("\"version\":\"HTTP/2.0\",\"status\":200,"),
            "{ours}"
        );
    }
}
