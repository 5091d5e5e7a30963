//! Exit codes of all commands: 0 to 2 follow the Nagios plug-in convention, and 64 is
//! `EX_USAGE` of sysexits(3).

/// Success; for `status`, the edge is healthy.
pub(crate) const SUCCESS: u8 = 0;
/// The edge runs, but has a problem that needs an operator.
pub(crate) const DEGRADED: u8 = 1;
/// The command failed, for example because a port is in use.
pub(crate) const FAILED: u8 = 1;
/// The edge is unreachable, or did not send the requested response.
pub(crate) const UNREACHABLE: u8 = 2;
/// The command line or the configuration is wrong.
pub(crate) const USAGE: u8 = 64;
