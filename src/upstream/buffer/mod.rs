//! Response buffering: a client that reads slowly does not occupy a process of the
//! application. The edge reads its response ahead, a little into memory and the rest into an
//! unlinked temporary file (`docs/decisions/0019-response-buffering.md`).
//!
//! A response passes straight through as long as its client keeps up. One task per
//! application looks for slow clients ([`pump_candidates`]). Only a slow client's response gets a
//! task of its own, which reads ahead ([`pump`]).
//!
//! Lock order: a response's state, then a ledger. The lock of the candidates is never held
//! together with another, and no lock is held across an `.await` or during disk I/O. The
//! client's task and the pump wake each other: the pump wakes the client when there is
//! something to read or the response has ended, and the client wakes the pump when it has
//! emptied the memory or has left.

mod blocked_responses;
mod body;
mod file;
mod pump;
mod pump_candidates;
mod state;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::blocked_responses::BlockedResponses;
use self::body::BufferedBody;
pub(crate) use self::body::ReadBack;
use self::pump_candidates::Candidates;
use self::state::State;
use super::byte_quota::{Ledger, NoRoom, Purpose, Reservation};
use crate::core::body::Body;
use crate::core::client_ip::ClientKey;
use crate::runtime::drain::Drain;

/// The response buffers of one application.
#[derive(Debug)]
pub(super) struct ResponseBuffers {
    /// The maximum of bytes of one response that go to disk.
    size: u64,
    disk: Ledger,
    memory: Ledger,
    candidates: Mutex<Candidates>,
    blocked: BlockedResponses,
    /// Permits to write, so that a slow disk does not take all threads for blocking work.
    writers: Semaphore,
    /// The time of the last log event about missing room.
    reported: Mutex<Option<Instant>>,
}

/// One response on its way from the application to its client.
#[derive(Debug)]
struct Response {
    buffers: Arc<ResponseBuffers>,
    /// The client's key; `None` if the client has no limits.
    key: Option<ClientKey>,
    drain: Drain,
    state: Mutex<State>,
}

impl ResponseBuffers {
    /// Creates the buffers of one application: `size` bytes of each response at most, from
    /// the budget `disk`.
    pub(super) fn new(size: u64, disk: Ledger) -> Self {
        Self {
            size,
            disk,
            // Twice as much as needed: responses may reserve half of a ledger.
            memory: Ledger::new(2 * MAX_BUFFERED_RESPONSES * MAX_MEMORY_BYTES as u64),
            candidates: Mutex::default(),
            blocked: BlockedResponses::default(),
            writers: Semaphore::new(MAX_WRITERS),
            reported: Mutex::default(),
        }
    }

    /// Wraps the response body `upstream`. Dropping the result drops `upstream` at once,
    /// which aborts the response.
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

    /// Reserves the memory for one response. The number of reservations bounds the number of
    /// open files, too.
    fn reserve_memory(&self, key: Option<ClientKey>) -> Result<Reservation, NoRoom> {
        let mut reservation = self.memory.reservation(Purpose::Responses, key);
        reservation
            .grow(MAX_MEMORY_BYTES as u64)
            .map(|()| reservation)
    }

    /// Logs why applications wait for slow clients, at most once a minute.
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

/// The memory of one response in bytes; the rest goes to disk. One frame from the application
/// may exceed it.
const MAX_MEMORY_BYTES: usize = 32 * 1024;
/// The maximum number of responses of one application that are buffered at once. Each may
/// have an open file. One client may have a quarter of them.
pub(crate) const MAX_BUFFERED_RESPONSES: u64 = 1024;
/// The maximum number of concurrent writes to disk.
const MAX_WRITERS: usize = 16;
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
