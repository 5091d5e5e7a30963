//! Building blocks for tasks: shutdown, timers, fair queues, wake-ups, activity of
//! connections, the watchdog. They know nothing of HTTP or WebSocket sessions.

pub mod activity;
pub mod drain;
pub mod fair;
pub mod lazy_timer;
pub mod wake_gate;
pub mod watchdog;
