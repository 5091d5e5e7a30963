//! Building blocks for tasks: graceful shutdown, timers, a fair semaphore, selective
//! wake-ups, activity tracking of connections, wrappers of streams, state directories, the limit of open
//! files, and systemd's watchdog. Nothing here knows HTTP or WebSocket sessions.

pub(crate) mod activity;
pub(crate) mod drain;
pub(crate) mod fair_semaphore;
pub(crate) mod hang_up;
pub(crate) mod lazy_timer;
pub mod open_file_limit;
pub(crate) mod state_directory;
pub(crate) mod stream_filter;
pub(crate) mod sync;
pub(crate) mod wake_gate;
pub mod watchdog;
