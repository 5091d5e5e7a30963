//! WebSocket: the opening handshake, the sessions, the support desk's protocol, uploads over a
//! session, and the Pusher protocol. Also the logout of a client, which ends its sessions.

mod backend;
mod close;
mod frame_guard;
mod gateway;
mod handshake;
mod logout;
mod metrics;
pub mod protocol;
mod pusher;
mod services;
mod session;
mod settings;
mod text_frame;
mod throttled_rate;
pub mod upload;

pub(crate) use self::backend::{Backend, CurrentBackend};
pub(crate) use self::close::CloseReason;
pub(crate) use self::gateway::Gateway;
pub(crate) use self::handshake::{Challenge, HandshakeRejection};
pub(crate) use self::metrics::Metrics;
pub(crate) use self::pusher::Settings as PusherSettings;
pub(crate) use self::services::Services;
pub(crate) use self::settings::Settings;
