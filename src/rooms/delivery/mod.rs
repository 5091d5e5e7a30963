//! The delivery of publications to sessions, from `publish` to the socket.
//!
//! # The path of a publication
//!
//! A publication of Laravel comes from the Unix socket. `control::api` decodes the request and
//! publishes, once for each idempotency key. While members are behind it waits first, in a
//! task, in [`Rooms::apply_backpressure`](super::Rooms::apply_backpressure). A publication of a
//! session comes from its membership. Then:
//!
//! 1. [`Rooms::publish`](super::Rooms::publish) finds the room;
//!    [`Membership::publish`](super::Membership::publish) has it already. The room is locked
//!    until step 4 is done, so all its members get one order.
//! 2. [`Members::deliver`] goes through the members in the audience.
//! 3. [`Outbox::push`] queues the publication for one session, by
//!    [`DeliveryState::push`](state::DeliveryState::push). It never waits: a full queue evicts
//!    the session. A parked session is to be scheduled; any other takes the publication
//!    itself, in step 7.
//! 4. [`DeliveryScheduler::enqueue`] queues the parked sessions, once per class, and
//!    notifies a scheduler task.
//! 5. [`DeliveryScheduler::run`], one task on each worker thread, takes a few sessions of
//!    each class, then yields.
//! 6. [`Outbox::deliver_now`] locks the session's [`SharedStream`], takes what is queued by
//!    [`DeliveryState::take_direct`](state::DeliveryState::take_direct), and encodes it unless
//!    that was done for another session. The stream makes one write that does not wait. If
//!    the client accepts it all, this is the end, and the session was not woken.
//! 7. Otherwise the session writes. [`Inbox::poll_next`] returns the batch, which it adds to
//!    the stream by [`SharedStream::enqueue`], or that a direct write left something unsent.
//!    [`SharedStream::poll_send`] writes it, within the session's write timeout.
//!
//! The [`state`] of a session decides between 6 and 7: Running, Parked, Writing or Closed.
//!
//! # Locks
//!
//! They are taken in this order, and none is held across an await:
//!
//! 1. the registry of [`Rooms`](super::Rooms) or of [`Sessions`](super::Sessions);
//! 2. a room, one at a time;
//! 3. the scheduler's queue, or a session's delivery state, one at a time.
//!
//! A session's stream is locked under no lock of 1 and 2, and before the session's state. So a
//! publisher never waits for a write to a client, and the state is innermost on both ways.
//!
//! # Wake-ups
//!
//! | who wakes | whom | when |
//! |---|---|---|
//! | `enqueue` | a scheduler task | a parked session has something queued |
//! | `enqueue` | the session, if parked | no scheduler task runs |
//! | a scheduler task | another one | more sessions wait than it takes |
//! | a scheduler task | the session, if parked | a direct write left something unsent, or was not possible |
//! | the last scheduler task that ends | the sessions that it leaves, if parked | always |
//! | `evict` | the session, parked or writing | the first eviction |
//! | `revalidate`, `revalidate_early`, `ping` | the session, if parked | always |
//! | the socket | the session | it waits for its client |
//!
//! A wake-up only makes a task ready, so it may happen under the lock of a room. `interleavings`
//! runs these rules in many orders. It fails without any of these wake-ups but the third, which
//! only spreads the work over more threads.

mod direct_writer;
#[cfg(test)]
mod interleavings;
mod members;
mod outbox;
mod queue;
mod queue_class;
mod scheduler;
mod state;
mod stream;

pub(crate) use self::members::Delivered;
pub(super) use self::members::Members;
pub(crate) use self::outbox::{Inbox, Outbox, channel};
pub(super) use self::scheduler::DeliveryScheduler;
pub(crate) use self::state::{Eviction, SessionEvent};
pub(crate) use self::stream::{MAX_WRITE_BYTES, PublicationEncoder, SharedStream};
