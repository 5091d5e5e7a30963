//! HTTP towards the client: connections, and what becomes of each request.

mod access_log;
mod connection;
mod handler;
mod hop;
mod plain;
mod refusal;
mod settings;
mod watched;

pub use self::connection::{Downstream, serve};
pub use self::handler::Handler;
pub use self::plain::Plain;
pub use self::refusal::Refusal;
pub use self::settings::Settings;
