//! The check of a client's frames at their headers. tungstenite finds some violations of
//! RFC 6455 only after the last byte of a frame, for which it makes room before: a control
//! frame that is too long (§5.5), or a fragment that makes its message too long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::runtime::stream_filter::{FilteredStream, StreamFilter};

/// A stream that fails reads at the header of a frame that the edge does not accept. After
/// that the remaining bytes pass, so that the close can discard them.
pub(super) type FrameGuard<S> = FilteredStream<S, FrameFilter>;

/// The filter of a [`FrameGuard`].
#[derive(Debug)]
pub(super) struct FrameFilter {
    max_message_size: u64,
    /// The first bytes of a header that is not complete.
    header: [u8; MAX_HEADER_BYTES],
    header_length: usize,
    /// The bytes that follow the header: its mask, and the payload.
    body_left: u64,
    /// The length so far of a message whose last fragment is missing.
    unfinished: Option<u64>,
    /// An error that the next read returns: valid frames came before it.
    error: Option<FrameError>,
    has_failed: bool,
}

/// The violation in the header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// The frame violates the protocol.
    #[error("the header of the frame is invalid")]
    Invalid,
    /// The frame's message is too long.
    #[error("the message is too long")]
    TooLarge,
}

impl<S> FrameGuard<S> {
    /// Wraps `stream`, whose messages have at most `max_message_size` bytes.
    pub(super) fn new(stream: S, max_message_size: usize) -> Self {
        Self {
            stream,
            filter: FrameFilter {
                max_message_size: max_message_size as u64,
                header: [0; MAX_HEADER_BYTES],
                header_length: 0,
                body_left: 0,
                unfinished: None,
                error: None,
                has_failed: false,
            },
        }
    }
}

impl FrameFilter {
    /// Follows the frames in `bytes`.
    ///
    /// # Errors
    /// The number of bytes before the header of the first invalid frame, and its violation.
    fn scan(&mut self, bytes: &[u8]) -> Result<(), (usize, FrameError)> {
        let (mut at, mut frame_start) = (0, 0);
        while at < bytes.len() {
            if self.body_left > 0 {
                let left = usize::try_from(self.body_left).unwrap_or(usize::MAX);
                let skipped = left.min(bytes.len() - at);
                self.body_left -= skipped as u64;
                at += skipped;
                frame_start = at;
                continue;
            }
            self.header[self.header_length] = bytes[at];
            self.header_length += 1;
            at += 1;
            self.check_header().map_err(|error| (frame_start, error))?;
        }
        Ok(())
    }

    /// Checks what is there of the header. A complete one begins the body.
    fn check_header(&mut self) -> Result<(), FrameError> {
        let (first, second) = (self.header[0], self.header[1]);
        let (opcode, is_final) = (first & 0x0f, first & 0x80 != 0);
        let is_control = opcode >= 8;
        match self.header_length {
            0 | 1 => return Ok(()),
            2 => {
                let is_sequence_valid = match opcode {
                    0 => self.unfinished.is_some(),
                    1 | 2 => self.unfinished.is_none(),
                    // Close, ping and pong, which are not fragmented.
                    8..=10 => is_final && second & 0x7f <= MAX_CONTROL_BYTES,
                    _ => false,
                };
                let (has_extension, is_masked) = (first & 0x70 != 0, second & 0x80 != 0);
                if has_extension || !is_masked || !is_sequence_valid {
                    return Err(FrameError::Invalid);
                }
            }
            _ => {}
        }
        let extended = &self.header[2..self.header_length];
        let length = match (second & 0x7f, extended.len()) {
            (126, 2) | (127, 8) => extended
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
            (126 | 127, _) => return Ok(()),
            (short, _) => short.into(),
        };
        if !is_control {
            let total = self.unfinished.unwrap_or(0).saturating_add(length);
            if total > self.max_message_size {
                return Err(FrameError::TooLarge);
            }
            self.unfinished = (!is_final).then_some(total);
        }
        self.header_length = 0;
        self.body_left = MASK_BYTES + length;
        Ok(())
    }
}

