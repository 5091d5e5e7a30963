//! The memory, files and processor time of this process, from `/proc/self`.

use std::fmt;
use std::time::SystemTime;

use procfs::process::{LimitValue, Process};
use procfs::{page_size, ticks_per_second};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::metrics::{FamilyEncoder, unix_seconds};

/// Returns the resident memory in bytes, or `None` if `/proc` is not readable.
pub(crate) fn memory() -> Option<u64> {
    Some(own()?.statm().ok()?.resident * page_size())
}

/// Returns the number of open file descriptors, or `None` if `/proc` is not readable.
pub(super) fn open_files() -> Option<u64> {
    // The count includes the descriptors that counting itself opens.
    let all = own()?.fd_count().ok()?;
    u64::try_from(all.saturating_sub(OWN_DESCRIPTORS)).ok()
}

/// The metrics of the process, under the names that Prometheus client libraries share. They are
/// read at each scrape. Metrics that Linux does not provide are left out.
#[derive(Debug)]
pub(crate) struct ProcessMetrics {
    /// The start of the process. `/proc` counts it from the boot, and the systemd unit hides the
    /// boot time (`ProcSubset=pid`).
    began: SystemTime,
}

impl ProcessMetrics {
    /// Creates the metrics of a process that has started at `began`.
    pub(crate) fn new(began: SystemTime) -> Self {
        Self { began }
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = FamilyEncoder::new(encoder);
        if let Some(bytes) = memory() {
            let resident = ConstGauge::new(bytes);
            let name = "process_resident_memory";
            families.encode_with_unit(name, "Memory in use", &Unit::Bytes, &resident)?;
        }
        if let Some(open) = open_files() {
            families.encode_gauge("process_open_fds", "Open files", open)?;
        }
        if let Some(most) = max_open_files() {
            families.encode_gauge("process_max_fds", "Files that may be open", most)?;
        }
        if let Some(stat) = own().and_then(|process| process.stat().ok()) {
            families.encode(
                "process_cpu_seconds",
                "Processor time, user and system",
                &ConstCounter::new(ticks(stat.utime + stat.stime)),
            )?;
        }
        families.encode_with_unit(
            "process_start_time",
            "When the process began, in Unix time",
            &Unit::Seconds,
            &ConstGauge::new(unix_seconds(self.began)),
        )
    }
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
