//! Commands that look into rooms and sessions, and act on them.

use std::path::Path;

use serde_json::{Value, json};

use super::control_client::ControlClient;
use super::{Failure, plain, print};
use crate::core::ids::{RowId, UserId};

/// `pwd-edge rooms`
pub(super) fn rooms(path: &Path) -> Result<(), Failure> {
    let answer = ControlClient::from_config(path)?.get("/rooms")?;
    let rooms = answer["rooms"].as_array().into_iter().flatten();
    let mut lines = vec![format!("{} rooms", answer["total"])];
    lines.extend(rooms.map(|room| {
        format!(
            "  {:<24} {} sessions",
            plain(&room["room"]),
            room["sessions"]
        )
    }));
    print_lines(&lines)
}

/// `pwd-edge room ticket 123`
pub(super) fn room(path: &Path, ticket: RowId) -> Result<(), Failure> {
    let answer = ControlClient::from_config(path)?.get(&format!("/rooms/ticket/{ticket}"))?;
    let users = answer["users"].as_array().into_iter().flatten();
    let mut lines = vec![format!(
        "{}: {} sessions",
        plain(&answer["room"]),
        answer["sessions"]
    )];
    lines.extend(users.map(|user| {
        format!(
            "  user {:<12} {}",
            plain(&user["user_id"]),
            plain(&user["user_name"])
        )
    }));
    print_lines(&lines)
}

/// `pwd-edge why --user 5 --ticket 123`
pub(super) fn why(path: &Path, user: &UserId, ticket: RowId) -> Result<(), Failure> {
    let path_of = format!("/users/{}/ticket/{ticket}", encoded(user));
    let answer = ControlClient::from_config(path)?.get(&path_of)?;
    let is = if answer["in_room"] == true {
        "is"
    } else {
        "is not"
    };
    let mut lines = vec![format!(
        "user {} {is} in {}",
        plain(&answer["user_id"]),
        plain(&answer["room"])
    )];
    for session in answer["sessions"].as_array().into_iter().flatten() {
        let rooms: Vec<_> = session["rooms"]
            .as_array()
            .into_iter()
            .flatten()
            .map(plain)
            .collect();
        lines.push(format!(
            "  session {} from {}, open {} s, {} events waiting, in: {}",
            plain(&session["session_id"]),
            plain(&session["client_ip"]),
            session["open_seconds"],
            session["queued_events"],
            rooms.join(", ")
        ));
    }
    if answer["sessions"].as_array().is_none_or(Vec::is_empty) {
        lines.push("  no session is open".to_owned());
    }
    match &answer["cached_decision"] {
        Value::Null => lines.push("  Laravel has not been asked lately".to_owned()),
        known => {
            let said = if known["allowed"] == true {
                "yes"
            } else {
                "no"
            };
            lines.push(format!(
                "  Laravel said {said}; believed for {} s more",
                known["expires_in_seconds"]
            ));
        }
    }
    if let Some(denial) = answer["last_denial"].as_object() {
        let (at, reason) = (plain(&denial["at"]), plain(&denial["reason"]));
        lines.push(format!("  last refused at {at}: {reason}"));
    }
    print_lines(&lines)
}

/// `pwd-edge disconnect --user 5`
pub(super) fn disconnect(path: &Path, user: &UserId) -> Result<(), Failure> {
    let socket = ControlClient::from_config(path)?;
    let answer = socket.post(
        &format!("/users/{}/disconnect", encoded(user)),
        String::new(),
    )?;
    print_lines(&[format!("{} sessions were closed", answer["sessions"])])
}

/// `pwd-edge publish --ticket 123 --type new_message --payload '{}'`
pub(super) fn publish(
    path: &Path,
    ticket: RowId,
    kind: &str,
    payload: &str,
) -> Result<(), Failure> {
    let mut payload: Value = serde_json::from_str(payload)
        .map_err(|error| Failure::usage(anyhow::anyhow!("--payload is no JSON: {error}")))?;
    let Some(fields) = payload.as_object_mut() else {
        let error = anyhow::anyhow!("--payload is no JSON object, such as {{\"message\":\"x\"}}");
        return Err(Failure::usage(error));
    };
    fields.insert("ticket_id".to_owned(), json!(ticket.get()));
    let event = json!({ "type": kind, "payload": payload });
    let answer = ControlClient::from_config(path)?.post("/broadcast", event.to_string())?;
    print_lines(&[format!("{} sessions got it", answer["sessions"])])
}

fn encoded(user: &UserId) -> String {
    let text = user.to_string();
    percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn print_lines(lines: &[String]) -> Result<(), Failure> {
    print(&lines.join("\n")).map_err(Failure::unreachable)
}
