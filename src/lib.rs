//! pwd-edge is the reverse proxy of a Laravel site, in one binary.
//!
//! It terminates TLS, forwards HTTP requests to Laravel, serves WebSocket sessions with
//! rooms itself, and accepts broadcasts from Laravel on a Unix socket.
//!
//! ```text
//! browser ─TLS─▶ server::accept ▶ tls ▶ http::connection ▶ pipeline ┬─▶ upstream ──▶ Laravel
//!                                                                   └─▶ ws::gateway ▶ session
//!                                                                                      ▲ inbox
//! Laravel ─Unix socket─▶ control ─▶ rooms::publish ─▶ room ─▶ outbox ────────────────┘
//! ```
//!
//! The layers, top first. A module uses only itself and modules of lower rows; a test
//! checks that.
//!
//! | row | modules |
//! |---|---|
//! | 12 | [`cli`] |
//! | 11 | [`server`] · [`demo`] |
//! | 10 | [`config`] |
//! | 9 | [`http`] |
//! | 8 | [`ws`] · [`control`] |
//! | 7 | [`introspection`] |
//! | 6 | [`rooms`] |
//! | 5 | [`auth`] · [`files`] |
//! | 4 | [`upstream`] · [`tls`] · [`limit`] |
//! | 3 | [`forwarded`] · [`logging`] |
//! | 2 | [`runtime`] |
//! | 1 | [`core`] · [`metrics`] |

pub mod auth;
pub mod cli;
pub mod config;
pub mod control;
pub mod core;
pub mod demo;
pub mod files;
pub mod forwarded;
pub mod http;
pub mod introspection;
pub mod limit;
pub mod logging;
pub mod metrics;
pub mod rooms;
pub mod runtime;
pub mod server;
pub mod tls;
pub mod upstream;
pub mod ws;
