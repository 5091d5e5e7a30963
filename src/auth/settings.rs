//! The `[auth]` table of `config.toml`.

use hyper::http::uri::PathAndQuery;
use serde::Deserialize;

use super::{CookieName, TokenForm};
use crate::core::ids::{ChannelName, RowId, UserId};
use crate::core::request_path::{self, ExactPath};
use crate::core::units::{ConfigDuration, PositiveCount};

/// The settings of the requests by which Laravel authenticates and authorizes users.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The path on which Laravel returns the user of a credential.
    pub(crate) user_path: FixedPath,
    /// JSON pointers to the user's id in that response; the first that exists counts.
    pub(crate) user_id: Vec<JsonPointer>,
    /// JSON pointers to the name that other users see; the first that exists counts.
    pub(crate) user_name: Vec<JsonPointer>,
    /// The users that are denied although Laravel accepts their tokens.
    pub(crate) deny_if: Option<DenyIf>,
    /// The part of a token that the edge's own requests carry.
    pub(crate) token_form: TokenForm,
    /// The names of the cookies with which a browser may open a session in place of a token.
    pub(crate) session_cookies: Vec<CookieName>,
    /// The paths of logouts: when Laravel responds 2xx to a `POST` there, the bearer token's
    /// sessions are closed, and those of the session cookie's user revalidated.
    pub(crate) logout_paths: Vec<ExactPath>,
    /// The path on which Laravel decides whether the user may see a ticket.
    pub(crate) ticket_path: TicketPath,
    /// The method of these requests.
    pub(crate) ticket_method: TicketMethod,
    /// The path on which Laravel decides whether the user may join a channel. Without it
    /// clients can join none.
    pub(crate) channel_path: Option<FixedPath>,
    /// The channel of a user, which their sessions join by themselves.
    pub(crate) user_channel: Option<UserChannel>,
    /// The time limit of one request. It is longer than a client waits, so that a late response
    /// is cached for the client's retry.
    pub(crate) request_timeout: ConfigDuration,
    /// The time for which a request is retried while Laravel is unavailable.
    pub(crate) retry_timeout: ConfigDuration,
    /// The cache lifetime of the user of a token.
    pub(crate) user_ttl: ConfigDuration,
    /// The cache lifetime of a denied token.
    pub(crate) denied_ttl: ConfigDuration,
    /// The cache lifetime of a decision on a ticket or a channel.
    pub(crate) ticket_ttl: ConfigDuration,
    /// The maximum number of cached decisions of each kind.
    pub(crate) max_cache_entries: PositiveCount,
    /// The maximum number of requests about tokens under way. Fewer are, unless Laravel is fast.
    pub(crate) max_concurrent_user_requests: PositiveCount,
    /// The maximum number of requests about tickets and channels under way. Fewer are, unless
    /// Laravel is fast.
    pub(crate) max_concurrent_ticket_requests: PositiveCount,
}

impl Default for Settings {
    fn default() -> Self {
        let pointers = |texts: [&str; 2]| texts.map(|text| JsonPointer(text.to_owned())).to_vec();
        Self {
            user_path: FixedPath(PathAndQuery::from_static("/api/user")),
            user_id: pointers(["/userID", "/id"]),
            user_name: pointers(["/username", "/name"]),
            deny_if: None,
            token_form: TokenForm::Secret,
            session_cookies: Vec::new(),
            logout_paths: vec![ExactPath::new("/api/logout"), ExactPath::new("/logout")],
            ticket_path: TicketPath::new("/api/support-tickets/", ""),
            ticket_method: TicketMethod::Head,
            channel_path: None,
            user_channel: None,
            request_timeout: ConfigDuration::seconds(15),
            retry_timeout: ConfigDuration::seconds(5),
            user_ttl: ConfigDuration::seconds(60),
            denied_ttl: ConfigDuration::seconds(10),
            ticket_ttl: ConfigDuration::seconds(30),
            max_cache_entries: PositiveCount::new(20_000),
            max_concurrent_user_requests: PositiveCount::new(32),
            max_concurrent_ticket_requests: PositiveCount::new(32),
        }
    }
}

/// The users that may not connect although Laravel accepts their tokens, such as those whose
/// `/status` is `inactive`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DenyIf {
    /// The JSON pointer to the value in Laravel's response.
    pub(crate) pointer: JsonPointer,
    /// The strings, numbers or booleans that deny the user.
    pub(crate) values: Vec<DeniedValue>,
}

