//! A request about a credential, and the client on whose behalf the edge sends it.

use hyper::header::HeaderValue;

use super::fair_queue::Owner;
use super::{Credential, CredentialHash, Epoch, RetryDeadline, Urgency};
use crate::core::client_ip::ClientIp;
use crate::core::ids::SessionId;

/// The client on whose behalf a request is sent: Laravel throttles by the client's address,
/// and routes by the site's name.
#[derive(Clone, Debug)]
pub(crate) struct ClientContext {
    /// The client's address.
    pub(crate) client: ClientIp,
    /// The `Host` of the client's request.
    pub(crate) host: HeaderValue,
    /// The client's session, by which Laravel names it.
    pub(crate) session: SessionId,
}

impl ClientContext {
    /// Returns the owner that the queue counts the request for.
    fn owner(&self, credential: CredentialHash) -> Owner {
        Owner {
            client: self.client.key(IPV6_PREFIX_BITS),
            credential,
        }
    }
}

/// A request about a credential: the client, the urgency, and the age that a cached decision may
/// have.
#[derive(Clone, Debug)]
pub(crate) struct AuthRequest {
    pub(super) credential: Credential,
    /// The hash of the credential.
    pub(super) secret: CredentialHash,
    pub(super) client: ClientContext,
    pub(super) since: Option<Epoch>,
    pub(super) urgency: Urgency,
    pub(super) deadline: Option<RetryDeadline>,
}

impl AuthRequest {
    /// Creates a routine request, whose decision may come from the cache.
    pub(crate) fn new(credential: &Credential, client_context: &ClientContext) -> Self {
        Self {
            credential: credential.clone(),
            secret: credential.hash(),
            client: client_context.clone(),
            since: None,
            urgency: Urgency::Routine,
            deadline: None,
        }
    }

    /// Returns the hash of the credential.
    pub(crate) fn credential_hash(&self) -> CredentialHash {
        self.secret
    }

    /// Accepts only a decision whose request began at `since` or later.
    #[must_use]
    pub(crate) fn since(self, since: impl Into<Option<Epoch>>) -> Self {
        Self {
            since: since.into(),
            ..self
        }
    }

    /// Makes the request urgent: it goes first in the queue, and ignores Laravel's
    /// `Retry-After`.
    #[must_use]
    pub(crate) fn urgent(self) -> Self {
        Self {
            urgency: Urgency::Urgent,
            ..self
        }
    }

    /// Starts `deadline` when the request leaves the queue.
    #[must_use]
    pub(crate) fn with_deadline(self, deadline: RetryDeadline) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }

    /// Returns the owner that the queue counts the request for.
    pub(super) fn owner(&self) -> Owner {
        self.client.owner(self.secret)
    }
}

/// The IPv6 prefix that counts as one client in the queue to Laravel.
const IPV6_PREFIX_BITS: u32 = 56;
