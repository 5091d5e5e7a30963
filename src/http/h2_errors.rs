//! The requests that h2 rejects by itself. h2 resets the stream or the connection of a
//! malformed request without a report. So a filter follows the frames that h2 writes.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::h2_frame::{END_STREAM, FRAME_HEADER_BYTES, GOAWAY, HEADERS, RST_STREAM};
use super::{BadRequest, Rejection};
use crate::runtime::stream_filter::{FilteredStream, StreamFilter, poll_write};

/// The stream below h2, which reports rejected requests to `R`.
pub(super) type ErrorFrameStream<S, R> = FilteredStream<S, ErrorFrames<R>>;

/// The filter of an [`ErrorFrameStream`].
#[derive(Debug)]
pub(super) struct ErrorFrames<R> {
    scanner: ErrorScanner,
    report: R,
}

impl<S, R: FnMut(Rejection)> ErrorFrameStream<S, R> {
    /// Wraps `stream`. `report` gets each rejection.
    pub(super) fn new(stream: S, report: R) -> Self {
        Self {
            stream,
            filter: ErrorFrames {
                scanner: ErrorScanner::default(),
                report,
            },
        }
    }
}

impl<R: FnMut(Rejection)> StreamFilter for ErrorFrames<R> {
    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(poll_write(stream, cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let count = buf.len().min(left);
            self.scanner.scan(&buf[..count], &mut self.report);
            left -= count;
        }
        Poll::Ready(Ok(written))
    }
}

/// Follows the frames in the bytes that h2 writes (RFC 9113 §4.1).
#[derive(Debug, Default)]
struct ErrorScanner {
    /// Bytes of a frame's payload that are still to come and do not matter.
    skip: usize,
    /// The header of a frame, and the beginning of its payload.
    frame: [u8; FRAME_HEADER_BYTES + 8],
    /// Bytes of `frame` that were written.
    len: usize,
    /// The stream of the last head to which h2 has responded that it is too large.
    too_large: Option<[u8; 4]>,
    /// The newest stream with a response.
    answered: [u8; 4],
}

impl ErrorScanner {
    /// Follows the next `bytes`, and reports the rejections in them.
    fn scan(&mut self, mut bytes: &[u8], report: &mut impl FnMut(Rejection)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            bytes = &bytes[skipped..];
            self.skip -= skipped;
            let needed = self.needed_bytes();
            let missing = &mut self.frame[self.len..needed];
            let (some, rest) = bytes.split_at(missing.len().min(bytes.len()));
            missing[..some.len()].copy_from_slice(some);
            self.len += some.len();
            bytes = rest;
            if self.len < needed {
                return;
            }
            // Now that the type is known, more bytes may be needed.
            if self.needed_bytes() == needed {
                let [high, middle, low, ..] = self.frame;
                let length = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.skip = length.saturating_sub(needed - FRAME_HEADER_BYTES);
                self.rejection().into_iter().for_each(&mut *report);
                self.len = 0;
            }
        }
    }

    /// Returns how many bytes of the current frame must be known.
    fn needed_bytes(&self) -> usize {
        let [high, middle, low, kind, flags, ..] = self.frame;
        let payload = match kind {
            _ if self.len < FRAME_HEADER_BYTES => 0,
            HEADERS if flags & END_STREAM != 0 && (high, middle) == (0, 0) => {
                let length = usize::from(low);
                // h2's own response is short. Others have at least a request id.
                if length > STATUS_431.len() { 0 } else { length }
            }
            RST_STREAM => 4,
            GOAWAY => 8,
            _ => 0,
        };
        FRAME_HEADER_BYTES + payload
    }

    /// Returns the rejection that the current frame stands for.
    fn rejection(&mut self) -> Option<Rejection> {
        let needed = self.needed_bytes();
        let [_, _, _, kind, _, s0, s1, s2, s3, ..] = self.frame;
        let (stream, payload) = ([s0, s1, s2, s3], &self.frame[FRAME_HEADER_BYTES..needed]);
        match (kind, payload) {
            // The second time, the status is an entry of HPACK's table.
            (HEADERS, status)
                if *status == STATUS_431 || self.too_large.is_some() && status.len() == 1 =>
            {
                self.too_large = Some(stream);
                Some(Rejection::HeadTooLarge)
            }
            (HEADERS, _) => {
                self.answered = self.answered.max(stream);
                None
            }
            // It follows such a response if the request has a body.
            (RST_STREAM, _) if self.too_large == Some(stream) => None,
            // The head was good: the client ended the body of a rejected request early.
            (RST_STREAM, _) if stream <= self.answered => None,
            (RST_STREAM, code) if is_fault(code) => Some(SYNTAX),
            (GOAWAY, [_, _, _, _, code @ ..]) if is_fault(code) => Some(SYNTAX),
            _ => None,
        }
    }
}

/// Returns whether the error `code` stands for a malformed request: it is `PROTOCOL_ERROR` or
/// `COMPRESSION_ERROR` (RFC 9113 §7).
fn is_fault(code: &[u8]) -> bool {
    matches!(code, [0, 0, 0, 1 | 9])
}

const SYNTAX: Rejection = Rejection::BadRequest(BadRequest::Syntax);
/// The head of h2's response to a head that is too large: `:status: 431` as HPACK writes it
/// the first time (RFC 7541 §6.2.1).
const STATUS_431: [u8; 5] = [0x48, 0x83, 0x69, 0x90, 0xff];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h2_frame::frame;

    /// Returns what the scanner reports for `bytes`, which come in pieces of `size`.
    fn reported(bytes: &[u8], size: usize) -> Vec<Rejection> {
        let (mut scanner, mut all) = (ErrorScanner::default(), Vec::new());
        for piece in bytes.chunks(size) {
            scanner.scan(piece, &mut |rejection| all.push(rejection));
        }
        all
    }

    #[test]
    fn frames_of_errors_are_found_in_pieces_of_any_size() {
        let code = |code: u32| code.to_be_bytes();
        let go_away = |reason: u32| [code(7), code(reason), *b"text"].concat();
        let frames = [
            frame(4, 0, 0, &[0; 6]),
            frame(HEADERS, 4, 1, b"head"),
            // Trailers.
            frame(HEADERS, 4 | END_STREAM, 1, &[0xbe]),
            frame(0, END_STREAM, 1, &[RST_STREAM; 100]),
            // The client has sent enough, and the edge has failed.
            frame(RST_STREAM, 0, 1, &code(0)),
            frame(RST_STREAM, 0, 1, &code(1)),
            frame(RST_STREAM, 0, 3, &code(2)),
            frame(RST_STREAM, 0, 5, &code(1)),
            frame(HEADERS, 4 | END_STREAM, 7, &STATUS_431),
            frame(RST_STREAM, 0, 7, &code(1)),
            frame(HEADERS, 4 | END_STREAM, 9, &[0xbe]),
            frame(GOAWAY, 0, 0, &go_away(0)),
            frame(GOAWAY, 0, 0, &go_away(1)),
        ];
        let frames = frames.concat();
        for size in 1..=frames.len() {
            let too_large = Rejection::HeadTooLarge;
            let expected = [SYNTAX, too_large, too_large, SYNTAX];
            assert_eq!(reported(&frames, size), expected, "{size}");
        }
    }
}
