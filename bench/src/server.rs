//! The memory and the CPU time of the server under test, from the kernel: the sum of its
//! processes.

use std::fs;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{self, Instant};

/// The processes of the server under test.
#[derive(Debug)]
pub(crate) struct Server {
    pids: Vec<u32>,
}

/// The resident memory in bytes; `pss` counts shared pages by their share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) rss: u64,
    pub(crate) pss: u64,
}

impl Server {
    pub(crate) fn new(pids: Vec<u32>) -> Self {
        Self { pids }
    }

    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let mut sum = Memory::default();
        for pid in &self.pids {
            let rollup = read(*pid, "smaps_rollup")?;
            sum.rss += kibibytes(&rollup, "Rss:")? * 1024;
            sum.pss += kibibytes(&rollup, "Pss:")? * 1024;
        }
        Ok(sum)
    }

    /// Waits until the memory is stable, so that late frees of buffers do not count.
    pub(crate) async fn settled_memory(&self) -> anyhow::Result<Memory> {
        let deadline = Instant::now() + SETTLE_AT_MOST;
        let mut still_since = Instant::now();
        let mut reference = self.memory()?;
        loop {
            time::sleep(Duration::from_millis(500)).await;
            let memory = self.memory()?;
            if memory.rss.abs_diff(reference.rss) > reference.rss / 500 {
                reference = memory;
                still_since = Instant::now();
            }
            if still_since.elapsed() >= STILL_FOR {
                return Ok(memory);
            }
            if Instant::now() >= deadline {
                bail!("the server's memory did not settle within {SETTLE_AT_MOST:?}");
            }
        }
    }

    /// Returns the user and system time of all threads, including ended ones, in clock ticks.
    pub(crate) fn cpu_ticks(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for pid in &self.pids {
            sum += ticks(&read(*pid, "stat")?)?;
        }
        Ok(sum)
    }
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}: has the server ended?"))
}

fn kibibytes(rollup: &str, key: &str) -> anyhow::Result<u64> {
    rollup
        .lines()
        .find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"))
        .with_context(|| format!("no {key} in smaps_rollup"))?
        .parse()
        .with_context(|| format!("{key} in smaps_rollup is no number"))
}

fn ticks(stat: &str) -> anyhow::Result<u64> {
    // The name may contain anything, so count from the parenthesis that closes it.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let mut times = fields.split_whitespace().skip(11);
    let mut next =
        || -> anyhow::Result<u64> { Ok(times.next().context("stat is short")?.parse()?) };
    Ok(next()? + next()?)
}

/// The unit of times in /proc on every Linux that Rust's standard library knows (`USER_HZ`).
pub(crate) const TICKS_PER_SECOND: f64 = 100.0;

/// Time without a change after which the memory is stable: longer than most periodic work.
const STILL_FOR: Duration = Duration::from_secs(3);
const SETTLE_AT_MOST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let rollup = "5581-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  884 kB\nPss:  385 kB\nPss_Dirty: 9 kB\n";
        assert_eq!(kibibytes(rollup, "Rss:").ok(), Some(884));
        assert_eq!(kibibytes(rollup, "Pss:").ok(), Some(385));
        assert!(kibibytes(rollup, "Swap:").is_err());
    }

    #[test]
    fn time_is_user_plus_system_whatever_the_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 250 40 0 0 20 0 1 0 100 1000 50";
        assert_eq!(ticks(stat).ok(), Some(290));
    }
}
