//! What one client may take of the edge: connections, requests, sessions and
//! messages, at once and per second.
//!
//! Each limit that is counted per client goes by the name of its key.

mod bounded;
mod bytes;
mod clock;
mod connections;
mod failures;
mod keys;
mod limits;
mod load;
mod rate;
mod settings;
mod shares;

pub use self::bytes::ByteRate;
pub use self::connections::{Connections, Permit, Slot};
pub use self::keys::ClientKeys;
pub use self::limits::{Limits, Over};
pub use self::load::Load;
pub use self::rate::{Policy, Rate, SessionRate};
pub use self::settings::{Ipv6Prefix, Limit, Settings};
pub use self::shares::{Share, Shares};
