//! Laravel's own authorization of channels, `POST /broadcasting/auth`: the form of a request,
//! and the decision in its response.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::AuthResponse;
use super::{Error, User};
use crate::core::ids::{ChannelKind, ChannelName, SessionId, UserId};

/// What the application tells the members of a presence channel about a user, as JSON. Cheap
/// to clone.
pub(crate) type UserInfo = Arc<RawValue>;

/// Laravel's consent.
#[derive(Clone, Debug)]
pub(super) struct Consent {
    /// Only presence channels have one, if the application returns any.
    pub(super) user_info: Option<UserInfo>,
}

/// The member of a presence channel, as Laravel has signed it.
#[derive(Debug)]
pub(super) struct SignedMember {
    pub(super) user: User,
    /// The JSON of the user's id.
    pub(super) id: Arc<RawValue>,
    pub(super) info: Option<UserInfo>,
}

/// The reason why a text is no member of a presence channel. `Display` is for developers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAMember {
    /// It names no user.
    #[error(
        "channel_data is no object with a user_id, a whole number or a text of 64 bytes at most"
    )]
    NoUser,
    /// It is too long to be sent to all members.
    #[error("the user_info in channel_data is longer than 2 KiB")]
    TooLong,
}

/// Reads the `channel_data` of a presence channel, once its signature was checked.
///
/// # Errors
/// Any variant of [`NotAMember`].
pub(super) fn read_member(channel_data: &str) -> Result<SignedMember, NotAMember> {
    // serde reads a struct from an array, too.
    let member: Member<'_> = Some(channel_data)
        .filter(|text| text.trim_start().starts_with('{'))
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or(NotAMember::NoUser)?;
    let id = member.user_id.ok_or(NotAMember::NoUser)?;
    let value = serde_json::from_str(id.get()).ok();
    let user = value.and_then(|value| UserId::from_json(&value));
    Ok(SignedMember {
        user: User::signed(user.ok_or(NotAMember::NoUser)?),
        id: Arc::from(id.to_owned()),
        info: member.info()?,
    })
}

/// Returns the body of a request about `channel`, a form.
pub(super) fn form(channel: &ChannelName, session: SessionId) -> String {
    let channel = utf8_percent_encode(channel.as_str(), NON_ALPHANUMERIC);
    format!("channel_name={channel}&socket_id={session}")
}

/// Reads Laravel's decision about `channel`; none is a denial.
///
/// A 2xx alone is no consent. With its drivers `null` and `log` Laravel responds to every
/// request with an empty 200, and asks the application nothing.
///
/// # Errors
/// `TokenRejected` for 401; `Unavailable` for a response that decides nothing.
pub(super) fn interpret(
    channel: &ChannelName,
    response: &AuthResponse,
) -> Result<Option<Consent>, Error> {
    match response.status.as_u16() {
        200..=299 => read_consent(channel, &response.body)
            .map(Some)
            .map_err(|reason| Error::unavailable(reason.to_owned())),
        403 => Ok(None),
        // This is about the token and not about the channel.
        401 => Err(Error::TokenRejected),
        status => {
            let reason = format!("Laravel responded with {status}; is auth.channel_path right?");
            Err(Error::unavailable(reason))
        }
    }
}

/// Laravel's consent, as its drivers write it.
#[derive(Deserialize)]
struct Body<'a> {
    /// The signature of the drivers for the Pusher protocol.
    #[serde(default)]
    auth: Option<String>,
    /// The driver `edge` signs nothing.
    #[serde(default)]
    authorized: bool,
    /// The member of a presence channel: an object, or a string that holds one.
    #[serde(borrow, default)]
    channel_data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Member<'a> {
    #[serde(borrow, default)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    user_info: Option<&'a RawValue>,
}

impl Member<'_> {
    /// # Errors
    /// `TooLong` if it is longer than [`MAX_USER_INFO_BYTES`].
    fn info(&self) -> Result<Option<UserInfo>, NotAMember> {
        match self.user_info {
            Some(info) if info.get().len() > MAX_USER_INFO_BYTES => Err(NotAMember::TooLong),
            info => Ok(info.map(|info| Arc::from(info.to_owned()))),
        }
    }
}

/// Reads the consent in the body of a 2xx.
///
/// # Errors
/// The reason, for the log, why it is none.
fn read_consent(channel: &ChannelName, body: &[u8]) -> Result<Consent, &'static str> {
    // The driver `redis` writes this for a private channel.
    let is_flag = body.trim_ascii() == b"true";
    let body: Option<Body<'_>> = serde_json::from_slice(body).ok();
    let signed = body
        .as_ref()
        .is_some_and(|body| body.authorized || body.auth.is_some() || body.channel_data.is_some());
    if !is_flag && !signed {
        return Err(
            "Laravel's response to auth.channel_path decides nothing; is its broadcast driver \
             \"log\" or \"null\"?",
        );
    }
    let member = body.and_then(|body| body.channel_data);
    let user_info = match member {
        Some(member) if channel.kind() == ChannelKind::Presence => read_user_info(member)?,
        _ => None,
    };
    Ok(Consent { user_info })
}

