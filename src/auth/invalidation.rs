//! Since when what is known about a user or a token is in doubt: an answer that was
//! asked for earlier is not believed, wherever it is on its way.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use lru::LruCache;
use parking_lot::Mutex;

use super::TokenHash;
use crate::core::ids::UserId;

/// A place in the order in which questions began and doubts were raised. Not a
/// time: two things at one instant have an order too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(u64);

/// The latest doubt about each user and token. Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub struct Invalidations(Arc<InvalidationLists>);

/// Two lists: a client can raise doubts about tokens, and must not push those about users
/// out, which Laravel raises.
#[derive(Debug)]
struct InvalidationLists {
    order: AtomicU64,
    users: Mutex<LruCache<UserId, Epoch>>,
    tokens: Mutex<LruCache<TokenHash, Epoch>>,
}

impl Invalidations {
    /// No doubt.
    pub fn new() -> Self {
        Self(Arc::new(InvalidationLists {
            order: AtomicU64::new(0),
            users: Mutex::new(LruCache::new(MAX_INVALIDATIONS)),
            tokens: Mutex::new(LruCache::new(MAX_INVALIDATIONS)),
        }))
    }

    /// The next place in the order.
    pub fn next_epoch(&self) -> Epoch {
        Epoch(self.0.order.fetch_add(1, SeqCst))
    }

    /// From now on, what was asked about `user` before counts for nothing.
    pub fn invalidate_user(&self, user: &UserId) {
        let mut users = self.0.users.lock();
        users.put(user.clone(), self.next_epoch());
    }

    /// From now on, what was asked with the token of that secret before counts for
    /// nothing.
    pub fn invalidate_token(&self, secret: TokenHash) {
        let mut tokens = self.0.tokens.lock();
        tokens.put(secret, self.next_epoch());
    }

    /// The latest doubt about `user` or the token of that secret, if an answer asked
    /// for at `asked` does not dispel it.
    pub fn latest_after(&self, user: &UserId, secret: TokenHash, asked: Epoch) -> Option<Epoch> {
        let of_user = self.0.users.lock().peek(user).copied();
        let doubt = of_user.max(self.0.tokens.lock().peek(&secret).copied());
        doubt.filter(|doubt| *doubt > asked)
    }
}

impl Default for Invalidations {
    fn default() -> Self {
        Self::new()
    }
}

/// Answers are remembered for a minute or so, and doubts are rare.
const MAX_INVALIDATIONS: NonZeroUsize = NonZeroUsize::new(20_000).expect("above zero");
