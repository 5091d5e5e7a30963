//! Attachments over the WebSocket. An upload is one multipart POST to Laravel
//! that is open from `upload_start` on: what the client sends in binary frames
//! is passed on as it comes, and never held but for a window of a few chunks.
//! Why the request is what waits when a connection breaks:
//! `docs/decisions/0007-upload-streaming.md`.
//!
//! A session holds its uploads by number ([`crate::ws`]'s session), the
//! [`Uploads`] of the process know all of them by token and id, and each has a
//! task of its own that drives the request, so that a session never waits for
//! one and an upload outlives its session.

mod body;
pub mod frame;
mod multipart;
mod outcome;
mod registry;
mod response;
mod settings;
mod state;
mod task;

pub(in crate::ws) use self::multipart::Part;
pub(in crate::ws) use self::outcome::{Failure, Outcome, Reason};
pub use self::registry::Uploads;
pub(in crate::ws) use self::registry::{Begin, UploadRejection};
pub use self::settings::{FieldName, Settings};
pub(in crate::ws) use self::state::{Upload, UploadProgress};
