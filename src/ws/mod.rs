//! WebSocket: the upgrade, the session behind it, and what is said on the wire.

mod backend;
mod close;
mod gateway;
mod handshake;
mod log_out;
mod session;
mod settings;
pub mod upload;
pub mod wire;

pub use self::backend::{Backend, CurrentBackend};
pub use self::close::CloseReason;
pub use self::gateway::{Gateway, Services};
pub use self::handshake::{Challenge, Rejected};
pub use self::log_out::LogOut;
pub use self::settings::{Origin, Settings};