/// A value that denies a user.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum DeniedValue {
    /// A JSON boolean.
    Bool(bool),
    /// A whole number, as JSON writes it.
    Number(i64),
    /// A JSON string, compared byte by byte.
    Text(String),
}

impl DenyIf {
    /// Returns whether `user`, as Laravel returned it, is denied.
    pub(super) fn matches(&self, user: &serde_json::Value) -> bool {
        let Some(found) = self.pointer.find(user) else {
            return false;
        };
        self.values.iter().any(|value| match value {
            DeniedValue::Bool(value) => found.as_bool() == Some(*value),
            DeniedValue::Number(value) => found.as_i64() == Some(*value),
            DeniedValue::Text(value) => found.as_str() == Some(value),
        })
    }
}

/// A JSON pointer (RFC 6901) such as `/user/id`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct JsonPointer(String);

impl JsonPointer {
    /// Returns the value that the pointer finds, unless it is null.
    pub(super) fn find<'a>(&self, value: &'a serde_json::Value) -> Option<&'a serde_json::Value> {
        value.pointer(&self.0).filter(|found| !found.is_null())
    }
}

impl TryFrom<String> for JsonPointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // The keys of a list are numbers, and no object of Laravel has such a key: a pattern that
        // is meant to deny users would deny no user.
        if text.split('/').any(|part| part.starts_with('*')) {
            return Err(format!(
                r#"{text:?} holds a pattern, and a JSON pointer names one value; expected one such as "/id" or "/roles/0""#
            ));
        }
        if text.starts_with('/') {
            Ok(Self(text))
        } else {
            Err(format!(
                r#"{text:?} is not a JSON pointer; expected one such as "/id" or "/user/id""#
            ))
        }
    }
}

/// A path of Laravel that the edge requests as it is written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct FixedPath(PathAndQuery);

impl FixedPath {
    /// Returns the path with its query, for a request.
    pub(super) fn path(&self) -> PathAndQuery {
        self.0.clone()
    }
}

impl TryFrom<String> for FixedPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        request_path::check_literal(&text, None)?;
        parse_path(&text)
            .map(Self)
            .ok_or_else(|| format!(r#"{text:?} is not a path; expected one such as "/api/user""#))
    }
}

/// A path of a ticket, with `{id}` in the place of its number.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct TicketPath {
    before: String,
    after: String,
}

impl TicketPath {
    /// Creates a default from the parts before and after the ticket's number.
    pub(crate) fn new(before: &'static str, after: &'static str) -> Self {
        Self {
            before: before.to_owned(),
            after: after.to_owned(),
        }
    }

    /// Returns the path of one ticket.
    pub(crate) fn path(&self, id: RowId) -> PathAndQuery {
        PathAndQuery::try_from(format!("{}{id}{}", self.before, self.after))
            .expect("validated with another number when it was read")
    }
}

impl TryFrom<String> for TicketPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || {
            format!(
                r#"{text:?} is not a path with one {{id}} in it; expected one such as "/api/support-tickets/{{id}}""#
            )
        };
        let (before, after) = text.split_once("{id}").ok_or_else(wrong)?;
        if after.contains("{id}") || parse_path(&format!("{before}1{after}")).is_none() {
            return Err(wrong());
        }
        request_path::check_literal(&text, Some("{id}"))?;
        Ok(Self {
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }
}

/// The name of a user's own channel, with `{id}` in the place of the user's id.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct UserChannel {
    before: String,
    after: String,
}

impl UserChannel {
    /// Returns the channel of one user; none if the id has characters that no channel has.
    pub(super) fn of(&self, id: &UserId) -> Option<ChannelName> {
        format!("{}{id}{}", self.before, self.after).parse().ok()
    }

    /// Returns the user whose channel `name` is; none if it is no user's own.
    pub(super) fn user(&self, name: &ChannelName) -> Option<UserId> {
        let rest = name.as_str().strip_prefix(&*self.before)?;
        UserId::from_text(rest.strip_suffix(&*self.after)?)
    }
}

