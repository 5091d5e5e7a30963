//! The task that reads a response ahead of its client.

use std::future::poll_fn;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Response;
use super::blocked::Cause;
use super::file::TemporaryFile;
use super::state::Fill;
use crate::core::error_chain::error_chain;
use crate::upstream::ledger::{NoRoom, Purpose};

impl Response {
    /// Reads until the application's response has ended or the client has left. While
    /// there is no room the application waits for the client, as long as it may.
    pub(super) async fn pump(self: Arc<Self>) {
        loop {
            let fill = poll_fn(|cx| self.state.lock().poll_fill(cx)).await;
            if matches!(fill, Fill::Ended) {
                return;
            }
            let spilled = self.spill().await;
            if let Err(error) = &spilled {
                let cause = || format!("upstream.spool: {}", error_chain(error));
                self.buffers.report(cause);
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
            // Others may have left room meanwhile.
            let _ = timeout(RETRY_INTERVAL, room).await;
        }
    }

    /// Moves what is in memory to disk. False if the response may have no more there.
    ///
    /// # Errors
    /// There is no room on disk, or the disk fails.
    async fn spill(&self) -> io::Result<bool> {
        let turn = self.buffers.writers.acquire().await;
        let _turn = turn.map_err(io::Error::other)?;
        if !self.state.lock().has_file() {
            let room = self.buffers.disk.room(Purpose::Responses, self.key);
            let file = spawn_blocking(|| TemporaryFile::create(room)).await;
            self.state.lock().open(file.map_err(io::Error::other)??);
        }
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

/// Why `spilled` found no room: the disk fails, or there is a bound.
fn cause(spilled: &io::Result<bool>) -> Cause {
    let is_bound = |error: &io::Error| error.get_ref().is_some_and(|it| it.is::<NoRoom>());
    match spilled {
        Err(error) if !is_bound(error) => Cause::Disk,
        _ => Cause::Full,
    }
}

/// When the disk is tried again after it had no room.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
