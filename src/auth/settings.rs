//! `[auth]` of `config.toml`: how Laravel is asked.

use hyper::http::uri::PathAndQuery;
use serde::Deserialize;

use super::TokenForm;
use crate::core::ids::{RowId, UserId};
use crate::core::paths::{self, ExactPath};
use crate::core::units::{ConfigDuration, PositiveCount};

/// How Laravel is asked who somebody is and what he may see.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where Laravel tells who the bearer of a token is.
    pub user_path: UserPath,
    /// JSON pointers to the user's id in that answer; the first that is there counts.
    pub user_id: Vec<JsonPointer>,
    /// JSON pointers to the name that other users see.
    pub user_name: Vec<JsonPointer>,
    /// Which users are refused although Laravel knows them.
    pub deny_if: Option<DenyIf>,
    /// How much of a token the edge's own requests carry.
    pub token_form: TokenForm,
    /// Where a client logs out: once Laravel has answered `POST` there with
    /// 2xx, the bearer token's sessions are closed.
    pub logout_paths: Vec<ExactPath>,
    /// Where Laravel tells whether a ticket may be seen.
    pub ticket_path: TicketPath,
    /// How that is asked.
    pub ticket_method: TicketMethod,
    /// How long a question to Laravel may take; longer than anybody waits for
    /// it, so that a slow answer is there for those who come back.
    pub request_timeout: ConfigDuration,
    /// How long a client waits for an answer while Laravel cannot be asked.
    pub retry_timeout: ConfigDuration,
    /// How long an answer about a token is believed.
    pub user_ttl: ConfigDuration,
    /// How long a refused token stays refused without a new question.
    pub denied_ttl: ConfigDuration,
    /// How long an answer about a user and a ticket is believed.
    pub ticket_ttl: ConfigDuration,
    /// How many answers of each kind are remembered.
    pub max_cache_entries: PositiveCount,
    /// Questions about tokens at once.
    pub max_concurrent_user_requests: PositiveCount,
    /// Questions about tickets at once: as many as Laravel has workers.
    pub max_concurrent_ticket_requests: PositiveCount,
}

impl Default for Settings {
    fn default() -> Self {
        let pointers = |texts: [&str; 2]| texts.map(|text| JsonPointer(text.to_owned())).to_vec();
        Self {
            user_path: UserPath(PathAndQuery::from_static("/api/user")),
            user_id: pointers(["/userID", "/id"]),
            user_name: pointers(["/username", "/name"]),
            deny_if: None,
            token_form: TokenForm::Secret,
            logout_paths: vec![ExactPath::new("/api/logout")],
            ticket_path: TicketPath::new("/api/support-tickets/", ""),
            ticket_method: TicketMethod::Head,
            request_timeout: ConfigDuration::seconds(15),
            retry_timeout: ConfigDuration::seconds(5),
            user_ttl: ConfigDuration::seconds(60),
            denied_ttl: ConfigDuration::seconds(10),
            ticket_ttl: ConfigDuration::seconds(30),
            max_cache_entries: PositiveCount::new(20_000),
            max_concurrent_user_requests: PositiveCount::new(32),
            max_concurrent_ticket_requests: PositiveCount::new(4),
        }
    }
}

/// Users that Laravel answers for but that may not connect, such as those whose
/// `/status` is `inactive`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenyIf {
    /// Where to look in Laravel's answer.
    pub pointer: JsonPointer,
    /// Texts, numbers or booleans found there that refuse the user.
    pub values: Vec<DeniedValue>,
}

/// A value that refuses a user.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum DeniedValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

impl DenyIf {
    /// Whether `user`, as Laravel answered, is one of those.
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
pub struct JsonPointer(String);

impl JsonPointer {
    pub(super) fn find<'a>(&self, value: &'a serde_json::Value) -> Option<&'a serde_json::Value> {
        value.pointer(&self.0).filter(|found| !found.is_null())
    }
}

impl TryFrom<String> for JsonPointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // A list has numbers, and no object of Laravel's has such a key: what was meant
        // to refuse users would refuse nobody.
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

/// The path that tells who a token belongs to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct UserPath(PathAndQuery);

impl UserPath {
    pub(super) fn path(&self) -> PathAndQuery {
        self.0.clone()
    }
}

impl TryFrom<String> for UserPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        paths::check_literal(&text, None)?;
        parse_path(&text)
            .map(Self)
            .ok_or_else(|| format!(r#"{text:?} is not a path; expected one such as "/api/user""#))
    }
}

/// The path that tells whether a ticket may be seen, with `{id}` in it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct TicketPath {
    before: String,
    after: String,
}

impl TicketPath {
    /// For defaults: what comes before the ticket's number, and after it.
    pub(crate) fn new(before: &'static str, after: &'static str) -> Self {
        Self {
            before: before.to_owned(),
            after: after.to_owned(),
        }
    }

    /// The path for one ticket.
    pub fn path(&self, id: RowId) -> PathAndQuery {
        PathAndQuery::try_from(format!("{}{id}{}", self.before, self.after))
            .expect("was checked with another number when it was read")
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
        paths::check_literal(&text, Some("{id}"))?;
        Ok(Self {
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }
}

fn parse_path(text: &str) -> Option<PathAndQuery> {
    let path = PathAndQuery::try_from(text).ok()?;
    (text.starts_with('/') && path.as_str() == text).then_some(path)
}

/// How a ticket is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TicketMethod {
    /// Spares the body.
    #[serde(rename = "HEAD")]
    Head,
    /// For apps that do not route `HEAD`.
    #[serde(rename = "GET")]
    Get,
}

/// The user's id and name, as `pointers` find them.
pub(super) fn find_id(pointers: &[JsonPointer], user: &serde_json::Value) -> Option<UserId> {
    let mut found = pointers.iter().filter_map(|pointer| pointer.find(user));
    found.next().and_then(UserId::from_json)
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
