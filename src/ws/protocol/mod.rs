//! The support desk's protocol on the wire, as pure functions between text and types: decodes
//! commands, encodes events and frames. `docs/PROTOCOL.md` describes it for front ends.

mod command;
mod event;
mod upload;

pub use self::command::{Command, CommandError, decode};
pub use self::event::{Event, Present, frame, publication_type};
pub use self::upload::{UploadCommand, UploadId, UploadStart};
