//! How an upload ends, and what its client is told.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// The end of an upload.
#[derive(Debug)]
pub(in crate::ws) enum Outcome {
    /// Laravel has taken it.
    Done {
        /// 2xx.
        status: u16,
        /// Laravel's JSON; none if its answer was empty.
        response: Option<Box<RawValue>>,
    },
    /// It has not, as far as is known.
    Failed(Failure),
}

/// Why an upload failed.
#[derive(Debug)]
pub(in crate::ws) struct Failure {
    /// Why.
    pub(in crate::ws) reason: Reason,
    /// For people; Laravel's words where it has some.
    pub(in crate::ws) message: Cow<'static, str>,
    /// Laravel's status, if it answered.
    pub(in crate::ws) status: Option<u16>,
    /// Laravel's `errors`, by field.
    pub(in crate::ws) errors: Option<Box<RawValue>>,
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            message: reason.text().into(),
            status: None,
            errors: None,
        }
    }
}

impl From<Reason> for Outcome {
    fn from(reason: Reason) -> Self {
        Self::Failed(reason.into())
    }
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ws) enum Reason {
    NotInRoom,
    BadName,
    BadType,
    TooLarge,
    TooManyUploads,
    UnknownUpload,
    WrongOffset,
    TooMuch,
    TooLittle,
    TooFast,
    Idle,
    Expired,
    Cancelled,
    AccessWithdrawn,
    Restart,
    Denied,
    Invalid,
    Refused,
    Busy,
    AppFailed,
    BadAnswer,
    Unavailable,
    NoAnswer,
}

impl Reason {
    /// The code in `upload_failed`, and the word in the log.
    pub(in crate::ws) fn code(self) -> &'static str {
        match self {
            Self::NotInRoom => "not_in_room",
            Self::BadName => "bad_name",
            Self::BadType => "bad_type",
            Self::TooLarge => "too_large",
            Self::TooManyUploads => "too_many_uploads",
            Self::UnknownUpload => "unknown_upload",
            Self::WrongOffset => "wrong_offset",
            Self::TooMuch => "too_much",
            Self::TooLittle => "too_little",
            Self::TooFast => "too_fast",
            Self::Idle => "idle",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::AccessWithdrawn => "access_withdrawn",
            Self::Restart => "restart",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::AppFailed => "app_failed",
            Self::BadAnswer => "bad_answer",
            Self::Unavailable => "unavailable",
            Self::NoAnswer => "no_answer",
        }
    }

    /// For people, where Laravel has no words of its own.
    fn text(self) -> &'static str {
        match self {
            Self::NotInRoom => "Join this ticket first",
            Self::BadName => "The name is empty, too long, a path, or has control characters",
            Self::BadType => "The type is not a media type such as image/png",
            Self::TooLarge => "The file is too large",
            Self::TooManyUploads => "Too many uploads at once; wait until one is done",
            Self::UnknownUpload => "There is no such upload, or no longer; start again",
            Self::WrongOffset => "These bytes do not follow the last ones",
            Self::TooMuch => "More bytes came than there may be",
            Self::TooLittle => "Only the last chunk may be short",
            Self::TooFast => "More bytes came than the window allows",
            Self::Idle => "Nothing came for too long; start again",
            Self::Expired => "Nobody came back for this upload",
            Self::Cancelled => "The upload was cancelled",
            Self::AccessWithdrawn => "This ticket is no longer open to you",
            Self::Restart => "The service restarts; start again once you are back",
            Self::Denied => "You may not write to this ticket",
            Self::Invalid => "The file or the message was not accepted",
            Self::Refused => "The application refused the upload",
            Self::Busy => "The application has too much to do; try again later",
            Self::AppFailed => {
                "The application failed; look whether the message is there before you try again"
            }
            Self::BadAnswer => {
                "The application's answer makes no sense; look whether the message is there before you try again"
            }
            Self::Unavailable => {
                "The application cannot be reached, nothing was stored; start again"
            }
            Self::NoAnswer => {
                "The application did not answer; look whether the message is there before you try again"
            }
        }
    }
}
