//! What one client may take of the edge: connections, requests, sessions and
//! messages, at once and per second.
//!
//! Each limit that is counted per client goes by the name of its key.

mod byte_rate;
mod client_concurrency;
mod client_table;
mod clock;
mod concurrency;
mod keys;
mod limits;
mod login_failures;
mod overload;
mod rate;
mod settings;

pub use self::byte_rate::ByteRate;
pub use self::client_concurrency::{ClientConcurrency, ClientPermit};
pub use self::concurrency::{ConcurrencyLimit, Permit, Slot};
pub use self::keys::ClientKeys;
pub use self::limits::{LimitExceeded, Limits};
pub use self::overload::OverloadMonitor;
pub use self::rate::{Policy, Rate, SessionRate};
pub use self::settings::{Ipv6Prefix, Limit, Settings};
