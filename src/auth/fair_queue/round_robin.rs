//! The waiters of one class of requests, in a round robin over clients and their credentials.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use tokio::sync::oneshot;

use super::{Owner, QueuePermit};
use crate::auth::CredentialHash;
use crate::core::client_ip::ClientKey;

/// The way by which a waiter gets its permit.
pub(super) type Waiter = oneshot::Sender<QueuePermit>;

/// The waiters of one credential, oldest first.
pub(super) type Waiters = VecDeque<Waiter>;

/// The waiters of all clients.
pub(super) type ClientQueue = RoundRobin<ClientKey, RoundRobin<CredentialHash, Waiters>>;

/// A round robin over keys, each with its waiters.
#[derive(Debug)]
pub(super) struct RoundRobin<K, V> {
    pub(super) waiting: HashMap<K, V>,
    /// The keys of `waiting`, each once, the next first.
    pub(super) order: VecDeque<K>,
    /// The number of all waiters.
    pub(super) len: usize,
}

impl<K, V> Default for RoundRobin<K, V> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            order: VecDeque::new(),
            len: 0,
        }
    }
}

impl<K: Copy + Eq + Hash, V: Default> RoundRobin<K, V> {
    /// Counts a waiter, and returns the place of `key` for it.
    fn entry(&mut self, key: K) -> &mut V {
        self.len += 1;
        self.waiting.entry(key).or_insert_with(|| {
            self.order.push_back(key);
            V::default()
        })
    }

    /// Takes a waiter by `take` from the first key that `may` go and has one. The key then goes
    /// to the end, or is removed if it `is_empty`.
    fn take<T>(
        &mut self,
        may: impl Fn(&K) -> bool,
        mut take: impl FnMut(&mut V) -> Option<T>,
        is_empty: impl Fn(&V) -> bool,
    ) -> Option<(K, T)> {
        for at in 0..self.order.len() {
            let key = self.order[at];
            if !may(&key) {
                continue;
            }
            let Some(value) = self.waiting.get_mut(&key) else {
                continue;
            };
            let Some(taken) = take(value) else {
                continue;
            };
            self.len -= 1;
            self.order.remove(at);
            if is_empty(value) {
                self.waiting.remove(&key);
            } else {
                self.order.push_back(key);
            }
            return Some((key, taken));
        }
        None
    }
}

impl ClientQueue {
    /// Adds a waiter behind those of the same credential.
    pub(super) fn push(&mut self, owner: Owner, waiter: Waiter) {
        let of_token = self.entry(owner.client).entry(owner.credential);
        of_token.push_back(waiter);
    }

    /// Returns the number of waiters of `client`.
    pub(super) fn len_of(&self, client: &ClientKey) -> usize {
        self.waiting.get(client).map_or(0, |tokens| tokens.len)
    }

    /// Takes the next waiter whose client and credential may go.
    pub(super) fn pop(
        &mut self,
        may_client: impl Fn(&ClientKey) -> bool,
        may_credential: impl Fn(&CredentialHash) -> bool,
    ) -> Option<(Owner, Waiter)> {
        let (client, (credential, waiter)) = self.take(
            may_client,
            |of_client| of_client.take(&may_credential, VecDeque::pop_front, VecDeque::is_empty),
            |of_client| of_client.len == 0,
        )?;
        Some((Owner { client, credential }, waiter))
    }
}
