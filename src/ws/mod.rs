//! WebSocket: the opening handshake, the sessions, the support desk's protocol, and uploads
//! over a session. Also the logout of a client, which ends its sessions.

mod backend;
mod close;
mod gateway;
mod handshake;
mod logout;
mod metrics;
pub mod protocol;
mod services;
mod session;
mod settings;
pub mod upload;

pub use self::backend::{Backend, CurrentBackend};
pub use self::close::CloseReason;
pub use self::gateway::Gateway;
pub use self::handshake::{Challenge, HandshakeRejection};
pub use self::logout::Logout;
pub use self::metrics::Metrics;
pub use self::services::Services;
pub use self::settings::Settings;
