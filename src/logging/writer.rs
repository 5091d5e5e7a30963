//! The log's writer thread. A blocked log reader never blocks requests: lines that exceed
//! the queue are lost and counted.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::Metrics;
use crate::core::invisible_chars;

/// A handle that queues lines for the writer thread. Clones are cheap and share the queue.
#[derive(Clone, Debug)]
pub(super) struct LogWriter {
    guard: Arc<WriterGuard>,
    prefixed: bool,
}

/// A guard shared by all clones of a [`LogWriter`]. After its drop, the thread writes the
/// queued lines and ends.
#[derive(Debug)]
struct WriterGuard(Arc<Shared>);

/// The state that the handles share with the writer thread.
#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Wakes the writer thread: lines, urgency or the end.
    work: Condvar,
    /// Wakes a [`FlushGuard`]: the thread has written a batch.
    written: Condvar,
    metrics: Metrics,
}

/// The queue of lines and the flags for the writer thread.
#[derive(Debug, Default)]
struct Waiting {
    lines: LineBuffer,
    /// Total bytes ever queued. Less `written_bytes`, it is the length of the queue, with the
    /// batch that is being written.
    queued_bytes: u64,
    /// Total bytes written, or lost in a write.
    written_bytes: u64,
    /// The thread writes at once and does not wait for more lines.
    is_urgent: bool,
    /// All handles are dropped.
    is_closed: bool,
}

/// A buffer of consecutive lines. Copying a line costs less than passing its own
/// allocation to the thread.
#[derive(Debug, Default)]
struct LineBuffer {
    text: Vec<u8>,
    /// The end of each line in `text`.
    ends: Vec<usize>,
}

/// A guard whose drop waits until the lines queued before it are written, at most
/// [`FLUSH_TIMEOUT`].
#[derive(Debug)]
pub(super) struct FlushGuard(LogWriter);

impl LogWriter {
    /// Starts the thread that writes to `out`. With `prefixed`, each line begins with its
    /// priority in the form of sd-daemon(3), such as `<4>`.
    ///
    /// # Errors
    /// The operating system cannot start the thread.
    pub(super) fn spawn(out: impl Write + Send + 'static, prefixed: bool) -> io::Result<Self> {
        Self::spawn_batching(out, prefixed, BATCH_DELAY)
    }

    /// Starts the thread as [`Self::spawn`] does; it collects lines for up to `batch_delay` into
    /// one batch.
    fn spawn_batching(
        out: impl Write + Send + 'static,
        prefixed: bool,
        batch_delay: Duration,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let guard = Arc::new(WriterGuard(Arc::clone(&shared)));
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || shared.write_all(out, batch_delay))?;
        Ok(Self { guard, prefixed })
    }

    /// Queues one whole line. Never waits for the reader: a line that exceeds the queue is
    /// lost and counted.
    ///
    /// Warnings and errors are written at once, since the process may be about to end. They
    /// may also use the last [`RESERVED_BYTES`] of the queue.
    pub(super) fn send(&self, line: &[u8], level: Level) {
        let shared = &self.guard.0;
        let warns = level <= Level::WARN;
        let limit = if warns {
            MAX_QUEUED_BYTES
        } else {
            MAX_QUEUED_BYTES - RESERVED_BYTES
        };
        let mut waiting = shared.waiting.lock();
        if waiting.queued_bytes - waiting.written_bytes + line.len() as u64 > limit {
            drop(waiting);
            shared.metrics.dropped.inc();
            return;
        }
        waiting.queued_bytes += line.len() as u64;
        let is_first = waiting.lines.ends.is_empty();
        let is_urgent = warns && !std::mem::replace(&mut waiting.is_urgent, warns);
        waiting.lines.add(line);
        drop(waiting);
        // Later lines need no wake-up: the thread already waits for its batch to end.
        if is_first || is_urgent {
            shared.work.notify_one();
        }
    }

    /// Returns the sd-daemon(3) prefix of a level; empty unless lines are prefixed.
    pub(super) fn prefix(&self, level: Level) -> &'static str {
        match (self.prefixed, level) {
            (false, _) => "",
            (true, Level::ERROR) => "<3>",
            (true, Level::WARN) => "<4>",
            (true, Level::INFO) => "<6>",
            (true, _) => "<7>",
        }
    }

    /// Returns the metrics, which count lost lines.
    pub(super) fn metrics(&self) -> Metrics {
        self.guard.0.metrics.clone()
    }

    /// Returns a guard whose drop flushes the log, for the end of the process.
    pub(super) fn flush_at_end(&self) -> FlushGuard {
        FlushGuard(self.clone())
    }
}

