//! Turns Laravel's response to an upload, or its failure, into the outcome for the client.

use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::outcome::{Failure, Outcome, Reason};
use crate::core::body::{self, Body};
use crate::upstream;

/// Reads the response within `timeout`. `sealed` is whether Laravel had the whole form when
/// it responded.
pub(super) async fn read(response: Response<Body>, sealed: bool, timeout: Duration) -> Outcome {
    let status = response.status().as_u16();
    let reading = body::read_limited(response.into_body(), MAX_RESPONSE_BYTES);
    let body = match tokio::time::timeout(timeout, reading).await {
        Ok(Ok(body)) => Some(body),
        Ok(Err(_)) | Err(_) => None,
    };
    interpret(status, body.as_ref(), sealed)
}

/// Returns the outcome for a status and a body, which is none if it could not be read. A 2xx is
/// a success only if the form was whole and the body is JSON or empty.
fn interpret(status: u16, body: Option<&Bytes>, sealed: bool) -> Outcome {
    let reason = match (status, sealed) {
        (200..=299, true) => match body.map(|body| parse_response(body)) {
            Some(Ok(response)) => return Outcome::Done { status, response },
            _ => Reason::InvalidResponse,
        },
        (401 | 403 | 404, _) => Reason::Denied,
        (413, _) => Reason::TooLarge,
        (422, _) => Reason::Invalid,
        (429, _) => Reason::Busy,
        (400..=499, _) => Reason::Rejected,
        (500..=599, _) => Reason::AppFailed,
        _ => Reason::InvalidResponse,
    };
    let mut failure = Failure::from(reason);
    failure.status = Some(status);
    if let (400..=499, Some(body)) = (status, body) {
        let error: LaravelError = serde_json::from_slice(body).unwrap_or_default();
        failure.errors = error.errors.filter(|json| json.get().starts_with('{'));
        if let Some(message) = error.message.filter(|text| !text.is_empty()) {
            failure.message = message
                .chars()
                .take(MAX_MESSAGE_CHARS)
                .collect::<String>()
                .into();
        }
    }
    Outcome::Failed(failure)
}

/// Parses the JSON of a response; none if the body is empty.
fn parse_response(body: &[u8]) -> Result<Option<Box<RawValue>>, serde_json::Error> {
    match body {
        [] => Ok(None),
        json => serde_json::from_slice(json).map(Some),
    }
}

/// Returns the reason for a request that got no response.
pub(super) fn failure_reason(error: &upstream::Error, sealed: bool) -> Reason {
    match error {
        upstream::Error::Connect { .. } | upstream::Error::ConnectTimeout(_) => Reason::Unavailable,
        // Without its end the form is incomplete: no server passes it to the application.
        _ if !sealed => Reason::Unavailable,
        _ => Reason::NoResponse,
    }
}

/// The body of an error response of Laravel.
#[derive(Default, Deserialize)]
struct LaravelError {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    errors: Option<Box<RawValue>>,
}

/// The maximum body of a response. A message with its attachment is far shorter.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// The maximum length of Laravel's message that the client gets.
const MAX_MESSAGE_CHARS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &'static str, sealed: bool) -> (&'static str, String) {
        match interpret(status, Some(&Bytes::from_static(body.as_bytes())), sealed) {
            Outcome::Done { response, .. } => (
                "done",
                response.map_or(String::new(), |json| json.get().to_owned()),
            ),
            Outcome::Failed(failure) => {
                assert_eq!(failure.status, Some(status));
                let errors = failure
                    .errors
                    .map_or(String::new(), |json| json.get().to_owned());
                (failure.reason.code(), errors)
            }
        }
    }

    #[test]
    fn upstream_response_maps_to_its_upload_outcome() {
        let none = String::new;
        assert_eq!(
            judged(201, r#"{"a":1}"#, true),
            ("done", r#"{"a":1}"#.to_owned())
        );
        assert_eq!(judged(204, "", true), ("done", none()));
        assert_eq!(judged(200, "<html>", true), ("invalid_response", none()));
        assert_eq!(judged(201, "{}", false), ("invalid_response", none()));
        assert_eq!(judged(302, "", true), ("invalid_response", none()));
        assert_eq!(judged(401, "{}", true), ("denied", none()));
        assert_eq!(judged(413, "<html>", false), ("too_large", none()));
        let errors = r#"{"attachment":["no"]}"#;
        let body = r#"{"errors":{"attachment":["no"]}}"#;
        assert_eq!(judged(422, body, true), ("invalid", errors.to_owned()));
        assert_eq!(judged(429, r#"{"errors":7}"#, true), ("busy", none()));
        assert_eq!(judged(405, "[]", true), ("rejected", none()));
        assert_eq!(judged(500, body, true), ("app_failed", none()));
    }

    #[test]
    fn oversized_or_aborted_response_fails_the_upload() {
        let outcome = interpret(201, None, true);
        let Outcome::Failed(failure) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(failure.reason, Reason::InvalidResponse);
    }
}
