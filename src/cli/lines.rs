//! Where the log's lines leave the process: by a thread of their own. A reader
//! that stands still costs lines, which are counted, and holds up nobody.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::metrics::Counter;

/// Takes lines. Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    queue: SyncSender<Message>,
    /// Bytes that the lines in the queue take.
    waiting: Arc<AtomicUsize>,
    lost: Arc<Counter>,
    prefixed: bool,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// All that came before is written: say so.
    Flush(SyncSender<()>),
}

/// Sees to it, when it is dropped, that what was said is written.
#[derive(Debug)]
pub(super) struct Flush(Lines);

impl Lines {
    /// Writes to `out`. With `prefixed`, each line begins with its priority, as
    /// journald reads it (sd-daemon(3)).
    pub(super) fn to(out: impl Write + Send + 'static, prefixed: bool) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("log".to_owned());
        let lost: Arc<Counter> = Arc::default();
        let waiting: Arc<AtomicUsize> = Arc::default();
        let (unwritten, fewer) = (Arc::clone(&lost), Arc::clone(&waiting));
        thread.spawn(move || write(out, &messages, &fewer, &unwritten))?;
        Ok(Self {
            queue,
            waiting,
            lost,
            prefixed,
        })
    }

    /// Sends one line, whole; or it is lost.
    pub(super) fn send(&self, line: Vec<u8>) {
        let size = line.capacity();
        let fits = self.waiting.fetch_add(size, Relaxed) <= MOST - size.min(MOST);
        if !fits || self.queue.try_send(Message::Line(line)).is_err() {
            self.waiting.fetch_sub(size, Relaxed);
            self.lost.add(1);
        }
    }

    /// What a line of this level begins with.
    pub(super) fn prefix(&self, level: Level) -> &'static str {
        match (self.prefixed, level) {
            (false, _) => "",
            (true, Level::ERROR) => "<3>",
            (true, Level::WARN) => "<4>",
            (true, Level::INFO) => "<6>",
            (true, _) => "<7>",
        }
    }

    /// How many lines nobody will read.
    pub(super) fn lost(&self) -> Arc<Counter> {
        Arc::clone(&self.lost)
    }

    /// What the end of the process waits for.
    pub(super) fn flush_at_end(&self) -> Flush {
        Flush(self.clone())
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let (tell, written) = sync_channel(1);
        // A full queue is one that nobody reads: what waits there is lost.
        if self.0.queue.try_send(Message::Flush(tell)).is_ok() {
            let _ = written.recv_timeout(LAST_WORDS);
        }
    }
}

/// Writes what comes, a moment after the first of it: whoever logs meanwhile wakes
/// nobody, which costs more than the line does.
fn write(mut out: impl Write, messages: &Receiver<Message>, waiting: &AtomicUsize, lost: &Counter) {
    let mut gathered = 0;
    // What `out` cannot pass on may come later, or never: who looks at the number
    // must see it now.
    let pass_on = |out: &mut _, gathered: &mut u64| {
        let lines = std::mem::take(gathered);
        if Write::flush(out).is_err() {
            lost.add(lines);
        }
    };
    while let Ok(first) = messages.recv() {
        std::thread::sleep(GATHER);
        for message in std::iter::once(first).chain(messages.try_iter()) {
            match message {
                Message::Line(line) => {
                    // A reader that is gone is no reason to stop.
                    match out.write_all(&line) {
                        Ok(()) => gathered += 1,
                        Err(_) => lost.add(1),
                    }
                    waiting.fetch_sub(line.capacity(), Relaxed);
                }
                Message::Flush(tell) => {
                    pass_on(&mut out, &mut gathered);
                    let _ = tell.send(());
                }
            }
        }
        pass_on(&mut out, &mut gathered);
    }
}

/// One line on its way.
#[derive(Debug)]
pub(super) struct Line<'a> {
    lines: &'a Lines,
    prefix: &'static str,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        let prefix = "";
        Line {
            lines: self,
            prefix,
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        Line {
            lines: self,
            prefix: self.prefix(*meta.level()),
        }
    }
}

/// The subscriber writes each line in one piece.
impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let whole = [self.prefix.as_bytes(), &escaped(line)].concat();
        self.lines.send(whole);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line without what moves a terminal's cursor or turns text around: the
/// subscriber lets some of it pass, and strangers choose paths.
fn escaped(line: &[u8]) -> Cow<'_, [u8]> {
    // Nearly all lines, and without a branch for each byte.
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

/// `text` with what moves a cursor or turns text around in the escapes of JSON,
/// but for those characters that are `ours`.
pub(super) fn escape(text: &str, ours: impl Fn(char) -> bool) -> Cow<'_, str> {
    let moves = |c: char| (c.is_control() || super::turns(c)) && !ours(c);
    if !text.contains(moves) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match moves(c) {
            true => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => safe.push(c),
        }
    }
    safe.into()
}

/// Lines that wait while the reader is busy: about 2 MiB.
const QUEUE: usize = 4096;
/// Their bytes, if they are long: strangers choose paths.
const MOST: usize = 8 << 20;
/// How long lines wait for others. The queue holds what comes meanwhile, at
/// hundreds of thousands of lines a second.
const GATHER: Duration = Duration::from_millis(10);
/// How long the end of the process waits for a reader.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that stands still.
    struct Still(Receiver<()>);

    impl Write for Still {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn long_lines_that_nobody_reads_take_little_memory() {
        let (_go_on, still) = sync_channel(1);
        let lines = Lines::to(Still(still), false).unwrap();
        for _ in 0..100 {
            lines.send(vec![0; 128 * 1024]);
        }
        assert_eq!(lines.lost().read(), 100 - (MOST / (128 * 1024)) as u64);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_lost_at_once() {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let lines = Lines::to(io::BufWriter::new(full.unwrap()), false).unwrap();
        lines.send(b"one\n".to_vec());
        lines.send(b"two\n".to_vec());
        drop(lines.flush_at_end());
        assert_eq!(lines.lost().read(), 2);
    }

    #[test]
    fn nothing_in_a_line_turns_text_around() {
        let line = "{\"path\":\"/\u{202e}gpj\u{7f}\u{9b}2J\u{2066}\",\"name\":\"\u{e9}\"}\n";
        let told = String::from_utf8(escaped(line.as_bytes()).into_owned()).unwrap();
        assert_eq!(
            told,
            "{\"path\":\"/\\u202egpj\\u007f\\u009b2J\\u2066\",\"name\":\"\u{e9}\"}\n"
        );
        let value: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(value["path"], "/\u{202e}gpj\u{7f}\u{9b}2J\u{2066}");
        assert!(matches!(escaped(b"plain\n"), Cow::Borrowed(_)));
    }
}
