//! The memory, files and processor time of this process, from `/proc/self`.

use std::time::SystemTime;

use procfs::process::{LimitValue, Process};
use procfs::{page_size, ticks_per_second};

use super::exposition::unix;
use crate::metrics::{Family, Kind, Sample};

/// Returns the resident memory in bytes, or `None` if `/proc` is not readable.
pub fn memory() -> Option<u64> {
    Some(own()?.statm().ok()?.resident * page_size())
}

/// Returns the number of open file descriptors, or `None` if `/proc` is not readable.
pub(super) fn open_files() -> Option<u64> {
    // The count includes the descriptors that counting itself opens.
    let all = own()?.fd_count().ok()?;
    u64::try_from(all.saturating_sub(OWN_DESCRIPTORS)).ok()
}

/// Returns the process metrics under the names that Prometheus client libraries share. Metrics
/// that Linux does not provide are left out.
///
/// The caller passes the start time `began`: `/proc` counts it from the boot, and the systemd
/// unit hides the boot time (`ProcSubset=pid`).
pub(super) fn families(began: SystemTime) -> Vec<Family> {
    let one = |name, help, kind, number: f64| {
        Family::new(name, help, kind, vec![(Vec::new(), Sample::Number(number))])
    };
    let whole = |name, help, kind, number: Option<u64>| {
        number.map(|number| one(name, help, kind, number as f64))
    };
    let stat = own().and_then(|process| process.stat().ok());
    let families = [
        whole(
            "process_resident_memory",
            "Memory in use",
            Kind::Bytes,
            memory(),
        ),
        whole("process_open_fds", "Open files", Kind::Gauge, open_files()),
        whole(
            "process_max_fds",
            "Files that may be open",
            Kind::Gauge,
            max_open_files(),
        ),
        stat.as_ref().map(|stat| {
            let help = "Processor time, user and system";
            let seconds = ticks(stat.utime + stat.stime);
            one("process_cpu_seconds", help, Kind::Counter, seconds)
        }),
        Some(one(
            "process_start_time",
            "When the process began, in Unix time",
            Kind::Time,
            unix(began),
        )),
    ];
    families.into_iter().flatten().collect()
}

fn own() -> Option<Process> {
    Process::myself().ok()
}

/// Returns the soft limit of open files, or `None` if there is none.
fn max_open_files() -> Option<u64> {
    match own()?.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(most) => Some(most),
        LimitValue::Unlimited => None,
    }
}

/// Converts clock ticks to seconds.
fn ticks(ticks: u64) -> f64 {
    ticks as f64 / ticks_per_second() as f64
}

/// The descriptors that counting opens: the process's directory in `/proc`, and its `fd`.
const OWN_DESCRIPTORS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_reports_its_memory_and_open_files() {
        assert!(memory().unwrap() > 1024 * 1024);
        assert!(open_files().unwrap() >= 3);
        assert!(max_open_files().is_none_or(|most| most >= open_files().unwrap()));
    }
}
