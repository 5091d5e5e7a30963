//! The application behind the edge in `pwd-edge demo`: a stand-in for Laravel with the real
//! app's routes and JSON, data in memory, and one page.
//!
//! Nothing else is simulated: the edge in front of it is the real one, and the stand-in
//! publishes over the Unix socket as Laravel does.

mod app;
mod form;
mod page;
mod store;

pub(crate) use self::app::App;
