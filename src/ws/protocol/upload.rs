//! What a client says about its uploads.

use serde::Deserialize;

use super::command::{CommandError, read};
use crate::core::ids::RowId;

/// What a client wants of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadCommand {
    /// To begin one.
    Start(Box<UploadStart>),
    /// To go on with one after the connection broke.
    Resume(UploadId),
    /// To give one up.
    Cancel(UploadId),
}

/// A file that a client wants to send.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UploadStart {
    /// What the client calls the upload.
    pub upload_id: UploadId,
    /// Where it belongs.
    pub ticket_id: RowId,
    /// The file's name.
    pub name: String,
    /// The file's bytes.
    pub size: u64,
    /// The file's type.
    #[serde(default)]
    pub mime: Option<String>,
    /// What the user wrote with it.
    #[serde(default)]
    pub message: Option<String>,
}

/// What a client calls an upload: 1 to 64 letters, digits, `_`, `-` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UploadId(Box<str>);

impl UploadId {
    /// The id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UploadId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
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

/// Reads the payload of a command about uploads; none if `kind` is no such one.
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
    fn a_start_needs_what_cannot_be_guessed() {
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
