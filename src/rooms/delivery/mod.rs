//! The delivery of publications to sessions.

mod direct_writer;
mod members;
mod outbox;
mod queue;
mod scheduler;
mod state;
mod stream;

pub use self::direct_writer::{DirectWriter, SendResult};
pub use self::members::Delivered;
pub(super) use self::members::Members;
pub use self::outbox::{Inbox, Outbox, channel};
pub use self::queue::Batch;
pub(super) use self::scheduler::DeliveryScheduler;
pub use self::state::{Eviction, SessionEvent};
pub use self::stream::{MAX_WRITE_BYTES, PublicationEncoder, SharedStream};
