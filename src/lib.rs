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
//! | 4 | [`upstream`] · [`tls`] · [`limit`] · [`event_log`] |
//! | 3 | [`forwarded`] · [`logging`] |
//! | 2 | [`runtime`] |
//! | 1 | [`core`] · [`metrics`] |
//!
//! Some crates belong to a few modules. So [`rooms`] knows neither HTTP nor WebSocket frames.
//! Another test checks that these modules use the crates, and that no others do.
//!
//! | crates | modules that use them |
//! |---|---|
//! | `anyhow` · `clap` · `sd-notify` | `cli` |
//! | `listenfd` | `server` |
//! | `strsim` · `toml` | `config` |
//! | `async-compression` | `http` |
//! | `tokio-tungstenite` | `ws` |
//! | `procfs` | `introspection` |
//! | `mime_guess` | `files` |
//! | `rustix` | `server` · `http` · `files` · `event_log` · `runtime` |
//! | `httparse` | `upstream` |
//! | `base64` · `hyper-rustls` · `instant-acme` · `tokio-rustls` · `x509-parser` | `tls` |
//! | `rcgen` | `cli` · `tls` |
//! | `governor` | `limit` |
//! | `crc32fast` | `event_log` |
//! | `ppp` | `forwarded` |
//! | `itoa` | `logging` · `core` |
//! | `tracing-subscriber` | `logging` |
//! | `bytesize` · `ipnet` | `core` |
//! | `prometheus-client` | `server` · `http` · `ws` · `introspection` · `rooms` · `auth` · `upstream` · `tls` · `limit` · `logging` · `metrics` |
//! | `socket2` | `server` · `control` |
//! | `aws-lc-rs` | `auth` |
//! | `sha2` | `control` · `auth` |
//! | `lru` | `control` · `rooms` · `auth` |
//! | `smallvec` | `rooms` |
//! | `rustls` | `server` · `tls` · `core` |
//! | `tempfile` | `cli` · `upstream` · `tls` |
//! | `hyper-util` | `cli` · `server` · `demo` · `http` · `ws` · `control` · `upstream` · `tls` |
//! | `http-body-util` | `cli` · `server` · `demo` · `http` · `ws` · `control` · `upstream` · `tls` · `core` |
//! | `hyper` | `cli` · `server` · `demo` · `http` · `ws` · `control` · `introspection` · `auth` · `files` · `upstream` · `tls` · `forwarded` · `runtime` · `core` |

pub mod auth;
pub mod cli;
pub mod config;
pub mod control;
pub mod core;
pub(crate) mod demo;
pub mod event_log;
pub mod files;
pub mod forwarded;
pub mod http;
pub mod introspection;
pub mod limit;
pub(crate) mod logging;
pub mod metrics;
pub mod rooms;
pub mod runtime;
pub mod server;
pub mod tls;
pub mod upstream;
pub mod ws;
