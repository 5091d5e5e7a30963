//! The pump: the task that reads a slow client's response ahead, into memory and to disk.

use std::future::poll_fn;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Response;
use super::blocked_responses::Cause;
use super::file::TemporaryFile;
use super::state::Fill;
use crate::core::error_chain::error_chain;
use crate::upstream::byte_quota::{NoRoom, Purpose};

impl Response {
    /// Reads until the application's response has ended or the client has left. Without room
    /// the application waits for the client, as long as the limits of `blocked` allow.
    pub(super) async fn pump(self: Arc<Self>) {
        loop {
            let fill = poll_fn(|cx| self.state.lock().poll_fill(cx)).await;
            if matches!(fill, Fill::Ended) {
                return;
            }
            let spilled = self.spill().await;
            if let Err(error) = &spilled {
                let cause = || format!("upstream.disk_buffer_size: {}", error_chain(error));
                self.buffers.report(cause);
                if !is_limit(error) {
                    let error = error_chain(error);
                    self.buffers.disk.record_failure(format!(
                        "cannot keep responses on disk; see upstream.disk_buffer_size: {error}"
                    ));
                }
            }
            if matches!(fill, Fill::Rest) {
                return;
            }
            if matches!(spilled, Ok(true)) {
                self.state.lock().unblock();
                continue;
            }
            let (blocked, cause) = (&self.buffers.blocked, cause(&spilled));
            if self.state.lock().block(blocked, cause).is_err() {
                tracing::debug!(
                    name: "slow_client_aborted",
                    reason = cause.code(),
                    "response to slow client aborted"
                );
                return;
            }
            let room = poll_fn(|cx| self.state.lock().poll_room(cx.waker()));
            // The client wakes this when it has emptied the memory. The timeout is for the
            // disk budget, which other responses free without a wake-up, and it lets `block`
            // check the client's progress.
            let _ = timeout(RETRY_INTERVAL, room).await;
        }
    }

    /// Moves the bytes in memory to disk. Returns false if there are none, or the response
    /// has reached its size limit on disk.
    ///
    /// Not cancel-safe: the bytes being written would be lost. Only the pump calls it.
    ///
    /// # Errors
    /// Returns an error that wraps [`NoRoom`] if the disk budget is exhausted, and the
    /// system's error if the disk fails.
    async fn spill(&self) -> io::Result<bool> {
        let permit = self.buffers.writers.acquire().await;
        let _permit = permit.map_err(io::Error::other)?;
        if !self.state.lock().has_file() {
            let reservation = self.buffers.disk.reservation(Purpose::Responses, self.key);
            let file = spawn_blocking(|| TemporaryFile::create(reservation)).await;
            self.state.lock().open(file.map_err(io::Error::other)??);
        }
        // From here to `end_write` the bytes are in neither place: `State::writing` counts
        // them, and the client waits, so that it cannot overtake them.
        let Some((chunk, data)) = self.state.lock().begin_write(self.buffers.size)? else {
            return Ok(false);
        };
        let write = spawn_blocking(move || {
            let written = chunk.file.write_all_at(&data, chunk.at);
            (data, written)
        });
        let (data, written) = write.await.map_err(io::Error::other)?;
        self.state.lock().end_write(data, written.is_ok());
        written.map(|()| true)
    }
}

/// Returns why `spilled` found no room: the disk failed, or a limit was reached.
fn cause(spilled: &io::Result<bool>) -> Cause {
    match spilled {
        Err(error) if !is_limit(error) => Cause::Disk,
        _ => Cause::Full,
    }
}

/// Returns whether the disk budget is exhausted, and not the disk itself at fault.
fn is_limit(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<NoRoom>())
}

/// The interval of retries while the disk has no room.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
