//! What people see: pages in headless Chromium, fronted by the edge. Each test
//! starts a chromedriver, and with it a browser, of its own.
//!
//! `cargo test --test browser -- --ignored`

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, and its tasks end with its runtime"
)]

mod chromium;
mod demo;
mod driver;
mod example_client;
mod keyboard;
mod laravel;
mod old_client;
mod phone;
mod presence;
mod recovery;
mod relay;
mod scrolling;
mod site;
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the tests that need no browser"
)]
#[path = "../it/support/mod.rs"]
mod support;
mod uploads;

use self::chromium::Browser;