impl Drop for WriterGuard {
    fn drop(&mut self) {
        self.0.waiting.lock().is_closed = true;
        self.0.work.notify_one();
    }
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        let shared = &self.0.guard.0;
        let mut waiting = shared.waiting.lock();
        waiting.is_urgent = true;
        shared.work.notify_one();
        let queued = waiting.queued_bytes;
        let unwritten = |waiting: &mut Waiting| waiting.written_bytes < queued;
        // After the timeout, a blocked reader loses the remaining lines.
        let _ = shared
            .written
            .wait_while_for(&mut waiting, unwritten, FLUSH_TIMEOUT);
    }
}

impl Shared {
    /// Writes batches until all handles are dropped. A batch is collected for `batch_delay` after
    /// its first line, because waking the thread costs more than queueing a line.
    fn write_all(&self, mut out: impl Write, batch_delay: Duration) {
        let mut lines = LineBuffer::default();
        while self.take(&mut lines, batch_delay) {
            let bytes = lines.text.len() as u64;
            self.metrics.dropped.inc_by(lines.write(&mut out));
            self.waiting.lock().written_bytes += bytes;
            self.written.notify_all();
        }
    }

    /// Waits for lines and swaps them into `lines`. Returns false once the queue is closed and
    /// empty.
    fn take(&self, lines: &mut LineBuffer, batch_delay: Duration) -> bool {
        let mut waiting = self.waiting.lock();
        let is_idle = |waiting: &mut Waiting| waiting.lines.ends.is_empty() && !waiting.is_closed;
        self.work.wait_while(&mut waiting, is_idle);
        let is_patient = |waiting: &mut Waiting| !waiting.is_urgent && !waiting.is_closed;
        let _ = self
            .work
            .wait_while_for(&mut waiting, is_patient, batch_delay);
        waiting.is_urgent = false;
        std::mem::swap(lines, &mut waiting.lines);
        !lines.ends.is_empty()
    }
}

impl LineBuffer {
    /// Appends one line, with its line feed.
    fn add(&mut self, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.ends.push(self.text.len());
    }

    /// Writes and clears the lines. Returns how many were lost.
    ///
    /// If the flush fails, all lines of the batch count as lost: `out` may still write them
    /// later, but the count must not hide a failure.
    fn write(&mut self, out: &mut impl Write) -> u64 {
        let (mut start, mut written, mut lost) = (0, 0, 0);
        for &end in &self.ends {
            // Continues after an error: the next line may succeed.
            match out.write_all(&self.text[start..end]) {
                Ok(()) => written += 1,
                Err(_) => lost += 1,
            }
            start = end;
        }
        self.text.clear();
        self.text.shrink_to(MAX_RETAINED_BYTES);
        self.ends.clear();
        self.ends.shrink_to(MAX_RETAINED_BYTES / size_of::<usize>());
        match out.flush() {
            Ok(()) => lost,
            Err(_) => lost + written,
        }
    }
}

/// A writer for one line of the formatting layer, with the line's level.
#[derive(Debug)]
pub(super) struct LineWriter<'a> {
    lines: &'a LogWriter,
    level: Level,
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        let (lines, level) = (self, Level::INFO);
        LineWriter { lines, level }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> LineWriter<'a> {
        let (lines, level) = (self, *meta.level());
        LineWriter { lines, level }
    }
}

/// The formatting layer passes each line in a single `write`.
impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let prefix = self.lines.prefix(self.level);
        let whole = [prefix.as_bytes(), &escaped(line)].concat();
        self.lines.send(&whole, self.level);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns a formatted line with control and bidirectional characters escaped. The
