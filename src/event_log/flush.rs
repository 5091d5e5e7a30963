//! Flushes: how records reach the disk.
//!
//! A flush takes milliseconds, so it may run on a thread of its own while the log is written:
//! [`EventLog::begin_flush`] names the files, [`Flush::run`] waits for the disk, and
//! [`EventLog::end_flush`] takes the result. The log is closed as complete only after all
//! flushes have succeeded.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::EventLog;

/// The state of what was written.
#[derive(Debug)]
pub(super) struct FlushState {
    /// Segments that are complete but may not be on disk.
    pub(super) unsynced: Vec<Arc<File>>,
    pub(super) is_active_synced: bool,
    pub(super) is_directory_synced: bool,
    /// Whether a flush has begun whose result is not known.
    is_running: bool,
    /// Whether a flush has failed. The kernel reports such an error once and then drops the
    /// data, so that a later success proves nothing: the log is never closed as complete.
    has_failed: bool,
}

impl Default for FlushState {
    fn default() -> Self {
        Self {
            unsynced: Vec::new(),
            is_active_synced: true,
            is_directory_synced: true,
            is_running: false,
            has_failed: false,
        }
    }
}

/// The files of the log that may not be on disk.
#[derive(Debug)]
#[must_use = "the data is not on disk"]
pub(crate) struct Flush {
    files: Vec<Arc<File>>,
    /// The names of the segments are in the directory.
    directory: Option<PathBuf>,
}

impl Flush {
    /// Waits until all that was written before [`EventLog::begin_flush`] is on disk.
    ///
    /// # Errors
    /// Returns an error if the system cannot write it. A machine that loses power may lose it
    /// then, even if a later flush succeeds.
    pub(crate) fn run(self) -> io::Result<()> {
        let mut result = Ok(());
        // One failure does not keep the other segments from the disk.
        for file in self.files {
            let synced = file.sync_data();
            result = result.and(synced);
        }
        let synced = self.directory.map(File::open).transpose();
        let synced = synced.and_then(|directory| directory.map_or(Ok(()), |it| it.sync_all()));
        result.and(synced)
    }
}

impl EventLog {
    /// Begins a flush of all that was written. Its result goes to
    /// [`end_flush`](Self::end_flush), before another flush begins.
    pub(crate) fn begin_flush(&mut self) -> Flush {
        let state = &mut self.flush;
        let mut files = std::mem::take(&mut state.unsynced);
        if let Some(active) = self.active.as_ref().filter(|_| !state.is_active_synced) {
            files.push(Arc::clone(&active.file));
        }
        let directory = (!state.is_directory_synced).then(|| self.directory.clone());
        state.is_running = true;
        // What is written from now on is for the next flush.
        (state.is_active_synced, state.is_directory_synced) = (true, true);
        Flush { files, directory }
    }

    /// Takes the result of a flush. After a failure the next one tries all files again.
    pub(crate) fn end_flush(&mut self, result: &io::Result<()>) {
        let state = &mut self.flush;
        state.is_running = false;
        if result.is_err() {
            state.has_failed = true;
            (state.is_active_synced, state.is_directory_synced) = (false, false);
        }
    }

    /// Waits until all records are on disk. Does nothing if they are.
    ///
    /// # Errors
    /// As [`Flush::run`].
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let result = self.begin_flush().run();
        self.end_flush(&result);
        result
    }

    /// Closes the log, so that its epoch continues even after the machine was restarted.
    ///
    /// # Errors
    /// Returns an error if the system cannot write the last records to the disk.
    pub(crate) fn close(mut self) -> io::Result<()> {
        let is_running = self.flush.is_running;
        self.sync()?;
        let is_stored = self.stored_end == self.next_offset;
        let is_complete = is_stored && !is_running && !self.flush.has_failed;
        match &mut self.active {
            Some(active) if is_complete => active.close(),
            _ => Ok(()),
        }
    }
}
