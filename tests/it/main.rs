//! The edge's behaviour, seen from outside: real sockets, real TLS, a small
//! Laravel of our own behind it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "in a test a panic is the report, and its runtime ends its tasks"
)]

mod acme;
mod broadcast;
mod certificates;
mod cli;
mod crowd;
mod layers;
mod limits;
mod plain;
mod proxy;
mod shutdown;
mod support;
mod tls;
mod uploads;
mod websocket;
