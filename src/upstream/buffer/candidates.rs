//! Which responses need a pump: those whose clients do not come back for more.

use std::sync::Arc;
use std::time::Duration;

use super::blocked::Cause;
use super::{Response, ResponseBuffers};

/// Responses that are under way between application and client. One whose client waits
/// for the application is none of them until the client has got something again.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    new: Vec<Arc<Response>>,
    /// A task looks at them.
    pub(super) is_watched: bool,
}

impl ResponseBuffers {
    /// Adds `response` to the candidates. hyper does not poll a body whose client does
    /// not read, so someone else has to look.
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

    /// Ends when there are no candidates. Those that came during one interval are
    /// looked at after the next: most have ended by then.
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

    /// Starts a pump for `response` if its client is slow. False if it is no candidate
    /// any more.
    fn is_still_candidate(&self, response: &Arc<Response>) -> bool {
        // Somebody is at work on it.
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
        match self.memory(response.key) {
            Ok(room) => {
                state.unblock();
                state.begin_pump(room);
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

/// A client that has not come back after one to two of these is slow.
const INTERVAL: Duration = Duration::from_millis(20);
