//! The response to a request that the socket rejects.

use hyper::StatusCode;
use serde::Serialize;

use super::decode::DecodeError;
use super::idempotency::KeyReused;

/// The JSON body and status of a response to a rejected request.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    #[serde(skip)]
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'static str>,
}

impl Failure {
    /// Creates a failure that concerns the whole request.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            index: None,
            pointer: None,
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(mistake: DecodeError) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: mistake.code,
            message: mistake.message,
            index: mistake.index,
            pointer: mistake.pointer,
        }
    }
}

impl From<KeyReused> for Failure {
    fn from(_: KeyReused) -> Self {
        let message = "this Idempotency-Key was used with another body; use a new key";
        Self::new(StatusCode::CONFLICT, "key_reused", message)
    }
}
