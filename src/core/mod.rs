//! Plain values that every layer shares: addresses, host names, identifiers, paths,
//! units of the configuration, content codings. No I/O, no tasks, no state.

pub mod bidi;
pub mod body;
pub mod client;
pub mod content_coding;
pub mod host_port;
pub mod ids;
pub mod paths;
pub mod units;
