//! HTTP on the downstream side: connections of HTTP/1.1 and HTTP/2, and the path of a
//! request through normalization, limits, routing and forwarding, up to the response with
//! its compression, error pages and access log line.

mod access_log;
mod bad_request;
mod body_timeout;
mod compress;
mod connection;
mod error_pages;
mod forward;
mod h2_head_timeout;
mod handler;
mod head_timer;
mod hop_by_hop;
mod https_redirect;
mod keep_alive;
mod maintenance;
mod normalize;
mod rejection;
mod rejection_counter;
mod routes;
mod settings;
mod static_files;
mod stream_tasks;
mod tunnel;
mod write_coalescing;

pub use self::access_log::LoggedBody;
pub use self::bad_request::BadRequest;
pub use self::compress::Settings as CompressionSettings;
pub use self::connection::{Downstream, serve};
pub use self::error_pages::{Error as PagesError, ErrorPages};
pub use self::handler::{Handler, HandlerDeps};
pub use self::https_redirect::HttpsRedirect;
pub use self::maintenance::{Maintenance, PageUnreachable, Settings as MaintenanceSettings};
pub use self::normalize::normalize_request;
pub use self::rejection::Rejection;
pub use self::rejection_counter::RejectionCounter;
pub use self::routes::{
    App, HostPattern, RouteAction, Routes, Settings as RouteSettings, UpgradeProtocol, Upstreams,
};
pub use self::settings::Settings;
