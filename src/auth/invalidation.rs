//! Invalidation of decisions about a user or a token: a decision whose request began before
//! the invalidation does not count, whether it is cached or on its way.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use lru::LruCache;
use parking_lot::Mutex;

use super::CredentialHash;
use crate::core::ids::UserId;

/// A position in the order in which requests began and decisions were invalidated. It is no
/// time: two events at one instant have an order, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(u64);

/// The latest invalidation of each user and token. Cheap to clone; clones share the lists.
#[derive(Clone, Debug)]
pub(crate) struct Invalidations(Arc<InvalidationLists>);

/// The two lists. They are apart because a client can invalidate tokens, and must not evict
/// the invalidations of users, which Laravel requests.
#[derive(Debug)]
struct InvalidationLists {
    order: AtomicU64,
    users: Mutex<LruCache<UserId, Epoch>>,
    tokens: Mutex<LruCache<CredentialHash, Epoch>>,
}

impl Invalidations {
    /// Creates lists without invalidations.
    pub(crate) fn new() -> Self {
        Self(Arc::new(InvalidationLists {
            order: AtomicU64::new(0),
            users: Mutex::new(LruCache::new(MAX_INVALIDATIONS)),
            tokens: Mutex::new(LruCache::new(MAX_INVALIDATIONS)),
        }))
    }

    /// Returns a new epoch, later than all before it.
    pub(crate) fn next_epoch(&self) -> Epoch {
        Epoch(self.0.order.fetch_add(1, SeqCst))
    }

    /// Invalidates every decision about `user` whose request began before.
    pub(crate) fn invalidate_user(&self, user: &UserId) {
        // The epoch is taken under the lock, so that a later one is never replaced.
        let mut users = self.0.users.lock();
        users.put(user.clone(), self.next_epoch());
    }

    /// Invalidates every decision about the token of `secret` whose request began before.
    pub(crate) fn invalidate_token(&self, secret: CredentialHash) {
        let mut tokens = self.0.tokens.lock();
        tokens.put(secret, self.next_epoch());
    }

    /// Returns the latest invalidation of `user` or of the token of `secret`, if it is later
    /// than `epoch`.
    pub(crate) fn latest_after(
        &self,
        user: &UserId,
        secret: CredentialHash,
        epoch: Epoch,
    ) -> Option<Epoch> {
        let of_user = self.0.users.lock().peek(user).copied();
        let of_token = self.0.tokens.lock().peek(&secret).copied();
        of_user.max(of_token).filter(|latest| *latest > epoch)
    }
}

impl Default for Invalidations {
    fn default() -> Self {
        Self::new()
    }
}

/// The invalidations in each list. Decisions are cached for about a minute, and
/// invalidations are rare.
const MAX_INVALIDATIONS: NonZeroUsize = NonZeroUsize::new(20_000).expect("above zero");
