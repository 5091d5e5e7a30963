//! Limits per client and in total: concurrent connections, requests and sessions, rates by
//! GCRA, failed log-ins, and overload protection. A client is counted by its address and,
//! over IPv6, also by its site. Memory is bounded: tables evict the clients that lose least.
//!
//! Each per-client limit is named after its configuration key.

mod byte_rate;
mod client_concurrency;
mod client_table;
mod clock;
mod concurrency;
mod keys;
mod limits;
mod log_throttle;
mod login_failures;
mod metrics;
mod overload;
mod rate;
mod settings;

pub(crate) use self::byte_rate::ByteRate;
pub(crate) use self::client_concurrency::{ClientConcurrency, ClientPermit};
pub(crate) use self::concurrency::{ConcurrencyLimit, Permit, Slot};
pub(crate) use self::keys::ClientKeys;
pub(crate) use self::limits::{LimitExceeded, Limits, RequestCost};
pub(crate) use self::login_failures::LoginAttempt;
pub(crate) use self::metrics::Metrics;
pub(crate) use self::overload::OverloadMonitor;
pub(crate) use self::rate::{Policy, Rate, SessionRate};
pub(crate) use self::settings::{Limit, Settings};
