//! HTTP towards the client: connections, and what becomes of each request.

mod access_log;
mod compress;
mod connection;
mod filed;
mod forward;
mod gathered;
mod handler;
mod head_timer;
mod hop;
mod maintenance;
mod pages;
mod plain;
mod refusal;
mod refusals;
mod rest;
mod routes;
mod settings;
mod sound;
mod streams;
mod tunnel;
mod watched;

pub use self::access_log::Answer;
pub use self::compress::Settings as CompressionSettings;
pub use self::connection::{Downstream, serve};
pub use self::handler::{Handler, Parts};
pub use self::maintenance::{Maintenance, OutOfReach, Settings as MaintenanceSettings};
pub use self::pages::{Error as PagesError, Pages};
pub use self::plain::Plain;
pub use self::refusal::Refusal;
pub use self::refusals::Refusals;
pub use self::routes::{
    App, Destination, HostPattern, Origin, Routes, Settings as RouteSettings, UpgradeProtocol,
    Upstreams,
};
pub use self::settings::Settings;
pub use self::sound::settle as normalize_request;
