//! Encodes publications as the frames that Pusher clients get.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Bytes;

use super::event::to_text;
use crate::core::ids::RoomName;
use crate::rooms::{EventKind, PresentUser, Publication};
use crate::ws::protocol;
use crate::ws::text_frame::text_frame;

/// Returns the encoded frame of a publication, head and text.
pub(in crate::ws::pusher) fn frame(publication: &Publication) -> Bytes {
    text_frame(&text(publication))
}

/// An event of the edge's own protocol, which is also the form of a broadcast.
#[derive(Deserialize)]
struct OwnEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: &'a RawValue,
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Serialize)]
struct Member<'a> {
    user_id: Arc<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_info: Option<&'a RawValue>,
}

/// The event of a client. Its data is JSON, as the client has sent it.
#[derive(Serialize)]
struct ClientEvent<'a> {
    event: &'a str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a RawValue>,
}

/// Returns the text of a publication: its type is the event, and its payload, as it is, the
/// data. Presence has events of the protocol.
fn text(publication: &Publication) -> String {
    let channel: Cow<'_, str> = match publication.room() {
        RoomName::Channel(name) => name.as_str().into(),
        // No Pusher client is in the room of a ticket.
        RoomName::Ticket(_) => publication.room().to_string().into(),
    };
    match publication.kind() {
        EventKind::UserJoined(user) => {
            let user_info = user.info().map(|info| &**info);
            event(
                r#""pusher_internal:member_added""#,
                &channel,
                &member(user, user_info),
            )
        }
        EventKind::UserLeft(user) => event(
            r#""pusher_internal:member_removed""#,
            &channel,
            &member(user, None),
        ),
        EventKind::Client { event, data, user } => to_text(&ClientEvent {
            event,
            channel: &channel,
            data: data.as_deref(),
            user_id: user.as_deref(),
        }),
        EventKind::Broadcast(text) => own_event(text, &channel),
        _ => own_event(&protocol::publication_text(publication), &channel),
    }
}

fn member(user: &PresentUser, user_info: Option<&RawValue>) -> String {
    let user_id = user.id_json();
    to_text(&Member { user_id, user_info })
}

/// Converts an event of the edge's own protocol.
fn own_event(text: &str, channel: &str) -> String {
    let event_of: OwnEvent<'_> =
        serde_json::from_str(text).expect("the edge has written both fields itself");
    event(event_of.kind.get(), channel, event_of.payload.get())
}

/// Returns the text of an event whose name is the JSON `name`, and whose data is the text
/// `data`. The name of a channel needs no escapes.
fn event(name: &str, channel: &str, data: &str) -> String {
    let data = to_text(&data);
    format!(r#"{{"event":{name},"channel":"{channel}","data":{data}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rooms::Audience;

    fn text_of(kind: EventKind) -> String {
        let room = RoomName::Channel("presence-a".parse().unwrap());
        text(&Publication::new(room, kind, Audience::All))
    }

    #[test]
    fn payload_of_a_broadcast_becomes_data_byte_for_byte() {
        let payload = r#"{ "n":1.10,"s":"\u00e9 é \"😀\"" }"#;
        let broadcast =
            format!(r#"{{"type":"App\\Events\\A","payload":{payload},"channel":"presence-a"}}"#);
        let text = text_of(EventKind::Broadcast(broadcast));
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["event"], r"App\Events\A");
        assert_eq!(event["channel"], "presence-a");
        assert_eq!(event["data"], payload);
    }

    #[test]
    fn presence_events_are_encoded_as_pusher_js_reads_them() {
        let user = PresentUser::signed(r#"{"user_id":"42","user_info":{"n":1.10}}"#);
        assert_eq!(
            text_of(EventKind::UserJoined(user.clone())),
            r#"{"event":"pusher_internal:member_added","channel":"presence-a","data":"{\"user_id\":\"42\",\"user_info\":{\"n\":1.10}}"}"#
        );
        assert_eq!(
            text_of(EventKind::UserLeft(user)),
            r#"{"event":"pusher_internal:member_removed","channel":"presence-a","data":"{\"user_id\":\"42\"}"}"#
        );
    }
}