impl TryFrom<String> for UserChannel {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = || {
            format!(
                r#"{text:?} is not the name of a private channel with one {{id}} in it; expected one such as "private-App.Models.User.{{id}}""#
            )
        };
        let (before, after) = text.split_once("{id}").ok_or_else(wrong)?;
        let longest = format!("{before}{}{after}", "1".repeat(MAX_USER_ID_BYTES));
        // In some applications users choose their ids. Such a user would get any private channel
        // that is named after them.
        if format!("{before}{after}") == PRIVATE_PREFIX {
            return Err(format!(
                r#"{text:?} makes each private channel the own channel of the user with this id; expected more than the prefix and {{id}}, such as "private-user.{{id}}""#
            ));
        }
        // Every user may join a public channel, so it cannot be one user's own.
        if before.starts_with(PRIVATE_PREFIX) && longest.parse::<ChannelName>().is_ok() {
            Ok(Self {
                before: before.to_owned(),
                after: after.to_owned(),
            })
        } else {
            Err(wrong())
        }
    }
}

/// The prefix of the names of private channels.
const PRIVATE_PREFIX: &str = "private-";
/// The longest id of a user, see [`UserId`].
const MAX_USER_ID_BYTES: usize = 64;

/// Parses an absolute path; none if it is no valid one.
fn parse_path(text: &str) -> Option<PathAndQuery> {
    let path = PathAndQuery::try_from(text).ok()?;
    (text.starts_with('/') && path.as_str() == text).then_some(path)
}

/// The method of a request about a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum TicketMethod {
    /// `HEAD`, which saves the body.
    #[serde(rename = "HEAD")]
    Head,
    /// `GET`, for applications that do not route `HEAD`.
    #[serde(rename = "GET")]
    Get,
}

/// Returns the user's id, by the first of `pointers` that finds a value.
pub(super) fn find_id(pointers: &[JsonPointer], user: &serde_json::Value) -> Option<UserId> {
    pointers
        .iter()
        .find_map(|pointer| pointer.find(user))
        .and_then(UserId::from_json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticket_path_requires_exactly_one_id_placeholder() {
        let path = TicketPath::try_from("/t/{id}/see?x=1".to_owned()).unwrap();
        let id = "9999999999999999999".parse().unwrap();
        assert_eq!(path.path(id).as_str(), "/t/9999999999999999999/see?x=1");
        for wrong in ["", "/t", "t/{id}", "/t/{id}/{id}", "/t{id}\n", "/t/{id}#x"] {
            assert!(TicketPath::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn user_channel_is_private_and_has_one_id_placeholder() {
        let channel = |text: &str| UserChannel::try_from(text.to_owned());
        let of_user = channel("private-App.Models.User.{id}").unwrap();
        let name = |id: &str| of_user.of(&UserId::from_text(id).unwrap());
        let name = |id: &str| name(id).map(|name| name.to_string());
        assert_eq!(name("3").as_deref(), Some("private-App.Models.User.3"));
        assert_eq!(name("a b"), None);
        let user = |name: &str| of_user.user(&name.parse().unwrap());
        for id in ["3", "007", "ana"] {
            let own = format!("private-App.Models.User.{id}");
            assert_eq!(user(&own), UserId::from_text(id));
        }
        for other in ["private-App.Models.User.", "private-3", "news"] {
            assert_eq!(user(other), None, "{other}");
        }
        let long = format!("private-{{id}}{}", "x".repeat(129));
        for wrong in [
            "",
            "private-user",
            "user.{id}",
            "presence-user.{id}",
            "private{id}",
            "private-{id}",
            "{id}private-",
            "private-{id}.{id}",
            "private-a b.{id}",
            &long,
        ] {
            assert!(channel(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pointer_with_a_pattern_is_rejected() {
        assert!(JsonPointer::try_from("/roles/0/name".to_owned()).is_ok());
        for wrong in ["", "id", "/roles/*/name", "/**"] {
            assert!(JsonPointer::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn deny_rule_matches_users_with_a_listed_value() {
        let deny_if = DenyIf {
            pointer: JsonPointer("/status".to_owned()),
            values: vec![DeniedValue::Text("inactive".to_owned())],
        };
        assert!(deny_if.matches(&serde_json::json!({"status": "inactive"})));
        assert!(!deny_if.matches(&serde_json::json!({"status": "active"})));
        assert!(!deny_if.matches(&serde_json::json!({})));
    }
}
