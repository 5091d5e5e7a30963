//! Commands that inspect rooms and sessions, or act on them.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::args::{Edge, RoomKind};
use super::control_client::ControlClient;
use super::{Failure, counted, list, plain, print};
use crate::core::ids::{RoomName, UserId};

/// Prints the rooms and their session counts: `pwd-edge rooms`.
///
/// # Errors
/// The edge is unreachable or rejects the request, or standard output is closed.
pub(super) fn rooms(edge: &Edge) -> Result<(), Failure> {
    let response = get(edge, "/rooms")?;
    report(edge, &response, |response| {
        let mut lines = vec![counted(&response["total"], "room")];
        lines.extend(list(&response["rooms"]).iter().map(|room| {
            let (name, sessions) = (plain(&room["room"]), &room["sessions"]);
            format!("  {name:<24} {}", counted(sessions, "session"))
        }));
        lines
    })
}

/// Prints the users in one room: `pwd-edge room ticket 123`.
///
/// # Errors
/// `name` names no room of this kind, the edge is unreachable or rejects the request, or
/// standard output is closed.
pub(super) fn room(edge: &Edge, kind: RoomKind, name: &str) -> Result<(), Failure> {
    let room = kind.room(name).map_err(Failure::usage)?;
    let response = get(edge, &format!("/rooms/{room}"))?;
    report(edge, &response, |response| {
        let (name, sessions) = (plain(&response["room"]), &response["sessions"]);
        let mut lines = vec![format!("{name}: {}", counted(sessions, "session"))];
        lines.extend(list(&response["users"]).iter().map(|user| {
            let (id, name) = (plain(&user["user_id"]), plain(&user["user_name"]));
            format!("  user {id:<12} {name}")
        }));
        lines
    })
}

/// Explains the access of a user to a room: `pwd-edge explain --user 5 --ticket 123`.
///
/// # Errors
/// The edge is unreachable or rejects the request, or standard output is closed.
pub(super) fn explain(edge: &Edge, user: &UserId, room: &RoomName) -> Result<(), Failure> {
    let path = format!("/users/{}/{room}", encode(user));
    let response = get(edge, &path)?;
    report(edge, &response, explanation)
}

/// Returns the lines that `explain` prints for a response.
fn explanation(response: &Value) -> Vec<String> {
    let line = |name: &str, value: String| format!("  {name:<12} {value}");
    let is = if response["in_room"] == true {
        "is"
    } else {
        "is not"
    };
    let (user, room) = (plain(&response["user_id"]), plain(&response["room"]));
    let mut lines = vec![format!("user {user} {is} in the room {room}")];
    let sessions = list(&response["sessions"]);
    lines.extend(sessions.iter().map(|one| line("session", session(one))));
    if sessions.is_empty() {
        lines.push(line("session", "none is open".to_owned()));
    }
    let decision = &response["cached_decision"];
    let seconds = &decision["expires_in_seconds"];
    lines.push(line(
        "access",
        match decision["allowed"].as_bool() {
            None => "no decision of Laravel is cached".to_owned(),
            Some(true) => format!("Laravel allows it; cached for {seconds} s more"),
            Some(false) => format!("Laravel denies it; cached for {seconds} s more"),
        },
    ));
    if let Some(denial) = response["last_denial"].as_object() {
        let (at, reason) = (plain(&denial["at"]), plain(&denial["reason"]));
        lines.push(line("last denial", format!("{at} {reason}")));
    }
    lines
}

/// Returns one session of a user as a line of `explain`.
fn session(session: &Value) -> String {
    let rooms: Vec<_> = list(&session["rooms"]).iter().map(plain).collect();
    let rooms = if rooms.is_empty() {
        "no rooms".to_owned()
    } else {
        rooms.join(", ")
    };
    format!(
        "{} from {}: open for {} s, {}, in {rooms}",
        plain(&session["session_id"]),
        plain(&session["client_ip"]),
        session["open_seconds"],
        counted(&session["queued_events"], "queued event"),
    )
}

/// Closes all sessions of a user: `pwd-edge disconnect --user 5`.
///
/// # Errors
/// The edge is unreachable or rejects the request, or standard output is closed.
pub(super) fn disconnect(edge: &Edge, user: &UserId) -> Result<(), Failure> {
    let path = format!("/users/{}/disconnect", encode(user));
    let response = post(edge, &path, String::new())?;
    report(edge, &response, |response| {
        vec![format!(
            "closed {}",
            counted(&response["sessions"], "session")
        )]
    })
}

/// Sends an event to a room:
/// `pwd-edge publish --ticket 123 --type new_message --payload '{}'`.
///
/// # Errors
/// The payload is not a JSON object, the edge is unreachable or rejects the event, or
/// standard output is closed.
pub(super) fn publish(
    edge: &Edge,
    room: &RoomName,
    kind: &str,
    payload: &str,
) -> Result<(), Failure> {
    let mut payload: Value = serde_json::from_str(payload)
        .map_err(|error| Failure::usage(anyhow!("--payload is not JSON: {error}")))?;
    let Some(fields) = payload.as_object_mut() else {
        let error = anyhow!("--payload is not a JSON object such as {{\"message\":\"x\"}}");
        return Err(Failure::usage(error));
    };
    let event = match room {
        RoomName::Ticket(id) => {
            fields.insert("ticket_id".to_owned(), json!(id.get()));
            json!({ "type": kind, "payload": payload })
        }
        RoomName::Channel(name) => {
            json!({ "type": kind, "payload": payload, "channels": [name] })
        }
    };
    let response = post(edge, "/broadcast", event.to_string())?;
    report(edge, &response, |response| {
        let sessions = counted(&response["sessions"], "session");
        vec![format!("delivered to {sessions}")]
    })
}

/// Returns the user id percent-encoded as one path segment (RFC 3986, section 2.1).
fn encode(user: &UserId) -> String {
    let text = user.to_string();
    percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Sends `GET path` to the edge and returns the JSON body of the response.
///
/// # Errors
/// The edge is unreachable or rejects the request.
fn get(edge: &Edge, path: &str) -> Result<Value, Failure> {
    let response = ControlClient::new(edge)?.get(path);
    response.map_err(|failure| report_failure(edge, failure))
}

/// Sends `POST path` with a JSON body to the edge and returns the JSON body of the response.
///
/// # Errors
/// The edge is unreachable or rejects the request.
fn post(edge: &Edge, path: &str, json: String) -> Result<Value, Failure> {
    let response = ControlClient::new(edge)?.post(path, json);
    response.map_err(|failure| report_failure(edge, failure))
}

/// Prints the cause of a failed request as JSON with `--json`, and returns the failure without
/// it. Otherwise leaves the cause in the failure.
fn report_failure(edge: &Edge, failure: Failure) -> Failure {
    if !edge.json {
        return failure;
    }
    let (cause, failure) = failure.take_cause();
    // Ignored: the exit code reports the failure all the same.
    let _ = print(&json!({ "error": cause }).to_string());
    failure
}

/// Prints the response as JSON with `--json`, else as the text that `lines` returns.
///
/// # Errors
/// Standard output cannot be written.
fn report(
    edge: &Edge,
    response: &Value,
    lines: impl FnOnce(&Value) -> Vec<String>,
) -> Result<(), Failure> {
    let text = if edge.json {
        response.to_string()
    } else {
        lines(response).join("\n")
    };
    print(&text).map_err(Failure::unreachable)
}
