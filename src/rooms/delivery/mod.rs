//! The delivery of publications to sessions.

mod outbox;
mod scheduler;

pub(super) use self::outbox::PushResult;
pub use self::outbox::{
    Batch, DirectWriter, Eviction, Inbox, Outbox, SendResult, SessionEvent, channel,
};
pub(super) use self::scheduler::{DeliveryScheduler, QueueClass};
