//! The Pusher protocol, version 7, of which Laravel Echo and pusher-js are clients. A channel
//! is a room. Laravel signs who may join it ([`crate::auth::AppKey`]).

mod handshake;
mod session;
mod settings;
mod wire;

pub(super) use self::handshake::{check, find_key};
pub(super) use self::session::{SessionSetup, set_up};
pub(crate) use self::settings::Settings;
