//! Tests of the decoding.

use proptest::prelude::*;

use super::*;

fn one(body: &str) -> Result<Broadcast, DecodeError> {
    let mut broadcasts = decode(body.as_bytes(), 100)?;
    assert!(!broadcasts.is_array && broadcasts.list.len() == 1);
    Ok(broadcasts.list.remove(0))
}

#[test]
fn payload_bytes_are_passed_unchanged() {
    let payload =
        r#"{"ticket_id":123, "n":1.10e2,"big":12345678901234567890123,"s":"\u00e9 é \/"}"#;
    let body = format!(r#"{{ "payload" : {payload}, "type":"new_message" }}"#);
    let broadcast = one(&body).unwrap();
    assert_eq!(
        broadcast.text,
        format!(r#"{{"type":"new_message","payload":{payload}}}"#)
    );
    assert_eq!(broadcast.room.to_string(), "ticket/123");
    assert_eq!(broadcast.audience, Audience::All);
}

#[test]
fn event_of_channels_goes_to_each_of_them_once() {
    let body = r#"{"type":"a","payload":{"n": 1.0},"channels":["private-x","y","private-x"],"except":"1.2"}"#;
    let broadcasts = decode(body.as_bytes(), 2).unwrap();
    let names = ["private-x", "y"].map(|name| name.parse().unwrap());
    assert_eq!(broadcasts.targets, [Target::Channels(names.to_vec())]);
    let list = broadcasts.list.iter();
    let list: Vec<_> = list
        .map(|event| (event.room.to_string(), &*event.text))
        .collect();
    assert_eq!(
        list,
        [
            (
                "channel/private-x".to_owned(),
                r#"{"type":"a","payload":{"n": 1.0},"channel":"private-x"}"#
            ),
            (
                "channel/y".to_owned(),
                r#"{"type":"a","payload":{"n": 1.0},"channel":"y"}"#
            ),
        ]
    );
    let audience = Audience::AllBut("1.2".parse().unwrap());
    assert!(
        broadcasts
            .list
            .iter()
            .all(|event| event.audience == audience)
    );
    assert_eq!(decode(body.as_bytes(), 1).unwrap_err().code, "wrong_count");
}

/// A body, the code of its error, and the pointer to its field.
const MISTAKES: &[(&str, &str, Option<&str>)] = &[
    ("", "invalid_json", None),
    ("7", "invalid_json", None),
    ("{", "invalid_json", None),
    (
        r#"{"type":"a","payload":{"ticket_id":1}} x"#,
        "invalid_json",
        None,
    ),
    (
        r#"{"type":"a","payload":{"ticket_id":1},"for":"all"}"#,
        "invalid_json",
        None,
    ),
    (
        r#"{"type":"a","payload":{"ticket_id":1},"to":"all"}"#,
        "invalid_event",
        Some("/to"),
    ),
    (
        r#"{"payload":{"ticket_id":1}}"#,
        "invalid_event",
        Some("/type"),
    ),
    (
        r#"{"type":"","payload":{"ticket_id":1}}"#,
        "invalid_event",
        Some("/type"),
    ),
    (
        r#"{"type":7,"payload":{"ticket_id":1}}"#,
        "invalid_event",
        Some("/type"),
    ),
    (r#"{"type":"a"}"#, "invalid_event", Some("/payload")),
    (
        r#"{"type":"a","payload":[]}"#,
        "invalid_event",
        Some("/payload"),
    ),
    (
        r#"{"type":"a","payload":{}}"#,
        "invalid_event",
        Some("/payload/ticket_id"),
    ),
    (
        r#"{"type":"a","payload":{"ticket_id":0}}"#,
        "invalid_event",
        Some("/payload/ticket_id"),
    ),
    (
        r#"{"type":"a","payload":{"ticket_id":"1;2"}}"#,
        "invalid_event",
        Some("/payload/ticket_id"),
    ),
    (
        r#"{"type":"a","payload":{"ticket_id":1,"ticket_id":2}}"#,
        "invalid_event",
        Some("/payload"),
    ),
    (
        r#"{"type":"a","payload":{},"channels":[]}"#,
        "invalid_event",
        Some("/channels"),
    ),
    (
        r#"{"type":"a","payload":{},"channels":"x"}"#,
        "invalid_event",
        Some("/channels"),
    ),
    (
        r#"{"type":"a","payload":{},"channels":["x","a b"]}"#,
        "invalid_event",
        Some("/channels"),
    ),
    (
        r#"{"type":"a","channels":["x"]}"#,
        "invalid_event",
        Some("/payload"),
    ),
    (
        r#"{"type":"a","payload":{"ticket_id":1},"except":"x"}"#,
        "invalid_event",
        Some("/except"),
    ),
    (
        r#"{"type":"a","payload":{"ticket_id":1},"except":7}"#,
        "invalid_event",
        Some("/except"),
    ),
    (
        r#"{"type":"a","payload":{"ticket_id":1},"except":"1.2","except_user":[3]}"#,
        "invalid_event",
        Some("/except_user"),
    ),
];

#[test]
fn decode_error_names_its_code_and_field() {
    for &(body, code, pointer) in MISTAKES {
        let mistake = one(body).unwrap_err();
        assert_eq!((mistake.code, mistake.pointer), (code, pointer), "{body}");
    }
    assert_eq!(decode(b"\xff", 100).unwrap_err().code, "invalid_json");
}

#[test]
fn batch_with_an_invalid_event_is_rejected_whole() {
    let good = r#"{"type":"a","payload":{"ticket_id":1}}"#;
    let mistake = decode(format!("[{good},{{}}]").as_bytes(), 100).unwrap_err();
    assert_eq!((mistake.index, mistake.pointer), (Some(1), Some("/type")));
    let broadcasts = decode(format!("[{good},{good}]").as_bytes(), 2).unwrap();
    assert!(broadcasts.is_array && broadcasts.list.len() == 2);
    for wrong in ["[]".to_owned(), format!("[{good},{good},{good}]")] {
        assert_eq!(decode(wrong.as_bytes(), 2).unwrap_err().code, "wrong_count");
    }
}

proptest! {
    #[test]
    fn decode_of_arbitrary_bytes_never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&body, 100);
    }
}
