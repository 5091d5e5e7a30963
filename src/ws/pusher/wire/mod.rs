//! The Pusher protocol on the wire, as pure functions between text and types: decodes
//! commands, encodes events and frames. `docs/PUSHER.md` says what of it the edge speaks.

mod command;
mod event;
mod publication;

pub(super) use self::command::{ClientEvent, Command, SubscribeRequest, decode};
pub(super) use self::event::Event;
pub(super) use self::publication::frame;
