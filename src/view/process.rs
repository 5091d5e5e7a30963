//! What Linux tells about this process.

use std::fs;

/// Resident memory, in bytes (proc(5), `statm`).
pub fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE)
}

/// Open files.
pub(super) fn open_files() -> Option<u64> {
    // Less the one that is open to count them.
    let all = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(all.saturating_sub(1)).ok()
}

/// Seconds of processor time, in user and system mode together (proc(5), `stat`).
pub(super) fn cpu_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // After the name, which may hold anything, in parentheses.
    let fields: Vec<_> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// As on every machine that we are built for; reading it would need `unsafe`.
const PAGE: u64 = 4096;
/// `USER_HZ`, which is part of Linux' interface to programs.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_has_memory_files_and_time() {
        assert!(memory().unwrap() > 1024 * 1024);
        assert!(open_files().unwrap() >= 3);
        assert!(cpu_seconds().unwrap() >= 0.0);
    }
}
