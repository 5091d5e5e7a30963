//! Response buffers: a client that reads slowly does not occupy a process of the
//! application. What the client does not take is read ahead, a little into memory and
//! the rest into a file without a name (`docs/decisions/0019-response-buffering.md`).
//!
//! A response passes straight through as long as its client takes it. One task for
//! all of an application looks for clients that do not; only such a response gets a
//! task of its own, which reads ahead.

mod blocked;
mod body;
mod candidates;
mod file;
mod pump;
mod state;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::blocked::BlockedResponses;
use self::body::BufferedBody;
pub use self::body::ReadBack;
use self::candidates::Candidates;
use self::state::State;
use super::ledger::{DiskReservation, Ledger, NoRoom, Purpose};
use crate::core::body::Body;
use crate::core::client::ClientKey;
use crate::runtime::drain::Drain;

/// The response buffers of one application.
#[derive(Debug)]
pub(super) struct ResponseBuffers {
    /// Bytes of one response that may be on disk.
    size: u64,
    disk: Ledger,
    memory: Ledger,
    candidates: Mutex<Candidates>,
    blocked: BlockedResponses,
    /// Turns to write: a slow disk does not take all threads for blocking work.
    writers: Semaphore,
    /// When the log last said that there is no room.
    reported: Mutex<Option<Instant>>,
}

/// One response on its way from the application to its client.
#[derive(Debug)]
struct Response {
    buffers: Arc<ResponseBuffers>,
    /// The client; none if it has no limits.
    key: Option<ClientKey>,
    drain: Drain,
    state: Mutex<State>,
}

impl ResponseBuffers {
    pub(super) fn new(size: u64, disk: Ledger) -> Self {
        Self {
            size,
            disk,
            // Of which responses may have half.
            memory: Ledger::new(2 * MAX_BUFFERED_RESPONSES * MAX_MEMORY_BYTES as u64),
            candidates: Mutex::default(),
            blocked: BlockedResponses::default(),
            writers: Semaphore::new(MAX_WRITERS),
            reported: Mutex::default(),
        }
    }

    /// Wraps the response body `upstream`. Dropping the result drops `upstream` at
    /// once.
    pub(super) fn wrap(
        self: &Arc<Self>,
        upstream: Body,
        key: Option<ClientKey>,
        drain: &Drain,
    ) -> Body {
        let response = Arc::new(Response {
            buffers: Arc::clone(self),
            key,
            drain: drain.clone(),
            state: Mutex::new(State::new(upstream)),
        });
        self.watch(&response);
        Body::new(BufferedBody::new(response))
    }

    /// Room in memory for one response. The number of these bounds the number of open
    /// files, too.
    fn memory(&self, key: Option<ClientKey>) -> Result<DiskReservation, NoRoom> {
        let mut room = self.memory.room(Purpose::Responses, key);
        room.take(MAX_MEMORY_BYTES as u64).map(|()| room)
    }

    /// Logs why applications wait for slow clients, once in a while.
    fn report(&self, cause: impl FnOnce() -> String) {
        let mut reported = self.reported.lock();
        if reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            *reported = Some(Instant::now());
            tracing::warn!(
                name: "response_buffer_full",
                error = cause(),
                "response buffer full"
            );
        }
    }
}

/// Longer responses go to disk, in bytes. A piece of the application's may come on top.
const MAX_MEMORY_BYTES: usize = 32 * 1024;
/// Responses of one application that are buffered at once; each may have an open file.
/// One client may have a quarter.
pub const MAX_BUFFERED_RESPONSES: u64 = 1024;
/// Writes to disk at once.
const MAX_WRITERS: usize = 16;
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
