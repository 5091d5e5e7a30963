//! The parts of the process that every session uses.

use std::sync::Arc;
use std::time::Duration;

use super::Metrics;
use super::backend::CurrentBackend;
use crate::auth::{CookieName, Invalidations};
use crate::core::ids::SessionIds;
use crate::core::request_path::ExactPath;
use crate::rooms::{Rooms, Sessions};
use crate::runtime::drain::Drain;

/// The parts of the process that every session uses. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    /// The configuration in use for requests to Laravel.
    pub(crate) backend: CurrentBackend,
    /// The invalidations of users and tokens.
    pub(crate) invalidations: Invalidations,
    /// The names of the cookies with which a browser may open a session.
    pub(crate) session_cookies: Arc<[CookieName]>,
    /// The paths on which clients log out.
    pub(crate) logout_paths: Arc<[ExactPath]>,
    /// The registry of rooms.
    pub(crate) rooms: Arc<Rooms>,
    /// The registry of sessions.
    pub(crate) sessions: Sessions,
    /// The source of session ids.
    pub(crate) ids: Arc<SessionIds>,
    /// Spawns the sessions' tasks, and announces the stop of the process.
    pub(crate) drain: Drain,
    /// The metrics of the process.
    pub(crate) metrics: Arc<Metrics>,
    /// The time over which the ends of the sessions are spread when the process stops.
    pub(crate) close_spread: Duration,
}