impl StreamFilter for FrameFilter {
    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Err(io::Error::other(error)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(stream).poll_read(cx, buf))?;
        if self.has_failed {
            return Poll::Ready(Ok(()));
        }
        if let Err((valid, error)) = self.scan(&buf.filled()[before..]) {
            self.has_failed = true;
            buf.set_filled(before + valid);
            if valid == 0 {
                return Poll::Ready(Err(io::Error::other(error)));
            }
            self.error = Some(error);
        }
        Poll::Ready(Ok(()))
    }
}

/// The two bytes of every header, and the longest extended length. The mask counts as body.
const MAX_HEADER_BYTES: usize = 10;
const MASK_BYTES: u64 = 4;
/// The maximum payload of a control frame (RFC 6455 §5.5).
const MAX_CONTROL_BYTES: u8 = 125;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    /// Returns what a guard of messages up to 300 bytes passes of `bytes`, which arrive in
    /// pieces of `piece` bytes, and the violation that it finds.
    async fn pass(bytes: &[u8], piece: usize) -> (Vec<u8>, Option<FrameError>) {
        let mut passed = Vec::new();
        let mut filter = FrameGuard::new((), 300).filter;
        for piece in bytes.chunks(piece) {
            let mut guard = FrameGuard {
                stream: piece,
                filter,
            };
            if let Err(error) = guard.read_to_end(&mut passed).await {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
                return (passed, inner.copied());
            }
            filter = guard.filter;
        }
        (passed, None)
    }

    /// Returns a masked frame.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match u8::try_from(length) {
            Ok(short) if short < 126 => frame.push(0x80 | short),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        frame.extend(vec![0; 4 + length]);
        frame
    }

    #[tokio::test]
    async fn valid_frames_pass_unchanged() {
        let frames = [
            frame(0x81, 300),
            frame(0x89, 125),
            frame(0x01, 100),
            frame(0x8a, 0),
            frame(0x00, 100),
            frame(0x80, 100),
            frame(0x82, 0),
            frame(0x88, 2),
        ];
        let bytes = frames.concat();
        for piece in [1, 3, 7, bytes.len()] {
            assert_eq!(pass(&bytes, piece).await, (bytes.clone(), None));
        }
    }

    #[tokio::test]
    async fn invalid_frame_fails_at_its_header_after_the_valid_ones() {
        use FrameError::{Invalid, TooLarge};
        let valid = frame(0x81, 5);
        let cases: [(&[u8], &[u8], FrameError); 13] = [
            (&[], &[0x89, 0xfe], Invalid),
            (&[], &[0x88, 0xff], Invalid),
            (&[], &[0x09, 0x82], Invalid),
            (&[], &[0x81, 0x02], Invalid),
            (&[], &[0xc1, 0x82], Invalid),
            (&[], &[0x83, 0x82], Invalid),
            (&[], &[0x8b, 0x82], Invalid),
            (&[], &[0x80, 0x82], Invalid),
            (&[0x01], &[0x81, 0x82], Invalid),
            (&[], &[0x81, 0xfe, 0x01, 0x2d], TooLarge),
            (&[], &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 1, 45], TooLarge),
            (
                &[],
                &[0x81, 0xff, 255, 255, 255, 255, 255, 255, 255, 255],
                TooLarge,
            ),
            (&[0x01, 0x00], &[0x80, 0xfe, 0, 101], TooLarge),
        ];
        for (begin, header, expected) in cases {
            let begun: Vec<_> = begin.iter().flat_map(|first| frame(*first, 100)).collect();
            let before = [valid.clone(), begun].concat();
            let bytes = [&before, header].concat();
            let (passed, found) = pass(&bytes, bytes.len()).await;
            assert_eq!(
                (passed.len(), found),
                (before.len(), Some(expected)),
                "{header:?}"
            );
            assert_eq!(pass(&bytes, 1).await.1, Some(expected), "{header:?}");
        }
    }

    proptest! {
        /// However the bytes arrive, the same violation is found.
        #[test]
        fn pieces_do_not_change_the_result(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            piece in 1..20_usize,
        ) {
            use futures_util::FutureExt;
            let whole = pass(&bytes, bytes.len().max(1)).now_or_never().unwrap();
            let pieces = pass(&bytes, piece).now_or_never().unwrap();
            prop_assert_eq!(whole.1, pieces.1);
        }
    }
}
