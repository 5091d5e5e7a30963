//! The write to a session's stream from outside the session's task.

use std::fmt::Debug;

use super::queue::Batch;

/// Writes to a session's stream from outside the session's task. It hides the type of the
/// stream.
pub(crate) trait DirectWriter: Debug + Send + Sync {
    /// Writes the batch that `take` returns, as far as the stream accepts it without
    /// waiting. `take` is called under the stream's lock, at most once, and not at all while
    /// an earlier batch is unsent: so batches leave in the order in which they are taken.
    fn send(&self, take: &mut dyn FnMut() -> Batch) -> SendResult;
}

/// The result of [`DirectWriter::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendResult {
    /// The stream accepted and flushed the whole batch, which may be empty.
    All,
    /// Some of the batch is unsent, or the write failed: the session must continue.
    Part,
    /// `take` was not called: an earlier batch is unsent, and the session writes it.
    Nothing,
}
