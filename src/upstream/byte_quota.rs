//! Accounting of buffered bytes: bodies of one application reserve bytes of a common budget,
//! of which one client gets a share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::core::client_ip::ClientKey;

/// A budget of bytes on disk or in memory. Cheap to clone; clones share the count.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    max_bytes: u64,
    usage: Arc<Mutex<Usage>>,
    /// The last failure to keep a body, and its time.
    failure: Arc<Mutex<Option<(Instant, String)>>>,
}

/// The kind of body that reserves bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Request bodies. The edge rejects the request if there is no room.
    Requests,
    /// Response bodies, which are only slower without room. They get at most half of the
    /// budget.
    Responses,
}

#[derive(Debug, Default)]
struct Usage {
    all: u64,
    /// The bytes of each client that has limits.
    of: HashMap<(Purpose, ClientKey), u64>,
}

impl Ledger {
    /// Creates a budget of `max_bytes`.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            usage: Arc::default(),
            failure: Arc::default(),
        }
    }

    /// Records that a body could not be kept, and not because its client's share was full.
    pub(super) fn record_failure(&self, error: String) {
        *self.failure.lock() = Some((Instant::now(), error));
    }

    /// Returns the last failure to keep a body, for a minute after it.
    pub(super) fn failure(&self) -> Option<String> {
        let failure = self.failure.lock();
        let recent = failure.as_ref().filter(|(at, _)| at.elapsed() < REPORT_TTL);
        recent.map(|(_, error)| error.clone())
    }

    /// Returns the number of reserved bytes.
    pub(super) fn used(&self) -> u64 {
        self.usage.lock().all
    }

    /// Returns an empty reservation for one body. A client without limits has no key.
    pub(super) fn reservation(&self, purpose: Purpose, key: Option<ClientKey>) -> Reservation {
        let max_bytes = match purpose {
            Purpose::Requests => self.max_bytes,
            Purpose::Responses => self.max_bytes / 2,
        };
        Reservation {
            usage: Arc::clone(&self.usage),
            max_bytes,
            key: key.map(|key| (purpose, key)),
            reserved: 0,
        }
    }
}

/// The reason why a reservation cannot grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoRoom {
    /// The bodies of all clients together fill the budget.
    #[error("all bodies that wait are more than it allows")]
    All,
    /// The bodies of this client fill its share.
    #[error("one client's bodies that wait are more than it allows")]
    Client,
}

/// The reserved bytes of one body; released on drop.
#[derive(Debug)]
pub(super) struct Reservation {
    usage: Arc<Mutex<Usage>>,
    max_bytes: u64,
    key: Option<(Purpose, ClientKey)>,
    reserved: u64,
}

impl Reservation {
    /// Reserves `more` bytes.
    ///
    /// # Errors
    /// Returns [`NoRoom::Client`] if the client would exceed its share, else
    /// [`NoRoom::All`] if the budget would be exceeded. Nothing is reserved then.
    pub(super) fn grow(&mut self, more: u64) -> Result<(), NoRoom> {
        let mut usage = self.usage.lock();
        let all = usage.all + more;
        let own = self
            .key
            .map_or(0, |key| usage.of.get(&key).copied().unwrap_or(0) + more);
        // The client's share comes first: the error names it even if the budget is full, too.
        if own > self.max_bytes / MIN_CLIENTS_TO_FILL {
            return Err(NoRoom::Client);
        }
        if all > self.max_bytes {
            return Err(NoRoom::All);
        }
        usage.all = all;
        if let Some(key) = self.key {
            usage.of.insert(key, own);
        }
        self.reserved += more;
        Ok(())
    }

    /// Releases `bytes`, or all if fewer are reserved.
    pub(super) fn release(&mut self, bytes: u64) {
        let bytes = bytes.min(self.reserved);
        self.reserved -= bytes;
        let mut usage = self.usage.lock();
        usage.all -= bytes;
        if let Some(key) = self.key
            && let Some(own) = usage.of.get_mut(&key)
        {
            *own -= bytes;
            if *own == 0 {
                usage.of.remove(&key);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release(self.reserved);
    }
}

/// One client may reserve one part in this many of the budget, so that a single client cannot
/// block all others.
const MIN_CLIENTS_TO_FILL: u64 = 4;
/// The time for which a failure is reported.
const REPORT_TTL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::client_ip::ClientIp;

    fn key(last: u8) -> ClientKey {
        ClientIp::new([192, 0, 2, last].into()).key(64)
    }

    #[test]
    fn client_gets_a_quarter_and_exempt_client_all_of_the_buffer() {
        let ledger = Ledger::new(400);
        let of = |last: u8| ledger.reservation(Purpose::Requests, Some(key(last)));
        let (mut first, mut again, mut other) = (of(1), of(1), of(2));
        first.grow(60).unwrap();
        again.grow(40).unwrap();
        let error = again.grow(1).unwrap_err().to_string();
        assert!(error.contains("one client's"), "{error}");
        other.grow(100).unwrap();
        drop(first);
        again.grow(60).unwrap();
        let mut unlimited = ledger.reservation(Purpose::Requests, None);
        unlimited.grow(200).unwrap();
        let error = unlimited.grow(1).unwrap_err().to_string();
        assert!(error.contains("all bodies"), "{error}");
        drop((again, other, unlimited));
        let usage = ledger.usage.lock();
        assert_eq!((usage.all, usage.of.len()), (0, 0));
    }

    #[test]
    fn responses_leave_half_of_the_buffer_to_request_bodies() {
        let ledger = Ledger::new(400);
        let responses = |last: u8| ledger.reservation(Purpose::Responses, Some(key(last)));
        let mut own = responses(1);
        own.grow(50).unwrap();
        assert!(own.grow(1).is_err());
        let mut body = ledger.reservation(Purpose::Requests, Some(key(1)));
        body.grow(100).unwrap();
        // Those of all are counted together.
        responses(2).grow(50).unwrap();
        let mut unlimited = ledger.reservation(Purpose::Responses, None);
        unlimited.grow(50).unwrap();
        assert!(unlimited.grow(1).is_err());
        assert_eq!(ledger.used(), 200);
        ledger
            .reservation(Purpose::Requests, None)
            .grow(200)
            .unwrap();
        own.release(20);
        own.grow(20).unwrap();
        assert!(own.grow(1).is_err());
    }
}
