//! Plain values that every layer shares: addresses, host names, identifiers, paths,
//! units of the configuration, content codings, errors with their causes. No I/O, no
//! tasks, no state.

pub mod bidi;
pub mod body;
pub mod client;
pub mod content_coding;
pub mod error_chain;
pub mod host_port;
pub mod ids;
pub mod paths;
pub mod units;