/// formatting layer leaves some of them, and clients choose paths. The layer's own line
/// feeds, tabs and colours stay.
fn escaped(line: &[u8]) -> Cow<'_, [u8]> {
    // The fast path for nearly all lines. `fold` does not stop early, so the loop has no
    // branch per byte.
    let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t' | b'\x1b');
    if line.iter().fold(true, |all, byte| all & plain(byte)) {
        return Cow::Borrowed(line);
    }
    let ours = |c| matches!(c, '\n' | '\t' | '\u{1b}');
    match std::str::from_utf8(line).map(|text| escape(text, ours)) {
        Ok(Cow::Owned(safe)) => Cow::Owned(safe.into_bytes()),
        Ok(Cow::Borrowed(_)) | Err(_) => Cow::Borrowed(line),
    }
}

/// Returns `text` with control and bidirectional characters as JSON escapes, except
/// characters for which `ours` returns true.
pub(super) fn escape(text: &str, ours: impl Fn(char) -> bool) -> Cow<'_, str> {
    let moves = |c: char| (c.is_control() || invisible_chars::is_bidi_control(c)) && !ours(c);
    if !text.contains(moves) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if moves(c) {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)))
        } else {
            safe.push(c)
        }
    }
    safe.into()
}

/// Maximum bytes of queued lines. Further lines are lost and counted.
const MAX_QUEUED_BYTES: u64 = 8 << 20;
/// Bytes of the queue that are reserved for warnings and errors.
const RESERVED_BYTES: u64 = 1 << 20;
/// Time for which a batch is collected. [`MAX_QUEUED_BYTES`] is enough for millions of lines
/// per second in that time.
const BATCH_DELAY: Duration = Duration::from_millis(10);
/// Bytes of buffer memory that remain allocated after a batch.
const MAX_RETAINED_BYTES: usize = 64 * 1024;
/// Maximum time that the end of the process waits for the log reader.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    /// A reader that blocks until the sender of its channel is dropped.
    struct BlockedReader(Receiver<()>);

    impl Write for BlockedReader {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn unread_long_lines_stay_within_the_memory_limit() {
        let (_unblock, blocked) = sync_channel(1);
        let lines = LogWriter::spawn(BlockedReader(blocked), false).unwrap();
        for _ in 0..100 {
            lines.send(&[0; 128 * 1024], Level::INFO);
        }
        assert_eq!(
            lines.metrics().dropped.get(),
            100 - (MAX_QUEUED_BYTES - RESERVED_BYTES) / (128 * 1024)
        );
        for _ in 0..100 {
            lines.send(&[0; 128 * 1024], Level::WARN);
        }
        assert_eq!(
            lines.metrics().dropped.get(),
            200 - MAX_QUEUED_BYTES / (128 * 1024)
        );
    }

    #[test]
    fn warning_flushes_buffered_lines_at_once() {
        let (read, write) = io::pipe().unwrap();
        let lines =
            LogWriter::spawn_batching(io::LineWriter::new(write), false, Duration::MAX).unwrap();
        let mut read = io::BufReader::new(read).lines();
        for level in [Level::WARN, Level::ERROR] {
            lines.send(b"a request\n", Level::INFO);
            lines.send(b"a warning\n", level);
            assert_eq!(read.next().unwrap().unwrap(), "a request");
            assert_eq!(read.next().unwrap().unwrap(), "a warning");
        }
        lines.send(b"the last\n", Level::INFO);
        drop(lines.flush_at_end());
        assert_eq!(read.next().unwrap().unwrap(), "the last");
    }

    #[test]
    fn line_that_fails_to_be_written_is_counted_as_lost() {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let lines = LogWriter::spawn(io::BufWriter::new(full.unwrap()), false).unwrap();
        lines.send(b"one\n", Level::INFO);
        lines.send(b"two\n", Level::WARN);
        drop(lines.flush_at_end());
        assert_eq!(lines.metrics().dropped.get(), 2);
    }

    #[test]
    fn control_and_bidi_characters_in_a_line_are_escaped() {
        let line = "{\"path\":\"/\u{61c}\u{202e}gpj\u{7f}\u{9b}2J\u{2066}\",\"name\":\"\u{e9}\"}\n";
        let text = String::from_utf8(escaped(line.as_bytes()).into_owned()).unwrap();
        assert_eq!(
            text,
            "{\"path\":\"/\\u061c\\u202egpj\\u007f\\u009b2J\\u2066\",\"name\":\"\u{e9}\"}\n"
        );
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["path"], "/\u{61c}\u{202e}gpj\u{7f}\u{9b}2J\u{2066}");
        assert!(matches!(escaped(b"plain\n"), Cow::Borrowed(_)));
    }
}
