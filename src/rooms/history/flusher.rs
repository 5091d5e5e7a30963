//! The thread that flushes the event log, so that publishers do not wait for the disk.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use super::log_state::LogState;
use crate::event_log::Flush;

/// The handle of the thread, which runs one flush at a time. The thread ends with its handle.
#[derive(Debug)]
pub(super) struct Flusher {
    flushes: Sender<Flush>,
    results: Receiver<io::Result<()>>,
    is_busy: bool,
    state: Arc<LogState>,
}

impl Flusher {
    /// Starts the thread. It reports to `state`. If the system starts no thread, publishers
    /// wait for each flush: [`begin`](Self::begin) then runs it.
    pub(super) fn start(state: Arc<LogState>) -> Self {
        let (flushes, incoming) = mpsc::channel::<Flush>();
        let (finished, results) = mpsc::channel();
        let reported = Arc::clone(&state);
        let run = move || {
            for flush in incoming {
                let result = flush.run();
                reported.record_flush(&result);
                if finished.send(result).is_err() {
                    break;
                }
            }
        };
        // A failure drops `run`, and with it the other ends of the channels.
        let _ = thread::Builder::new()
            .name("event-log-flush".to_owned())
            .spawn(run);
        Self {
            flushes,
            results,
            is_busy: false,
            state,
        }
    }

    /// Returns whether a flush has begun whose result was not taken.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Begins `flush`. Returns its result if it has ended, because there is no thread.
    pub(super) fn begin(&mut self, flush: Flush) -> Option<io::Result<()>> {
        match self.flushes.send(flush) {
            Ok(()) => {
                self.is_busy = true;
                None
            }
            Err(mpsc::SendError(flush)) => {
                let result = flush.run();
                self.state.record_flush(&result);
                Some(result)
            }
        }
    }

    /// Returns the result of the flush, if it has ended.
    pub(super) fn poll(&mut self) -> Option<io::Result<()>> {
        if !self.is_busy {
            return None;
        }
        let result = match self.results.try_recv() {
            Ok(result) => result,
            Err(mpsc::TryRecvError::Empty) => return None,
            Err(mpsc::TryRecvError::Disconnected) => self.thread_gone(),
        };
        self.is_busy = false;
        Some(result)
    }

    /// Waits for the result of the flush, if one has begun.
    pub(super) fn wait(&mut self) -> Option<io::Result<()>> {
        let was_busy = std::mem::take(&mut self.is_busy);
        was_busy.then(|| {
            let result = self.results.recv();
            result.unwrap_or_else(|_| self.thread_gone())
        })
    }

    /// Returns the result of a flush that has panicked.
    fn thread_gone(&self) -> io::Result<()> {
        let result = Err(io::Error::other("the thread of the flush has ended"));
        self.state.record_flush(&result);
        result
    }
}
