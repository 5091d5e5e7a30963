//! Bodies of Laravel's requests on the Unix socket.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pwd_edge::control::decode;
use pwd_edge::rooms::Broadcast;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published<'a> {
    #[serde(rename = "type")]
    _kind: String,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(rename = "channel")]
    _channel: Option<String>,
}

fuzz_target!(|body: &[u8]| {
    match decode(body, MAX_EVENTS) {
        Ok(broadcasts) => {
            assert!((1..=MAX_EVENTS).contains(&broadcasts.list.len()));
            for broadcast in broadcasts.list {
                check(broadcast, body);
            }
        }
        Err(mistake) => {
            assert!(!mistake.message.is_empty(), "{mistake:?}");
            assert!(
                mistake.index.is_none_or(|index| index < MAX_EVENTS),
                "{mistake:?}"
            );
        }
    }
});

/// One event with two members, or three in a channel, its payload as Laravel wrote it.
fn check(broadcast: Broadcast, body: &[u8]) {
    let text = broadcast.text;
    let published: Published<'_> = serde_json::from_str(&text).expect("a publication is JSON");
    let payload = published.payload.get().as_bytes();
    assert!(payload.starts_with(b"{"), "{text}");
    let mut places = body.windows(payload.len());
    assert!(places.any(|place| place == payload), "{text} was rewritten");
}

const MAX_EVENTS: usize = 8;
