//! The commands about uploads.

use serde::Deserialize;

use super::error::CommandError;
use super::payload::read;
use crate::core::ids::RowId;

/// A command about an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadCommand {
    /// Starts an upload of one file.
    Start(Box<UploadStart>),
    /// Resumes the upload with this id after a disconnect.
    Resume(UploadId),
    /// Cancels the upload with this id.
    Cancel(UploadId),
}

/// A file that a client wants to send.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UploadStart {
    /// The client's id of the upload.
    pub upload_id: UploadId,
    /// The ticket that the file belongs to.
    pub ticket_id: RowId,
    /// The name of the file.
    pub(crate) name: String,
    /// The size of the file in bytes.
    pub(crate) size: u64,
    /// The media type of the file.
    #[serde(default)]
    pub(crate) mime: Option<String>,
    /// The user's message to the file.
    #[serde(default)]
    pub message: Option<String>,
}

/// A client's id of an upload: 1 to 64 letters, digits, `_`, `-` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UploadId(Box<str>);

impl UploadId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UploadId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if (1..=64).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(Self(text.into()))
        } else {
            Err("not an upload_id")
        }
    }
}

#[derive(Deserialize)]
struct Named {
    upload_id: UploadId,
}

/// Decodes a command about an upload; none if `kind` is not the type of one.
pub(super) fn decode(kind: &str, payload: &str) -> Option<Result<UploadCommand, CommandError>> {
    let command = match kind {
        "upload_start" => read("upload_start", payload, START)
            .map(|start: UploadStart| UploadCommand::Start(Box::new(start))),
        "upload_resume" => read("upload_resume", payload, NAMED)
            .map(|Named { upload_id }| UploadCommand::Resume(upload_id)),
        "upload_cancel" => read("upload_cancel", payload, NAMED)
            .map(|Named { upload_id }| UploadCommand::Cancel(upload_id)),
        _ => return None,
    };
    Some(command)
}

const START: &str = "\"upload_id\", 1 to 64 letters, digits, _, - and ., \"ticket_id\", a positive \
                     whole number, \"name\", a text, \"size\", a whole number, and if you like \
                     \"mime\" and \"message\", texts";
const NAMED: &str = "\"upload_id\", 1 to 64 letters, digits, _, - and .";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upload_start_without_required_fields_is_rejected() {
        let read = |payload| decode("upload_start", payload).unwrap();
        let full = r#"{"upload_id":"a-1","ticket_id":"7","name":"a.png","size":0,"mime":null}"#;
        let Ok(UploadCommand::Start(start)) = read(full) else {
            panic!("{:?}", read(full))
        };
        assert_eq!((start.upload_id.as_str(), start.size), ("a-1", 0));
        assert_eq!(
            (&*start.name, start.mime, start.message),
            ("a.png", None, None)
        );
        for wrong in [
            "null",
            r#"{"upload_id":"a","ticket_id":7,"name":"a"}"#,
            r#"{"upload_id":"","ticket_id":7,"name":"a","size":1}"#,
            r#"{"upload_id":"a b","ticket_id":7,"name":"a","size":1}"#,
            r#"{"upload_id":7,"ticket_id":7,"name":"a","size":1}"#,
            r#"{"upload_id":"a","ticket_id":7,"name":"a","size":-1}"#,
            r#"{"upload_id":"a","ticket_id":7,"name":"a","size":1.5}"#,
            r#"{"upload_id":"a","ticket_id":7,"name":["a"],"size":1}"#,
        ] {
            assert_eq!(
                read(wrong).unwrap_err().code(),
                "invalid_payload",
                "{wrong}"
            );
        }
        let long = format!(r#"{{"upload_id":"{}"}}"#, "x".repeat(65));
        assert!(decode("upload_cancel", &long).unwrap().is_err());
        assert_eq!(decode("upload_dance", "{}"), None);
    }
}
