//! The support desk's protocol on the wire, as pure functions between text and types: decodes
//! commands, encodes events and frames. `docs/PROTOCOL.md` describes it for front ends.

mod command;
mod error;
mod event;
mod payload;
mod resume;
mod upload;

pub use self::command::decode;

pub use self::command::Command;
pub(in crate::ws) use self::event::publication_text;
pub(crate) use self::event::{Event, Present, Recovered, RoomField};
pub use self::event::{frame, ping};
pub use self::resume::TicketJoin;
pub use self::upload::{UploadCommand, UploadId, UploadStart};
