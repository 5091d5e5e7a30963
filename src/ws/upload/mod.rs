//! Uploads of attachments over the WebSocket. An upload is one multipart POST to Laravel that
//! is open from `upload_start` on. The client's binary frames are passed on as they arrive; no
//! more than a window of a few chunks is in memory.
//! Why the request is what waits when a connection breaks:
//! `docs/decisions/0007-upload-streaming.md`.
//!
//! A session has its uploads by number, and the registry [`Uploads`] has those of all sessions
//! by user, token and id. Each has a task of its own that sends the request, so a session never
//! waits for an upload, and an upload outlives its session.

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
pub(in crate::ws) use self::registry::UploadRejection;
pub(crate) use self::registry::Uploads;
pub(crate) use self::settings::Settings;
pub(in crate::ws) use self::state::{Upload, UploadProgress};
pub(in crate::ws) use self::task::UploadContext;
