//! Log events as lines of JSON. Every request logs a line, so each is written in one pass
//! into a buffer that its thread reuses (`docs/decisions/0023-json-log-lines.md`).

use std::cell::Cell;
use std::fmt::{self, Debug, Write};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::event_id;
use super::writer::{LogWriter, escape};

/// A layer that writes each event as one flat JSON object on one line.
#[derive(Debug)]
pub(super) struct JsonLayer(pub(super) LogWriter);

impl<S: Subscriber> Layer<S> for JsonLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = event.metadata().level();
        // The buffer is new if a value logs an event while it is formatted, and during the
        // destruction of thread-locals.
        let mut line = LINE.try_with(Cell::take).unwrap_or_default();
        line.push_str(self.0.prefix(*level));
        line.push_str("{\"timestamp\":\"");
        write_now(&mut line);
        line.push_str("\",\"level\":\"");
        line.push_str(level.as_str());
        if let Some(id) = event_id(event.metadata()) {
            line.push_str("\",\"event\":\"");
            line.push_str(id);
        }
        line.push('"');
        event.record(&mut Fields(&mut line));
        line.push_str("}\n");
        self.0.send(line.as_bytes(), *level);
        line.clear();
        line.shrink_to(LINE_CAPACITY);
        let _ = LINE.try_with(|kept| kept.set(line));
    }
}

/// Writes the current time in UTC (RFC 3339, microseconds). The date and time of day are
/// formatted once per second, because that takes a fifth of the time of a line.
fn write_now(line: &mut String) {
    // The system clock may be set to before 1970.
    let now = SystemTime::now().max(SystemTime::UNIX_EPOCH);
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut second = SECOND.try_with(Cell::take).unwrap_or_default();
    if second.number != Some(since.as_secs()) {
        second.number = Some(since.as_secs());
        second.text.clear();
        // From the year 10000 on, formatting fails and the text stays empty.
        let _ = write!(second.text, "{}", humantime::format_rfc3339_seconds(now));
        second.text.pop();
    }
    line.push_str(&second.text);
    // The added million keeps leading zeros; its own digit is skipped below.
    let micros = 1_000_000 + since.subsec_micros();
    line.push('.');
    line.push_str(&itoa::Buffer::new().format(micros)[1..]);
    line.push('Z');
    let _ = SECOND.try_with(|kept| kept.set(second));
}

/// A formatted second of the clock.
#[derive(Default)]
struct Second {
    /// Seconds since 1970; `None` before the first use.
    number: Option<u64>,
    /// The second in RFC 3339, without the final `Z`.
    text: String,
}

/// A visitor that appends fields to a JSON object.
struct Fields<'a>(&'a mut String);

impl Fields<'_> {
    /// Appends a field. Its name comes from source code, so it needs no escapes.
    fn add(&mut self, field: &Field, value: impl FnOnce(&mut String)) {
        self.0.push_str(",\"");
        self.0.push_str(field.name());
        self.0.push_str("\":");
        value(self.0);
    }

    /// Appends a field with an integer.
    fn add_number(&mut self, field: &Field, number: impl itoa::Integer) {
        self.add(field, |line| {
            line.push_str(itoa::Buffer::new().format(number));
        });
    }

    /// Appends a field with a string; `write` supplies its content.
    fn add_quoted(&mut self, field: &Field, write: impl FnOnce(&mut Quoted<'_>)) {
        self.add(field, |line| {
            line.push('"');
            write(&mut Quoted(line));
            line.push('"');
        });
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.add(field, |line| {
                let _ = write!(line, "{value:?}");
            })
        } else {
            self.record_debug(field, &value)
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add_number(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add_number(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, |line| {
            line.push_str(if value { "true" } else { "false" })
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_quoted(field, |out| out.push(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add_quoted(field, |out| {
            // Ignored: writing to a `String` cannot fail.
            let _ = write!(out, "{value:?}");
        });
    }
}

/// A writer for the content of a JSON string, which it escapes.
struct Quoted<'a>(&'a mut String);

impl Quoted<'_> {
    /// Appends text. Clients choose paths, so quotes, control characters and bidirectional
    /// characters are escaped: none can end the string or forge terminal output.
    fn push(&mut self, text: &str) {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        // `fold` does not stop early, so the loop has no branch per byte.
        if text.bytes().fold(true, |all, byte| all & is_plain(byte)) {
            self.0.push_str(text);
        } else if let Ok(quoted) = serde_json::to_string(text) {
            self.0
                .push_str(&escape(&quoted[1..quoted.len() - 1], |_| false));
        }
    }
}

impl Write for Quoted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

thread_local! {
    /// The thread's reusable line buffer; empty between events.
    static LINE: Cell<String> = const { Cell::new(String::new()) };
    /// The second of the thread's last line, already formatted.
    static SECOND: Cell<Second> = const { Cell::new(Second { number: None, text: String::new() }) };
}

/// Bytes of the line buffer that a thread retains; most lines are shorter.
const LINE_CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use std::io::{self, Read, pipe};

    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// The lines of what `say` says, without their times.
    fn logged(say: impl FnOnce()) -> Vec<String> {
        let (mut read, write) = pipe().unwrap();
        let lines = LogWriter::spawn(io::LineWriter::new(write), true).unwrap();
        let subscriber = tracing_subscriber::registry().with(JsonLayer(lines));
        tracing::subscriber::with_default(subscriber, say);
        let mut all = String::new();
        read.read_to_string(&mut all).unwrap();
        let without = |line: &str| {
            let value: Value = serde_json::from_str(&line[3..]).unwrap();
            let time = value["timestamp"].as_str().unwrap();
            humantime::parse_rfc3339(time).unwrap();
            line.replace(time, "now")
        };
        all.lines().map(without).collect()
    }

    #[test]
    fn event_is_one_json_line_with_all_its_fields() {
        let lines = logged(|| {
            tracing::info!(
                name: "http_request",
                method = %"GE\"T",
                path = "/a\"b\\c\n\t\u{1}\u{1b}\u{7f}\u{85}\u{202e}\u{e9}\u{1f600}",
                version = ?hyper::Version::HTTP_2,
                bytes = u64::MAX,
                signed = -1,
                share = 0.5,
                whole = 1.0,
                unknown = f64::NAN,
                yes = true,
                refused = None::<&str>,
                also = Some("because"),
                client.ip = %std::net::Ipv6Addr::LOCALHOST,
                "request"
            );
            let span = tracing::error_span!("within", of = 1);
            span.in_scope(|| tracing::warn!("between"));
        });
        assert_eq!(
            lines,
            [
                "<6>{\"timestamp\":\"now\",\"level\":\"INFO\",\"event\":\"http_request\",\
                 \"message\":\"request\",\
                 \"method\":\"GE\\\"T\",\
                 \"path\":\"/a\\\"b\\\\c\\n\\t\\u0001\\u001b\\u007f\\u0085\\u202e\u{e9}\u{1f600}\",\
                 \"version\":\"HTTP/2.0\",\"bytes\":18446744073709551615,\"signed\":-1,\
                 \"share\":0.5,\"whole\":1.0,\"unknown\":\"NaN\",\"yes\":true,\"also\":\"because\",\
                 \"client.ip\":\"::1\"}",
                "<4>{\"timestamp\":\"now\",\"level\":\"WARN\",\"message\":\"between\"}",
            ]
        );
    }
}
