//! HTTP on the downstream side: connections of HTTP/1.1 and HTTP/2, and the path of a
//! request through normalization, limits, routing and forwarding, up to the response with
//! its compression, error pages and access log line.

mod bad_request;
mod body_timeout;
mod connection;
mod downstream;
mod error_pages;
mod h2_errors;
mod h2_frame;
mod h2_head_timeout;
mod head_timer;
mod https_redirect;
mod keep_alive;
mod lingering_close;
mod metrics;
mod pipeline;
mod rejection;
mod rejection_counter;
mod request_body;
mod settings;
mod stream_tasks;
mod write_coalescing;

pub(crate) use self::bad_request::BadRequest;
pub(crate) use self::connection::serve;
pub(crate) use self::downstream::Downstream;
pub(crate) use self::error_pages::{Error as PagesError, ErrorPages};
pub(crate) use self::https_redirect::{HttpsRedirect, reject_plain_http};
pub use self::metrics::Metrics;
pub(crate) use self::metrics::RouteMetrics;
pub(crate) use self::pipeline::access_log::LoggedBody;
pub(crate) use self::pipeline::compression::Settings as CompressionSettings;
pub(crate) use self::pipeline::maintenance::{
    Maintenance, PageUnreachable, Settings as MaintenanceSettings,
};
pub use self::pipeline::normalize::normalize_request;
pub(crate) use self::pipeline::routes::{
    App, RouteAction, Routes, Settings as RouteSettings, UpgradeProtocol, Upstreams,
};
pub(crate) use self::pipeline::{Pipeline, PipelineDeps};
pub(crate) use self::rejection::Rejection;
pub(crate) use self::rejection_counter::RejectionCounter;
pub(crate) use self::request_body::{RequestBody, UnreadBytes};
pub(crate) use self::settings::Settings;
