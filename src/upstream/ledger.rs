//! The bytes that bodies of one application may hold: in all, and for one client.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::core::client::ClientKey;

/// Counts held bytes. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    most: u64,
    used: Arc<Mutex<DiskUsage>>,
}

/// Which bodies hold bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Request bodies, which are refused if there is no room.
    Requests,
    /// Responses, which are only slower without room: at most half is theirs.
    Responses,
}

#[derive(Debug, Default)]
struct DiskUsage {
    all: u64,
    /// Of clients that have limits.
    of: HashMap<(Purpose, ClientKey), u64>,
}

impl Ledger {
    pub(super) fn new(most: u64) -> Self {
        Self {
            most,
            used: Arc::default(),
        }
    }

    /// The number of held bytes.
    pub(super) fn used(&self) -> u64 {
        self.used.lock().all
    }

    /// Room for one body, of which nothing is taken yet. A client without limits has
    /// no key.
    pub(super) fn room(&self, purpose: Purpose, key: Option<ClientKey>) -> DiskReservation {
        let most = match purpose {
            Purpose::Requests => self.most,
            Purpose::Responses => self.most / 2,
        };
        DiskReservation {
            used: Arc::clone(&self.used),
            most,
            key: key.map(|key| (purpose, key)),
            taken: 0,
        }
    }
}

/// Whose bodies hold what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoRoom {
    /// All together.
    #[error("all bodies that wait are more than it allows")]
    All,
    /// Those of one client.
    #[error("one client's bodies that wait are more than it allows")]
    Client,
}

/// The held bytes of one body; given back when dropped.
#[derive(Debug)]
pub(super) struct DiskReservation {
    used: Arc<Mutex<DiskUsage>>,
    most: u64,
    key: Option<(Purpose, ClientKey)>,
    taken: u64,
}

impl DiskReservation {
    /// Takes `more` bytes.
    ///
    /// # Errors
    /// There would be too many of all or of this client; nothing is taken.
    pub(super) fn take(&mut self, more: u64) -> Result<(), NoRoom> {
        let mut used = self.used.lock();
        let all = used.all + more;
        let own = self.key.map_or(0, |key| {
            let own = used.of.get(&key).copied();
            own.unwrap_or(0) + more
        });
        // Its own share first: a client that has used it up is told so, whatever others have.
        if own > self.most / MIN_CLIENTS_TO_FILL {
            return Err(NoRoom::Client);
        }
        if all > self.most {
            return Err(NoRoom::All);
        }
        used.all = all;
        if let Some(key) = self.key {
            used.of.insert(key, own);
        }
        self.taken += more;
        Ok(())
    }

    /// Gives `bytes` back that were taken.
    pub(super) fn give_back(&mut self, bytes: u64) {
        let bytes = bytes.min(self.taken);
        self.taken -= bytes;
        let mut used = self.used.lock();
        used.all -= bytes;
        if let Some(key) = self.key
            && let Some(own) = used.of.get_mut(&key)
        {
            *own -= bytes;
            if *own == 0 {
                used.of.remove(&key);
            }
        }
    }
}

impl Drop for DiskReservation {
    fn drop(&mut self) {
        self.give_back(self.taken);
    }
}

/// How many clients could fill the disk together: nobody alone keeps the others from
/// sending.
const MIN_CLIENTS_TO_FILL: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::client::ClientIp;

    fn key(last: u8) -> ClientKey {
        ClientIp::new([192, 0, 2, last].into()).key(64)
    }

    #[test]
    fn one_client_has_a_quarter_and_those_without_limits_no_more_than_there_is() {
        let ledger = Ledger::new(400);
        let of = |last: u8| ledger.room(Purpose::Requests, Some(key(last)));
        let (mut first, mut again, mut other) = (of(1), of(1), of(2));
        first.take(60).unwrap();
        again.take(40).unwrap();
        let told = again.take(1).unwrap_err().to_string();
        assert!(told.contains("one client's"), "{told}");
        other.take(100).unwrap();
        drop(first);
        again.take(60).unwrap();
        let mut unlimited = ledger.room(Purpose::Requests, None);
        unlimited.take(200).unwrap();
        let told = unlimited.take(1).unwrap_err().to_string();
        assert!(told.contains("all bodies"), "{told}");
        drop((again, other, unlimited));
        let used = ledger.used.lock();
        assert_eq!((used.all, used.of.len()), (0, 0));
    }

    #[test]
    fn responses_leave_half_and_every_clients_share_to_request_bodies() {
        let ledger = Ledger::new(400);
        let responses = |last: u8| ledger.room(Purpose::Responses, Some(key(last)));
        let mut own = responses(1);
        own.take(50).unwrap();
        assert!(own.take(1).is_err());
        let mut body = ledger.room(Purpose::Requests, Some(key(1)));
        body.take(100).unwrap();
        // Those of all are counted together.
        responses(2).take(50).unwrap();
        let mut unlimited = ledger.room(Purpose::Responses, None);
        unlimited.take(50).unwrap();
        assert!(unlimited.take(1).is_err());
        assert_eq!(ledger.used(), 200);
        ledger.room(Purpose::Requests, None).take(200).unwrap();
        own.give_back(20);
        own.take(20).unwrap();
        assert!(own.take(1).is_err());
    }
}
