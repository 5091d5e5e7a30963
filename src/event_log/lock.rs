//! The lock of the log's directory: one process has it open.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use super::error::OpenError;

/// Creates the directory if it is missing, and locks it. Tries for a moment if another process
/// has the lock.
///
/// # Errors
/// Returns [`OpenError::Locked`] if it keeps it, or the error of the directory.
pub(super) fn acquire(directory: &Path) -> Result<File, OpenError> {
    let create = || {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        File::open(directory)
    };
    let lock = create().map_err(OpenError::directory(directory))?;
    for _ in 0..LOCK_ATTEMPTS {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_INTERVAL),
            Err(TryLockError::Error(error)) => return Err(OpenError::directory(directory)(error)),
        }
    }
    Err(OpenError::locked(directory))
}

/// Returns [`OpenError::Locked`] if another process has the log in `directory` open. Creates
/// nothing.
///
/// # Errors
/// Only that one.
pub(crate) fn check_unused(directory: &Path) -> Result<(), OpenError> {
    match File::open(directory).map(|directory| directory.try_lock()) {
        Ok(Err(TryLockError::WouldBlock)) => Err(OpenError::locked(directory)),
        _ => Ok(()),
    }
}

/// `check_unused` of another process has the lock for a moment.
const LOCK_ATTEMPTS: u32 = 5;
const LOCK_INTERVAL: Duration = Duration::from_millis(20);
