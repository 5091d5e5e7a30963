//! Detects slow clients: a task looks at the responses in progress every 20 ms and starts a
//! pump for those whose clients have stopped polling.

use std::sync::Arc;
use std::time::Duration;

use super::blocked_responses::Cause;
use super::{Response, ResponseBuffers};

/// The responses in progress that may need a pump. A response whose client waits for the
/// application is removed, and added again when the client gets its next frame.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    new: Vec<Arc<Response>>,
    /// A task looks at the candidates. Set and cleared under the lock, together with `new`,
    /// so that no candidate is left without a task.
    pub(super) is_watched: bool,
}

impl ResponseBuffers {
    /// Adds `response` to the candidates, and starts their task if there is none. hyper does
    /// not poll a body whose client does not read, so the body cannot notice that itself.
    pub(super) fn watch(self: &Arc<Self>, response: &Arc<Response>) {
        let mut candidates = self.candidates.lock();
        candidates.new.push(Arc::clone(response));
        if !candidates.is_watched {
            candidates.is_watched = true;
            drop(candidates);
            let buffers = Arc::clone(self);
            response.drain.spawn(buffers.watch_candidates());
        }
    }

    /// Looks at the candidates until there are none. New ones are looked at only after one
    /// full interval, since most have ended by then.
    async fn watch_candidates(self: Arc<Self>) {
        let mut old = Vec::new();
        loop {
            tokio::time::sleep(INTERVAL).await;
            old.retain(|response| self.is_still_candidate(response));
            let mut candidates = self.candidates.lock();
            old.append(&mut candidates.new);
            if old.is_empty() {
                candidates.is_watched = false;
                return;
            }
        }
    }

    /// Starts a pump for `response` if its client is slow. Returns whether the response stays
    /// a candidate.
    fn is_still_candidate(&self, response: &Arc<Response>) -> bool {
        // The client's connection is polling the body right now, so it is not slow. Waiting
        // for the lock would only delay the other candidates.
        let Some(mut state) = response.state.try_lock() else {
            return true;
        };
        if state.upstream.is_none() {
            return false;
        }
        if state.is_client_waiting {
            state.unblock();
            state.is_candidate = false;
            return false;
        }
        match self.reserve_memory(response.key) {
            Ok(reservation) => {
                state.unblock();
                state.begin_pump(reservation);
                response.drain.spawn(Arc::clone(response).pump());
                false
            }
            Err(whose) => {
                self.report(|| format!("as many responses as may be are buffered: {whose}"));
                state.block(&self.blocked, Cause::Full).is_ok()
            }
        }
    }
}

/// A client that has not polled again after one to two intervals is slow.
const INTERVAL: Duration = Duration::from_millis(20);
