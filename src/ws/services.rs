//! The parts of the process that every session uses.

use std::sync::Arc;
use std::time::Duration;

use super::Metrics;
use super::backend::CurrentBackend;
use crate::auth::Invalidations;
use crate::core::ids::SessionIds;
use crate::core::request_path::ExactPath;
use crate::rooms::{Rooms, Sessions};
use crate::runtime::drain::Drain;

/// The parts of the process that every session uses. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Services {
    /// The configuration in use for requests to Laravel.
    pub backend: CurrentBackend,
    /// The invalidations of users and tokens.
    pub invalidations: Invalidations,
    /// The paths on which clients log out.
    pub logout_paths: Arc<[ExactPath]>,
    /// The registry of rooms.
    pub rooms: Arc<Rooms>,
    /// The registry of sessions.
    pub sessions: Sessions,
    /// The source of session ids.
    pub ids: Arc<SessionIds>,
    /// Spawns the sessions' tasks, and announces the stop of the process.
    pub drain: Drain,
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
    /// The time over which the ends of the sessions are spread when the process stops.
    pub close_spread: Duration,
}
