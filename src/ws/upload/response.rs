//! What Laravel's answer to an upload means for its client.

use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::outcome::{Failure, Outcome, Reason};
use crate::core::body::{self, Body};
use crate::upstream;

/// Reads the answer, `patience` at most. `sealed` says whether Laravel had the
/// whole form before it answered.
pub(super) async fn read(answer: Response<Body>, sealed: bool, patience: Duration) -> Outcome {
    let status = answer.status().as_u16();
    let body = body::read_limited(answer.into_body(), MAX_RESPONSE_BYTES);
    let body = match tokio::time::timeout(patience, body).await {
        Ok(Ok(body)) => Some(body),
        Ok(Err(_)) | Err(_) => None,
    };
    interpret(status, body.as_ref(), sealed)
}

fn interpret(status: u16, body: Option<&Bytes>, sealed: bool) -> Outcome {
    let reason = match (status, sealed) {
        (200..=299, true) => match body.map(|body| parse_response(body)) {
            Some(Ok(response)) => return Outcome::Done { status, response },
            _ => Reason::BadAnswer,
        },
        (401 | 403 | 404, _) => Reason::Denied,
        (413, _) => Reason::TooLarge,
        (422, _) => Reason::Invalid,
        (429, _) => Reason::Busy,
        (400..=499, _) => Reason::Refused,
        (500..=599, _) => Reason::AppFailed,
        _ => Reason::BadAnswer,
    };
    let mut failure = Failure::from(reason);
    failure.status = Some(status);
    if let (400..=499, Some(body)) = (status, body) {
        let said: LaravelError = serde_json::from_slice(body).unwrap_or_default();
        failure.errors = said.errors.filter(|errors| errors.get().starts_with('{'));
        if let Some(message) = said.message.filter(|said| !said.is_empty()) {
            failure.message = message
                .chars()
                .take(MAX_MESSAGE_CHARS)
                .collect::<String>()
                .into();
        }
    }
    Outcome::Failed(failure)
}

fn parse_response(body: &[u8]) -> Result<Option<Box<RawValue>>, serde_json::Error> {
    match body {
        [] => Ok(None),
        json => serde_json::from_slice(json).map(Some),
    }
}

/// What it means that there was no answer.
pub(super) fn failure_reason(error: &upstream::Error, sealed: bool) -> Reason {
    match error {
        upstream::Error::Connect { .. } | upstream::Error::ConnectTimeout(_) => Reason::Unavailable,
        // Without its end a form is none: no server hands it to the app as whole.
        _ if !sealed => Reason::Unavailable,
        _ => Reason::NoAnswer,
    }
}

/// What Laravel says of its own refusals.
#[derive(Default, Deserialize)]
struct LaravelError {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    errors: Option<Box<RawValue>>,
}

/// A message with its attachment is far shorter.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// In characters.
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
    fn each_answer_has_its_meaning() {
        let none = String::new;
        assert_eq!(
            judged(201, r#"{"a":1}"#, true),
            ("done", r#"{"a":1}"#.to_owned())
        );
        assert_eq!(judged(204, "", true), ("done", none()));
        assert_eq!(judged(200, "<html>", true), ("bad_answer", none()));
        assert_eq!(judged(201, "{}", false), ("bad_answer", none()));
        assert_eq!(judged(302, "", true), ("bad_answer", none()));
        assert_eq!(judged(401, "{}", true), ("denied", none()));
        assert_eq!(judged(413, "<html>", false), ("too_large", none()));
        let errors = r#"{"attachment":["no"]}"#;
        let body = r#"{"errors":{"attachment":["no"]}}"#;
        assert_eq!(judged(422, body, true), ("invalid", errors.to_owned()));
        assert_eq!(judged(429, r#"{"errors":7}"#, true), ("busy", none()));
        assert_eq!(judged(405, "[]", true), ("refused", none()));
        assert_eq!(judged(500, body, true), ("app_failed", none()));
    }

    #[test]
    fn what_is_too_long_or_broken_off_is_no_yes() {
        let outcome = interpret(201, None, true);
        let Outcome::Failed(failure) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(failure.reason, Reason::BadAnswer);
    }
}
