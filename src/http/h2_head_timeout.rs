//! The timeout for the head of an HTTP/2 request. h2 has none: it keeps a partial head
//! until the rest arrives, for as long as there is activity on other streams.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::h2_frame::{CONTINUATION, END_HEADERS, FRAME_HEADER_BYTES, HEADERS};
use crate::runtime::lazy_timer::LazyTimer;
use crate::runtime::stream_filter::{FilteredStream, StreamFilter};

/// The stream below h2. A read fails once a head is not complete within the timeout, which
/// runs from its first frame.
pub(super) type HeadTimeoutStream<S> = FilteredStream<S, HeadTimeout>;

/// The filter of a [`HeadTimeoutStream`].
#[derive(Debug)]
pub(super) struct HeadTimeout {
    timeout: Duration,
    frames: FrameScanner,
    /// When the head that has begun must be complete.
    due: Option<Instant>,
    timer: LazyTimer,
}

/// A request head was not complete within the timeout.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("request head not complete within http.header_timeout")]
struct HeadTimedOut;

impl<S> HeadTimeoutStream<S> {
    /// Wraps `stream`. Each head may take `timeout`.
    pub(super) fn new(stream: S, timeout: Duration) -> Self {
        Self {
            stream,
            filter: HeadTimeout {
                timeout,
                frames: FrameScanner::default(),
                due: None,
                timer: LazyTimer::default(),
            },
        }
    }
}

impl HeadTimeout {
    /// Records bytes that were read.
    fn record(&mut self, read: &[u8]) {
        let has_begun = self.frames.scan(read);
        if !self.frames.is_in_head {
            self.due = None;
        } else if has_begun {
            self.due = Some(Instant::now() + self.timeout);
        }
    }
}

impl StreamFilter for HeadTimeout {
    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(stream).poll_read(cx, buf) {
            self.record(&buf.filled()[before..]);
            return Poll::Ready(read);
        }
        let Some(due) = self.due else {
            return Poll::Pending;
        };
        ready!(self.timer.poll_until(due, cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, HeadTimedOut)))
    }
}

/// Follows the frames in a stream of bytes (RFC 9113 §4.1), to find where heads begin and
/// end. It validates nothing; h2 does.
#[derive(Debug)]
struct FrameScanner {
    /// Bytes of the preface or of a frame's payload that are still to come.
    skip: usize,
    header: [u8; FRAME_HEADER_BYTES],
    /// Bytes of `header` that were read.
    header_len: usize,
    /// Whether a HEADERS frame has begun and the last frame of its head is not complete.
    is_in_head: bool,
    /// Whether the frame whose payload is skipped is the last one of a head.
    is_last: bool,
}

impl Default for FrameScanner {
    fn default() -> Self {
        Self {
            skip: PREFACE_BYTES,
            header: [0; FRAME_HEADER_BYTES],
            header_len: 0,
            is_in_head: false,
            is_last: false,
        }
    }
}

impl FrameScanner {
    /// Follows the next `bytes`. Returns whether a head began in them.
    fn scan(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_begun = false;
        loop {
            let skipped = self.skip.min(bytes.len());
            bytes = &bytes[skipped..];
            self.skip -= skipped;
            if self.skip > 0 {
                return has_begun;
            }
            if std::mem::take(&mut self.is_last) {
                self.is_in_head = false;
            }
            let missing = &mut self.header[self.header_len..];
            let (some, rest) = bytes.split_at(missing.len().min(bytes.len()));
            missing[..some.len()].copy_from_slice(some);
            self.header_len += some.len();
            bytes = rest;
            if self.header_len < FRAME_HEADER_BYTES {
                return has_begun;
            }
            self.header_len = 0;
            let [high, middle, low, kind, flags, ..] = self.header;
            self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
            has_begun |= kind == HEADERS;
            self.is_in_head |= kind == HEADERS;
            self.is_last = matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS != 0;
        }
    }
}

/// "PRI * HTTP/2.0…" (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::http::h2_frame;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        h2_frame::frame(kind, flags, 1, payload)
    }

    /// Returns whether a head is open, after each byte of `frames`.
    fn scanned(frames: &[Vec<u8>]) -> Vec<bool> {
        let mut scanner = FrameScanner::default();
        scanner.scan(&[b'P'; PREFACE_BYTES]);
        let bytes = frames.concat();
        let each = bytes.iter().map(|byte| {
            scanner.scan(&[*byte]);
            scanner.is_in_head
        });
        each.collect()
    }

    #[test]
    fn head_is_open_from_its_frame_header_to_its_last_byte() {
        let headers = frame(HEADERS, 0, b"ab");
        let last = frame(CONTINUATION, END_HEADERS, b"c");
        let data = frame(0, END_HEADERS, b"defg");
        let open = scanned(&[data.clone(), headers.clone(), last.clone(), data.clone()]);
        let (from, to) = (data.len() + 8, data.len() + headers.len() + last.len() - 1);
        let expected: Vec<_> = (0..open.len()).map(|at| (from..to).contains(&at)).collect();
        assert_eq!(open, expected);
    }

    #[test]
    fn frames_split_anywhere_are_followed() {
        let whole = frame(HEADERS, END_HEADERS | 1, b"abc");
        let bytes = [vec![b'P'; PREFACE_BYTES], whole.clone(), whole].concat();
        for split in 0..bytes.len() {
            let mut scanner = FrameScanner::default();
            let (first, second) = bytes.split_at(split);
            let begun = [scanner.scan(first), scanner.scan(second)];
            assert!(begun.contains(&true) && !scanner.is_in_head, "{split}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn read_with_a_partial_head_fails_after_the_timeout() {
        let limit = Duration::from_secs(10);
        let (mut client, server) = tokio::io::duplex(1024);
        let mut stream = HeadTimeoutStream::new(server, limit);
        let whole = frame(HEADERS, END_HEADERS, b"abc");
        let half = frame(HEADERS, 0, b"abc");
        client.write_all(&[b'P'; PREFACE_BYTES]).await.unwrap();
        client.write_all(&whole).await.unwrap();
        let mut got = Vec::new();
        let idle = tokio::time::timeout(6 * limit, stream.read_to_end(&mut got)).await;
        assert!(idle.is_err(), "no head has begun");
        client.write_all(&half).await.unwrap();
        let start = Instant::now();
        // Further frames do not extend it.
        let dripping = async {
            loop {
                tokio::time::sleep(limit / 4).await;
                client
                    .write_all(&frame(CONTINUATION, 0, b"x"))
                    .await
                    .unwrap();
            }
        };
        tokio::select! {
            read = stream.read_to_end(&mut got) => {
                assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
            }
            () = dripping => {}
        }
        assert_eq!(start.elapsed(), limit);
    }
}
