//! What is said on the wire: the support desk's protocol, as pure functions
//! between text and types. `docs/PROTOCOL.md` tells it to front-end people.

mod command;
mod event;
mod upload;

pub use self::command::{Command, CommandError, decode};
pub use self::event::{Event, Present, frame, publication_type};
pub use self::upload::{UploadCommand, UploadId, UploadStart};
