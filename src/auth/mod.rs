//! Who a client is and which tickets it may see. The edge never decides that
//! itself: it asks Laravel, with the client's own token, and remembers the
//! answer for a short time.

mod authenticator;
mod authorizer;
mod backoff;
mod cache;
mod client;
mod fair_queue;
mod invalidation;
mod retry;
pub mod settings;
mod token;

pub use self::authenticator::{AuthenticatedUser, Authenticator, User};
pub use self::authorizer::{Authorizer, CachedAccess, Grant};
pub use self::client::{AuthClient, AuthRequest, ClientContext, request_headers};
pub use self::fair_queue::Urgency;
pub use self::invalidation::{Epoch, Invalidations};
pub use self::retry::{RetryDeadline, retry_while_unavailable};
pub use self::settings::Settings;
pub use self::token::{Token, TokenForm, TokenHash};

use std::time::Duration;

/// Why there is no yes. A no and an outage are never confused: one sends the
/// client away, the other asks it to come again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Laravel said no.
    #[error("denied")]
    Denied,
    /// Laravel refused the token that the question came with.
    #[error("the token is refused")]
    TokenRefused,
    /// The token is good, and another user's than it was.
    #[error("the token is another user's now")]
    OtherUser,
    /// Laravel could not be asked, or its answer is no answer.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// What went wrong, for the log.
        reason: String,
        /// When Laravel asked to be asked again, if it did.
        retry_after: Option<Duration>,
        /// Whether Laravel throttles this user (429), which is no outage.
        is_throttled: bool,
    },
}
