//! Authentication and authorization by Laravel: the edge asks who the user of a token or of a
//! session cookie is, and which tickets and channels they may see, with the client's own
//! credential. It never decides that itself.
//! Decisions are cached for a short time, requests for one key share a flight, and a fair
//! queue bounds the requests under way.

mod agent;
mod authenticator;
mod authorizer;
mod backoff;
mod cache;
mod channel;
mod client;
mod credential;
mod credential_hash;
mod fair_queue;
mod invalidation;
mod metrics;
mod request;
mod retry;
mod session_cookie;
pub(crate) mod settings;
mod signature;
mod token;

pub(crate) use self::agent::AgentHash;
pub(crate) use self::authenticator::{AuthenticatedUser, Authenticator, User};
pub(crate) use self::authorizer::{Authorizer, CachedAccess, Grant};
pub(crate) use self::channel::{NotAMember, UserInfo};
pub(crate) use self::client::{AuthClient, request_headers};
pub(crate) use self::credential::Credential;
pub(crate) use self::credential_hash::CredentialHash;
pub(crate) use self::fair_queue::Urgency;
pub(crate) use self::invalidation::{Epoch, Invalidations};
pub(crate) use self::metrics::Metrics;
pub(crate) use self::request::{AuthRequest, ClientContext};
pub(crate) use self::retry::{RetryDeadline, retry_while_unavailable};
pub(crate) use self::session_cookie::{CookieName, SessionCookie};
pub use self::signature::SecretError;
pub(crate) use self::signature::{AppKey, Claim, KeyName, SignatureError};
pub(crate) use self::token::{Token, TokenForm, bearer_token};

use std::time::Duration;

/// The reason why a right is not granted. A denial is never confused with an outage: after
/// the one the client gives up, after the other it retries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Laravel denies the right.
    #[error("denied")]
    Denied,
    /// Laravel rejects the token of the request.
    #[error("the token is rejected")]
    TokenRejected,
    /// The token is valid, but belongs to another user than before.
    #[error("the token is another user's now")]
    OtherUser,
    /// Laravel could not be asked, or its response decides nothing.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// The cause, for the log.
        reason: String,
        /// The time to wait before a retry, if Laravel named one.
        retry_after: Option<Duration>,
        /// Whether Laravel throttles the user (429), which is no outage.
        is_throttled: bool,
    },
}

impl Error {
    /// Creates an [`Error::Unavailable`] that names no time to wait.
    fn unavailable(reason: String) -> Self {
        Self::Unavailable {
            reason,
            retry_after: None,
            is_throttled: false,
        }
    }
}
