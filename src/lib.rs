//! pwd-edge: one binary in front of a Laravel site.
//!
//! It terminates TLS, sends ordinary HTTP on to Laravel, speaks WebSocket
//! itself, with rooms, and takes broadcasts from Laravel on a Unix socket.
//!
//! ```text
//! browser ─TLS─▶ server::accept ▶ tls ▶ http::connection ▶ handler ─┬─▶ upstream ──▶ Laravel
//!                                                                   └─▶ ws::gateway ▶ session
//!                                                                                      ▲ inbox
//! Laravel ─Unix socket─▶ broadcast ─▶ rooms::publish ─▶ room ─▶ outbox ────────────────┘
//! ```
//!
//! Layers, top first; a module uses itself and lower rows, nothing else (a test
//! keeps it so):
//!
//! | row | modules |
//! |---|---|
//! | 11 | [`cli`] |
//! | 10 | [`server`] · [`demo`] |
//! | 9 | [`config`] |
//! | 8 | [`http`] |
//! | 7 | [`ws`] · [`broadcast`] |
//! | 6 | [`view`] |
//! | 5 | [`rooms`] |
//! | 4 | [`auth`] · [`files`] |
//! | 3 | [`upstream`] · [`tls`] · [`limit`] |
//! | 2 | [`forwarded`] · [`progress`] |
//! | 1 | [`alarm`] · [`aside`] · [`drain`] · [`fair`] · [`bidi`] · [`body`] · [`client`] · [`coding`] · [`units`] · [`ids`] · [`authority`] · [`paths`] · [`metrics`] · [`recent`] · [`pulse`] |

pub mod alarm;
pub mod aside;
pub mod auth;
pub mod authority;
pub mod bidi;
pub mod body;
pub mod broadcast;
pub mod cli;
pub mod client;
pub mod coding;
pub mod config;
pub mod demo;
pub mod drain;
pub mod fair;
pub mod files;
pub mod forwarded;
pub mod http;
pub mod ids;
pub mod limit;
pub mod metrics;
pub mod paths;
pub mod progress;
pub mod pulse;
pub mod recent;
pub mod rooms;
pub mod server;
pub mod tls;
pub mod units;
pub mod upstream;
pub mod view;
pub mod ws;
