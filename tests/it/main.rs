//! The edge's behaviour, seen from outside: real sockets, real TLS, a small
//! Laravel of our own behind it.

mod broadcast;
mod cli;
mod crowd;
mod layers;
mod limits;
mod proxy;
mod shutdown;
mod support;
mod tls;
mod websocket;
