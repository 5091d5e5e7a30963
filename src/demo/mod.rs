//! What `pwd-edge demo` puts behind the edge: a stand-in for the Laravel app,
//! with the real app's routes and JSON shapes, its data in memory, and one page.
//!
//! Nothing else is simulated: the edge in front of it is the real one, and the
//! stand-in publishes through the Unix socket as Laravel does.

mod app;
mod desk;
mod form;
mod page;

pub use self::app::App;
