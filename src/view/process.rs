//! What Linux tells about this process.

use procfs::process::{LimitValue, Process, Stat};
use procfs::{ProcResult, boot_time_secs, page_size, ticks_per_second};

use crate::metrics::{Family, Kind, Sample};

/// Resident memory, in bytes.
pub fn memory() -> Option<u64> {
    Some(own()?.statm().ok()?.resident * page_size())
}

/// Open files.
pub(super) fn open_files() -> Option<u64> {
    // Less those that are open to count them.
    let all = own()?.fd_count().ok()?;
    u64::try_from(all.saturating_sub(COUNTING)).ok()
}

/// What Prometheus wants to know of every process, under the names that it
/// gives all of them.
pub(super) fn families() -> Vec<Family> {
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
            most_files(),
        ),
        stat.as_ref().map(|stat| {
            let help = "Processor time, user and system";
            let seconds = ticks(stat.utime + stat.stime);
            one("process_cpu_seconds", help, Kind::Counter, seconds)
        }),
        stat.as_ref().and_then(|stat| {
            let help = "When the process began, in Unix time";
            let start = started(stat).ok()?;
            Some(one("process_start_time", help, Kind::Time, start))
        }),
    ];
    families.into_iter().flatten().collect()
}

fn own() -> Option<Process> {
    Process::myself().ok()
}

fn most_files() -> Option<u64> {
    match own()?.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(most) => Some(most),
        LimitValue::Unlimited => None,
    }
}

fn started(stat: &Stat) -> ProcResult<f64> {
    Ok(boot_time_secs()? as f64 + ticks(stat.starttime))
}

/// In seconds.
fn ticks(ticks: u64) -> f64 {
    ticks as f64 / ticks_per_second() as f64
}

/// The process' directory and that of its files.
const COUNTING: usize = 2;

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_test_has_memory_files_and_a_beginning() {
        assert!(memory().unwrap() > 1024 * 1024);
        assert!(open_files().unwrap() >= 3);
        assert!(most_files().is_none_or(|most| most >= open_files().unwrap()));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let start = started(&own().unwrap().stat().unwrap()).unwrap();
        // The kernel tells whole seconds of the boot.
        assert!((0.0..3600.0).contains(&(now.as_secs_f64() - start + 2.0)));
    }
}