/// Reads the `user_info` of a member.
///
/// # Errors
/// The reason, for the log, why the member cannot be used.
fn read_user_info(member: &RawValue) -> Result<Option<UserInfo>, &'static str> {
    let invalid = |_| "the channel_data in Laravel's response is not that of a presence channel";
    let text: Cow<'_, str> = if member.get().starts_with('"') {
        Cow::Owned(serde_json::from_str(member.get()).map_err(invalid)?)
    } else {
        Cow::Borrowed(member.get())
    };
    let member: Member<'_> = serde_json::from_str(&text).map_err(invalid)?;
    member
        .info()
        .map_err(|_| "the user_info in Laravel's response is longer than 2 KiB")
}

/// The maximum JSON about one user: each member of the channel gets that of all others.
const MAX_USER_INFO_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::StatusCode;

    use super::*;
    use crate::core::ids::SessionIds;

    fn read(channel: &str, status: u16, body: &'static str) -> Result<Option<Consent>, Error> {
        let response = AuthResponse {
            status: StatusCode::from_u16(status).unwrap(),
            body: Bytes::from_static(body.as_bytes()),
        };
        interpret(&channel.parse().unwrap(), &response)
    }

    fn info(body: &'static str) -> Option<String> {
        let consent = read("presence-desk", 200, body).unwrap().unwrap();
        consent.user_info.map(|info| info.get().to_owned())
    }

    #[test]
    fn consent_of_every_driver_of_laravel_is_read() {
        for body in [
            r#"{"auth":"key:7b6fb3b9"}"#,
            r#"{"authorized":true}"#,
            "true",
            r#"{"auth":"key:7b6fb3b9","channel_data":"{\"user_id\":3}"}"#,
        ] {
            let consent = read("private-desk", 200, body);
            assert!(consent.unwrap().is_some(), "{body}");
        }
        assert_eq!(
            info(r#"{"auth":"k:s","channel_data":"{\"user_id\":3,\"user_info\":{\"name\":\"\\u00e9\",\"n\":1.10}}"}"#).as_deref(),
            Some(r#"{"name":"\u00e9","n":1.10}"#)
        );
        assert_eq!(
            info(r#"{"channel_data":{"user_id":3,"user_info":[]}}"#).as_deref(),
            Some("[]")
        );
        assert_eq!(info(r#"{"authorized":true}"#), None);
    }

    /// The drivers `null` and `log` let everybody in, whatever the application says.
    #[test]
    fn success_without_a_decision_is_no_consent() {
        for body in [
            "",
            "null",
            "false",
            "[]",
            "{}",
            "1",
            "\"true\"",
            "<html>",
            r#"{"authorized":false}"#,
            r#"{"auth":null}"#,
            r#"{"auth":true}"#,
        ] {
            let read = read("private-desk", 200, body);
            assert!(matches!(read, Err(Error::Unavailable { .. })), "{body}");
        }
    }

    #[test]
    fn status_of_laravel_decides_as_documented() {
        assert!(read("private-desk", 403, "").unwrap().is_none());
        let rejected = read("private-desk", 401, "").unwrap_err();
        assert_eq!(rejected, Error::TokenRejected);
        for status in [302, 404, 419, 422] {
            let read = read("private-desk", status, r#"{"auth":"k:s"}"#);
            assert!(matches!(read, Err(Error::Unavailable { .. })), "{status}");
        }
    }

    #[test]
    fn user_info_that_cannot_be_shown_is_no_consent() {
        let long: &'static str = format!(
            r#"{{"channel_data":{{"user_info":"{}"}}}}"#,
            "x".repeat(MAX_USER_INFO_BYTES)
        )
        .leak();
        for body in [long, r#"{"auth":"k:s","channel_data":"no JSON"}"#] {
            let read = read("presence-desk", 200, body);
            assert!(matches!(read, Err(Error::Unavailable { .. })));
        }
    }

    #[test]
    fn form_of_a_request_escapes_the_name() {
        let session = SessionIds::new().issue();
        assert_eq!(
            form(&"private-a=b;c@d".parse().unwrap(), session),
            format!("channel_name=private%2Da%3Db%3Bc%40d&socket_id={session}")
        );
    }
}
