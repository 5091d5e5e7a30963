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
//! | 6 | [`introspection`] |
//! | 5 | [`rooms`] |
//! | 4 | [`auth`] · [`files`] |
//! | 3 | [`upstream`] · [`tls`] · [`limit`] |
//! | 2 | [`forwarded`] · [`activity`] |
//! | 1 | [`lazy_timer`] · [`wake_gate`] · [`drain`] · [`fair`] · [`bidi`] · [`body`] · [`client`] · [`content_coding`] · [`units`] · [`ids`] · [`host_port`] · [`paths`] · [`metrics`] · [`recent_events`] · [`watchdog`] |

pub mod activity;
pub mod auth;
pub mod bidi;
pub mod body;
pub mod broadcast;
pub mod cli;
pub mod client;
pub mod config;
pub mod content_coding;
pub mod demo;
pub mod drain;
pub mod fair;
pub mod files;
pub mod forwarded;
pub mod host_port;
pub mod http;
pub mod ids;
pub mod introspection;
pub mod lazy_timer;
pub mod limit;
pub mod metrics;
pub mod paths;
pub mod recent_events;
pub mod rooms;
pub mod server;
pub mod tls;
pub mod units;
pub mod upstream;
pub mod wake_gate;
pub mod watchdog;
pub mod ws;
