//! Building blocks for tasks: graceful shutdown, timers, a fair semaphore, selective
//! wake-ups, activity tracking of connections, wrappers of streams, the limit of open
//! files, and systemd's watchdog. Nothing here knows HTTP or WebSocket sessions.

pub mod activity;
pub mod drain;
pub mod fair_semaphore;
pub mod lazy_timer;
pub mod open_file_limit;
pub mod stream_filter;
pub(crate) mod sync;
pub mod wake_gate;
pub mod watchdog;
