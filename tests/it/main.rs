//! The edge's behaviour, seen from outside: real sockets, real TLS, a small
//! Laravel of our own behind it.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "in a test a panic is the report, and its runtime ends its tasks"
)]

mod acme;
mod admin;
mod broadcast;
mod buffering;
mod certificates;
mod channels;
mod cli;
mod commands;
mod compression;
mod early_responses;
mod expiry;
mod fastcgi;
mod faults;
mod files;
mod fpm;
mod history;
mod hostile;
mod https_redirect;
mod journal;
mod layers;
mod limits;
mod log_events;
mod malformed;
mod many_sessions;
mod nginx;
mod proxies;
mod proxy;
mod pusher;
mod readiness;
mod reconnects;
mod reference;
mod rejected_heads;
mod reload;
mod reload_stress;
mod renewal;
mod routes;
mod sandbox;
mod scanners;
mod secrets;
mod shutdown;
mod streaming;
mod support;
mod systemd;
mod timeouts;
mod tls;
mod tunnel;
mod uploads;
mod upstream;
mod websocket;
