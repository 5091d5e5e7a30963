//! The counts of higher modules that the status reports.

use std::collections::BTreeMap;
use std::fmt;

/// Counts since the start of the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    /// Requests.
    pub(crate) requests: u64,
    /// Events written to sessions.
    pub(crate) deliveries: u64,
    /// Reloads of the configuration, by result.
    pub(crate) reloads: BTreeMap<&'static str, u64>,
    /// Rejected connections and requests, by reason.
    pub(crate) rejections: BTreeMap<&'static str, u64>,
    /// Times that clients exceeded each limit, enforced or not.
    pub(crate) limits_exceeded: BTreeMap<&'static str, u64>,
    /// Ended sessions, by reason.
    pub(crate) sessions_closed: BTreeMap<&'static str, u64>,
}

/// Reads the current [`Totals`]. The modules that count are above this one, so `server`, which
/// is above all of them, supplies the function.
pub(crate) struct TotalsReader(Box<dyn Fn() -> Totals + Send + Sync>);

impl TotalsReader {
    /// Creates a reader that calls `read`.
    pub(crate) fn new(read: impl Fn() -> Totals + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }

    /// Returns the current counts.
    pub(crate) fn read(&self) -> Totals {
        (self.0)()
    }
}

impl fmt::Debug for TotalsReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TotalsReader").finish_non_exhaustive()
    }
}
