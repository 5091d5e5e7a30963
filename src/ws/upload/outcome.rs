//! The outcome of an upload, with the codes and texts that its client gets.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// The outcome of an upload.
#[derive(Debug)]
pub(in crate::ws) enum Outcome {
    /// Laravel accepted it.
    Done {
        /// The status of Laravel's response, 2xx.
        status: u16,
        /// The JSON of Laravel's response; none if it was empty.
        response: Option<Box<RawValue>>,
    },
    /// Laravel did not accept it, or it is unknown whether it did.
    Failed(Failure),
}

/// The failure of an upload, as the client gets it.
#[derive(Debug)]
pub(in crate::ws) struct Failure {
    /// The kind of failure.
    pub(in crate::ws) reason: Reason,
    /// A text for people: Laravel's message, or that of the reason.
    pub(in crate::ws) message: Cow<'static, str>,
    /// The status of Laravel's response, if there was one.
    pub(in crate::ws) status: Option<u16>,
    /// Laravel's `errors` by field, if it reported any.
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

/// The reason of a failure. The texts of [`Reason::text`] describe each.
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
    Rejected,
    Busy,
    AppFailed,
    InvalidResponse,
    Unavailable,
    NoResponse,
}

impl Reason {
    /// Returns the code in `upload_failed` and in the log.
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
            Self::Rejected => "rejected",
            Self::Busy => "busy",
            Self::AppFailed => "app_failed",
            Self::InvalidResponse => "invalid_response",
            Self::Unavailable => "unavailable",
            Self::NoResponse => "no_response",
        }
    }

    /// Returns the text for people, for failures without a message of Laravel.
    fn text(self) -> &'static str {
        match self {
            Self::NotInRoom => "Join this ticket first",
            Self::BadName => "The name is empty, too long, a path, or has control characters",
            Self::BadType => "The type is not a media type such as image/png",
            Self::TooLarge => "The file is too large",
            Self::TooManyUploads => "Too many uploads at once; wait until one is done",
            Self::UnknownUpload => "There is no such upload, or no longer; start again",
            Self::WrongOffset => "These bytes do not follow the last ones",
            Self::TooMuch => "The chunk is too long, or goes beyond the end of the file",
            Self::TooLittle => "Only the last chunk may be short",
            Self::TooFast => "More bytes came than the window allows",
            Self::Idle => "No bytes came for too long; start again",
            Self::Expired => "The upload was not resumed in time; start again",
            Self::Cancelled => "The upload was cancelled",
            Self::AccessWithdrawn => "This ticket is no longer open to you",
            Self::Restart => "The service restarts; start again once you are back",
            Self::Denied => "You may not write to this ticket",
            Self::Invalid => "The file or the message was not accepted",
            Self::Rejected => "The application rejected the upload",
            Self::Busy => "The application has too much to do; try again later",
            Self::AppFailed => {
                "The application failed; look whether the message is there before you try again"
            }
            Self::InvalidResponse => {
                "The application's response is invalid; look whether the message is there before you try again"
            }
            Self::Unavailable => {
                "The application cannot be reached, nothing was stored; start again"
            }
            Self::NoResponse => {
                "The application did not respond; look whether the message is there before you try again"
            }
        }
    }
}
