//! Plain value types that every layer shares: client addresses, host names, origins, identifiers,
//! URL paths, units of the configuration, content codings, the values of headers, the
//! body type, and errors with their causes. Nothing here does I/O, spawns tasks, or has global state.

pub(crate) mod bind_conflict;
pub(crate) mod body;
pub mod client_ip;
pub(crate) mod content_coding;
pub(crate) mod error_chain;
pub(crate) mod header_values;
pub mod host_port;
pub mod ids;
pub(crate) mod invisible_chars;
pub(crate) mod origin;
pub mod position;
pub(crate) mod quality_value;
pub(crate) mod random;
pub mod request_path;
pub(crate) mod socket_path;
pub mod units;
