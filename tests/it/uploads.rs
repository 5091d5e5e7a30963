//! Attachments over the WebSocket: what reaches Laravel is the file, byte for
//! byte and once, or nothing that counts.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::sending::{CHUNK, Sending, ended, frame};
use crate::support::{Edge, Laravel, Socket};

mod memory;

const MIB: usize = 1024 * 1024;

/// A file in which each place is another.
fn file(size: usize) -> Vec<u8> {
    (0u32..)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .take(size)
        .collect()
}

fn start(id: &str, size: usize) -> Value {
    json!({ "type": "upload_start", "payload": {
        "upload_id": id, "ticket_id": 1, "name": "dot.png", "size": size, "mime": "image/png",
    }})
}

async fn failed(socket: &mut Socket, code: &str) -> Value {
    let event = ended(socket).await;
    assert_eq!(event["type"], "upload_failed", "{event}");
    assert_eq!(event["payload"]["code"], code, "{event}");
    event
}

async fn ana() -> (Laravel, Edge, Socket) {
    with("").await
}

async fn with(more: &str) -> (Laravel, Edge, Socket) {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), more);
    let socket = Socket::joined(&edge, "3|ana", 1).await;
    (laravel, edge, socket)
}

#[tokio::test]
async fn a_file_arrives_byte_for_byte_whatever_its_size() {
    let (laravel, _edge, mut socket) = ana().await;
    for size in [
        0,
        1,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        6 * CHUNK,
        6 * CHUNK + 1,
        10 * MIB,
    ] {
        let file = file(size);
        let mut sending = Sending::begin(&mut socket, start("a", size)).await;
        sending.until(&mut socket, &file, size).await;
        let done = ended(&mut socket).await;
        assert_eq!(done["type"], "upload_done", "{size}: {done}");
        assert_eq!(done["payload"]["upload_id"], "a");
        assert_eq!(done["payload"]["status"], 201);
        assert_eq!(done["payload"]["response"]["ticket_message"]["id"], 14);
        let post = laravel.posts().next().await;
        assert!(post.file() == file, "{size}");
    }
}

#[tokio::test]
async fn laravel_is_asked_as_the_user_with_message_and_name() {
    let (laravel, _edge, mut socket) = ana().await;
    let name = "Liham ng \"Pagpapatunay\"; para kay Ñoño 📎🎉.jpg";
    let payload = json!({
        "upload_id": "0b9c-1", "ticket_id": "1", "name": name, "size": 3,
        "message": "Narito po ang larawan\r\n--x--",
    });
    let start = json!({ "type": "upload_start", "payload": payload });
    let mut sending = Sending::begin(&mut socket, start).await;
    sending.until(&mut socket, b"abc", 3).await;
    assert_eq!(ended(&mut socket).await["type"], "upload_done");
    let post = laravel.posts().next().await;
    assert_eq!(post.target, "/api/support-tickets/1/messages");
    let header = |name: &str| post.headers[name].to_str().unwrap();
    assert_eq!(header("authorization"), "Bearer ana");
    assert_eq!(header("accept"), "application/json");
    assert_eq!(header("host"), "localhost");
    assert_eq!(header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(header("x-forwarded-proto"), "https");
    // It is the user's own, so it counts against their throttle.
    assert!(!post.headers.contains_key("x-edge-request"));
    assert!(
        !post
            .headers
            .values()
            .any(|value| value.as_bytes().contains(&b'|'))
    );
    let fields = post.fields();
    assert_eq!(fields.len(), 2);
    assert_eq!(
        fields[0].head,
        "Content-Disposition: form-data; name=\"message\""
    );
    assert_eq!(fields[0].data, b"Narito po ang larawan\r\n--x--");
    let quoted = name.replace('"', "\\\"");
    assert_eq!(
        fields[1].head,
        format!(
            "Content-Disposition: form-data; name=\"attachment\"; filename=\"{quoted}\"\r\n\
             Content-Type: application/octet-stream"
        )
    );
    assert_eq!(fields[1].data, b"abc");
}

#[tokio::test]
async fn a_name_reaches_laravel_without_what_turns_text_and_what_nobody_sees() {
    let (laravel, _edge, mut socket) = ana().await;
    let mut say = start("a", 1);
    say["payload"]["name"] =
        json!("\u{200e}gnp\u{202e}\u{61c}e\u{200b}xe\u{200f} می\u{200c}خواهم.png");
    let mut sending = Sending::begin(&mut socket, say).await;
    sending.until(&mut socket, b"x", 1).await;
    assert_eq!(ended(&mut socket).await["type"], "upload_done");
    let head = laravel.posts().next().await.fields().remove(0).head;
    let name = "filename=\"gnpexe می\u{200c}خواهم.png\"\r\n";
    assert!(head.contains(name), "{head:?}");
}

#[tokio::test]
async fn path_and_fields_are_the_sysadmins() {
    let more = "[websocket.uploads]\npath = \"/api/support-tickets/{id}/messages?v=2\"\n\
                file_field = \"file\"\nmessage_field = \"text\"\n";
    let (laravel, _edge, mut socket) = with(more).await;
    let mut say = start("a", 1);
    say["payload"]["message"] = json!("hello");
    Sending::begin(&mut socket, say)
        .await
        .until(&mut socket, b"x", 1)
        .await;
    assert_eq!(ended(&mut socket).await["type"], "upload_done");
    let post = laravel.posts().next().await;
    assert_eq!(post.target, "/api/support-tickets/1/messages?v=2");
    let fields = post.fields();
    assert!(fields[0].head.ends_with("name=\"text\""));
    assert!(fields[1].head.contains("name=\"file\"; "));
}

#[tokio::test]
async fn what_can_be_known_is_refused_at_once() {
    let (laravel, _edge, mut socket) = ana().await;
    let long = "x".repeat(300);
    for (field, value, code) in [
        ("ticket_id", json!(2), "not_in_room"),
        ("size", json!(10 * MIB + 1), "too_large"),
        ("size", json!(u64::MAX), "too_large"),
        ("name", json!(""), "bad_name"),
        ("name", json!(long), "bad_name"),
        ("name", json!("../../etc/passwd"), "bad_name"),
        ("name", json!("..\\x"), "bad_name"),
        (
            "name",
            json!("a\r\nX-Injected: yes\r\n\r\n.png"),
            "bad_name",
        ),
        ("name", json!("a\u{0}.png"), "bad_name"),
        ("mime", json!("image/png\r\nX-Injected: yes"), "bad_type"),
    ] {
        let mut wrong = start("a", 5);
        wrong["payload"][field] = value;
        socket.send(wrong).await;
        let event = failed(&mut socket, code).await;
        assert_eq!(event["payload"]["upload_id"], "a");
    }
    for (field, value) in [
        ("size", json!(-1)),
        ("upload_id", json!("a b")),
        ("name", json!(7)),
    ] {
        let mut wrong = start("a", 5);
        wrong["payload"][field] = value;
        socket.send(wrong).await;
        assert_eq!(socket.next().await["payload"]["code"], "invalid_payload");
    }
    assert_eq!(socket.settle().await, Vec::<Value>::new());
    assert_eq!(laravel.posts().begun(), 0);
}

/// Each ends its upload with a code, leaves the session and the next upload
/// alone, and what reached Laravel is no whole request.
#[tokio::test]
async fn wrong_bytes_end_the_upload_and_nothing_else() {
    let (laravel, _edge, mut socket) = ana().await;
    let file = file(3 * CHUNK);
    for (offset, bytes, code) in [
        (0, CHUNK, "wrong_offset"),
        (2 * CHUNK, CHUNK, "wrong_offset"),
        (CHUNK + 1, CHUNK, "wrong_offset"),
        (CHUNK, CHUNK - 1, "too_little"),
        (CHUNK, CHUNK + 1, "too_much"),
        (3 * CHUNK, 1, "too_much"),
        (usize::MAX, 1, "too_much"),
    ] {
        let mut sending = Sending::begin(&mut socket, start("a", file.len())).await;
        sending.chunk(&mut socket, &file).await;
        // Laravel has some of it.
        laravel.posts().bytes(1).await;
        let wrong = frame(sending.upload, offset, &file[..bytes]);
        socket.0.send(wrong).await.unwrap();
        failed(&mut socket, code).await;
        // What is on its way still is passed over.
        sending.chunk(&mut socket, &file).await;
        assert_eq!(socket.settle().await, Vec::<Value>::new());
        let post = laravel.posts().next().await;
        assert!(!post.whole && post.body.len() < file.len(), "{offset}");
    }
    let mut sending = Sending::begin(&mut socket, start("a", file.len())).await;
    sending.until(&mut socket, &file, file.len()).await;
    assert_eq!(ended(&mut socket).await["type"], "upload_done");
    assert!(laravel.posts().next().await.file() == file);
}

#[tokio::test]
async fn a_chunk_of_no_upload_is_told() {
    let (laravel, _edge, mut socket) = ana().await;
    for (wrong, code) in [
        (Message::binary(Vec::new()), "invalid_chunk"),
        (
            Message::binary(b"{\"type\":\"ping\"}".to_vec()),
            "invalid_chunk",
        ),
        (frame(1, 0, b""), "invalid_chunk"),
        // Before it is ready nobody knows its number.
        (frame(1, 0, b"x"), "unknown_upload"),
        (frame(0, 0, b"x"), "unknown_upload"),
    ] {
        socket.0.send(wrong).await.unwrap();
        let event = socket.next().await;
        assert_eq!(event["type"], "error");
        assert_eq!(event["payload"]["code"], code, "{event}");
    }
    for kind in ["upload_resume", "upload_cancel"] {
        socket
            .send(json!({ "type": kind, "payload": { "upload_id": "a" } }))
            .await;
        failed(&mut socket, "unknown_upload").await;
    }
    assert_eq!(laravel.posts().begun(), 0);
}

#[tokio::test]
async fn an_id_stands_for_one_upload_and_each_user_has_his_own() {
    let (laravel, edge, mut socket) = ana().await;
    let mut sending = Sending::begin(&mut socket, start("a", 1)).await;
    socket.send(start("a", 2)).await;
    let event = socket.next().await;
    assert_eq!(event["type"], "error");
    assert_eq!(event["payload"]["code"], "duplicate_upload");
    assert_eq!(event["payload"]["upload_id"], "a");
    // Nobody else sees it, and may call his own the same.
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    for kind in ["upload_resume", "upload_cancel"] {
        desk.send(json!({ "type": kind, "payload": { "upload_id": "a" } }))
            .await;
        failed(&mut desk, "unknown_upload").await;
    }
    let mut theirs = Sending::begin(&mut desk, start("a", 1)).await;
    theirs.until(&mut desk, b"d", 1).await;
    assert_eq!(ended(&mut desk).await["type"], "upload_done");
    assert_eq!(laravel.posts().next().await.file(), b"d");
    sending.until(&mut socket, b"a", 1).await;
    assert_eq!(
        socket.until("upload_done").await["payload"]["upload_id"],
        "a"
    );
    assert_eq!(laravel.posts().next().await.file(), b"a");
}

#[tokio::test]
async fn who_sends_more_than_the_window_is_told() {
    let (laravel, _edge, mut socket) = ana().await;
    laravel.posts().leave_unread();
    let file = file(10 * MIB);
    let mut sending = Sending::begin(&mut socket, start("a", file.len())).await;
    // What the kernel takes is passed on; then the window is what is left.
    let mut left = 0;
    let event = loop {
        sending.chunk(&mut socket, &file).await;
        let before = socket.settle().await;
        for event in &before {
            left = left.max(event["payload"]["received"].as_u64().unwrap_or(0));
        }
        if let Some(event) = before.iter().find(|it| it["type"] == "upload_failed") {
            break event.clone();
        }
    };
    // One chunk too many, and not one more is ever held.
    let held = sending.offset - usize::try_from(left).unwrap();
    assert_eq!(held, 6 * CHUNK + CHUNK);
    assert_eq!(event["payload"]["code"], "too_fast");
    assert!(sending.offset < 9 * MIB, "{}", sending.offset);
    assert_eq!(socket.settle().await, Vec::<Value>::new());
}

#[tokio::test]
async fn several_uploads_at_once_are_bounded() {
    let more = "[websocket.uploads]\nmax_per_session = 2\nmax_per_user = 3\nmax_concurrent = 4\n";
    let (laravel, edge, mut socket) = with(more).await;
    let mut first = Sending::begin(&mut socket, start("1", 1)).await;
    Sending::begin(&mut socket, start("2", 1)).await;
    socket.send(start("3", 1)).await;
    failed(&mut socket, "too_many_uploads").await;
    let mut tab = Socket::joined(&edge, "3|ana", 1).await;
    Sending::begin(&mut tab, start("3", 1)).await;
    tab.send(start("4", 1)).await;
    failed(&mut tab, "too_many_uploads").await;
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    Sending::begin(&mut desk, start("1", 1)).await;
    desk.send(start("2", 1)).await;
    failed(&mut desk, "too_many_uploads").await;
    first.until(&mut socket, b"x", 1).await;
    assert_eq!(
        socket.until("upload_done").await["payload"]["upload_id"],
        "1"
    );
    assert_eq!(laravel.posts().next().await.file(), b"x");
    Sending::begin(&mut desk, start("2", 1)).await;
}

#[tokio::test]
async fn a_cancelled_upload_is_no_whole_request() {
    let (laravel, _edge, mut socket) = ana().await;
    let file = file(3 * CHUNK);
    let mut sending = Sending::begin(&mut socket, start("a", file.len())).await;
    sending.chunk(&mut socket, &file).await;
    laravel.posts().bytes(CHUNK).await;
    socket
        .send(json!({ "type": "upload_cancel", "payload": { "upload_id": "a" } }))
        .await;
    failed(&mut socket, "cancelled").await;
    assert!(!laravel.posts().next().await.whole);
    socket
        .send(json!({ "type": "upload_resume", "payload": { "upload_id": "a" } }))
        .await;
    failed(&mut socket, "unknown_upload").await;
}

fn resume(id: &str) -> Value {
    json!({ "type": "upload_resume", "payload": { "upload_id": id } })
}

#[tokio::test]
async fn a_broken_connection_is_gone_on_from_where_it_was() {
    let (laravel, edge, mut socket) = ana().await;
    let file = file(MIB + 7);
    let mut sending = Sending::begin(&mut socket, start("a", file.len())).await;
    sending.until(&mut socket, &file, 10 * CHUNK).await;
    // Without a close frame, as a phone that loses its network.
    drop(socket);
    // Nobody else can take it up.
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    desk.send(resume("a")).await;
    failed(&mut desk, "unknown_upload").await;
    // Even before the room was joined again.
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    socket.send(resume("a")).await;
    let mut sending = Sending::ready(&socket.next().await);
    assert!(sending.offset <= 10 * CHUNK && sending.offset.is_multiple_of(CHUNK));
    sending.until(&mut socket, &file, file.len()).await;
    assert_eq!(ended(&mut socket).await["type"], "upload_done");
    assert!(laravel.posts().next().await.file() == file);
    assert_eq!(laravel.posts().begun(), 1);
}

/// A phone is back before the edge knows that it was gone.
#[tokio::test]
async fn an_upload_moves_to_the_session_that_asks_for_it() {
    let (laravel, edge, mut old) = ana().await;
    let file = file(3 * CHUNK);
    let mut before = Sending::begin(&mut old, start("a", file.len())).await;
    before.chunk(&mut old, &file).await;
    old.settle().await;
    let mut new = Socket::greeted(&edge, "3|ana").await;
    new.send(resume("a")).await;
    let mut sending = Sending::ready(&new.next().await);
    assert_eq!(sending.offset, CHUNK);
    // What the old one says counts no more.
    before.chunk(&mut old, &file).await;
    old.settle().await;
    sending.until(&mut new, &file, file.len()).await;
    assert_eq!(ended(&mut new).await["type"], "upload_done");
    assert!(laravel.posts().next().await.file() == file);
}

#[tokio::test]
async fn an_answer_waits_for_a_client_that_lost_its_connection() {
    let (laravel, edge, mut socket) = ana().await;
    laravel.posts().leave_unanswered();
    Sending::begin(&mut socket, start("a", 1))
        .await
        .until(&mut socket, b"x", 1)
        .await;
    assert_eq!(laravel.posts().next().await.file(), b"x");
    drop(socket);
    laravel.posts().release();
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    socket.send(resume("a")).await;
    assert_eq!(Sending::ready(&socket.next().await).offset, 1);
    assert_eq!(ended(&mut socket).await["type"], "upload_done");
    socket.send(resume("a")).await;
    failed(&mut socket, "unknown_upload").await;
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let more = "[websocket.uploads]\nidle_timeout = \"200ms\"\nresume_timeout = \"200ms\"\n";
    let (laravel, edge, mut socket) = with(more).await;
    let mut sending = Sending::begin(&mut socket, start("a", 2 * CHUNK)).await;
    sending.chunk(&mut socket, &file(2 * CHUNK)).await;
    failed(&mut socket, "idle").await;
    assert!(!laravel.posts().next().await.whole);
    Sending::begin(&mut socket, start("b", 1)).await;
    drop(socket);
    assert!(!laravel.posts().next().await.whole);
    // What became of it is known for a while, then nothing.
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    loop {
        socket.send(resume("b")).await;
        let event = ended(&mut socket).await;
        if event["payload"]["code"] == "unknown_upload" {
            break;
        }
    }
}

#[tokio::test]
async fn laravels_words_come_through() {
    let (laravel, _edge, mut socket) = ana().await;
    let errors = json!({ "attachment": ["The attachment must be a file of type: pdf."] });
    for (status, body, code) in [
        (
            422,
            json!({ "message": "Invalid", "errors": errors }).to_string(),
            "invalid",
        ),
        (413, "<html>".to_owned(), "too_large"),
        (403, r#"{"error":"Unauthorized"}"#.to_owned(), "denied"),
        (429, "{}".to_owned(), "busy"),
        (
            500,
            r#"{"message":"secret trace","errors":{}}"#.to_owned(),
            "app_failed",
        ),
        (200, "<html>log in</html>".to_owned(), "bad_answer"),
        (302, String::new(), "bad_answer"),
        (201, format!("\"{}\"", "x".repeat(MIB)), "bad_answer"),
    ] {
        laravel.posts().answer(status, body);
        Sending::begin(&mut socket, start("a", 1))
            .await
            .until(&mut socket, b"x", 1)
            .await;
        let event = failed(&mut socket, code).await;
        assert_eq!(event["payload"]["status"], status);
        let told = match status {
            422 => ("Invalid", errors.clone()),
            _ => ("", Value::Null),
        };
        assert_eq!(event["payload"]["errors"], told.1);
        let message = event["payload"]["message"].as_str().unwrap();
        assert!(
            message.starts_with(told.0) && !message.contains("secret"),
            "{message}"
        );
        laravel.posts().next().await;
    }
    assert_eq!(laravel.posts().begun(), 8, "each was sent once");
}

#[tokio::test]
async fn an_answer_before_the_end_is_no_yes() {
    let (laravel, _edge, mut socket) = ana().await;
    laravel.posts().answer_early();
    laravel.posts().answer(413, "too much");
    Sending::begin(&mut socket, start("a", MIB)).await;
    failed(&mut socket, "too_large").await;
    laravel.posts().answer(201, "{}");
    Sending::begin(&mut socket, start("a", MIB)).await;
    failed(&mut socket, "bad_answer").await;
}

#[tokio::test]
async fn a_laravel_that_goes_away_is_told_apart_from_one_that_may_have_stored_it() {
    let (laravel, _edge, mut socket) = ana().await;
    let file = file(3 * CHUNK);
    let mut sending = Sending::begin(&mut socket, start("a", file.len())).await;
    sending.chunk(&mut socket, &file).await;
    laravel.posts().bytes(CHUNK).await;
    laravel.stop();
    failed(&mut socket, "unavailable").await;
    socket.send(start("b", 1)).await;
    Sending::ready(&socket.next().await);
    failed(&mut socket, "unavailable").await;

    laravel.restart().await;
    laravel.posts().leave_unanswered();
    Sending::begin(&mut socket, start("c", 1))
        .await
        .until(&mut socket, b"x", 1)
        .await;
    while laravel.posts().next().await.body.len() > CHUNK {}
    let begun = laravel.posts().begun();
    laravel.stop();
    failed(&mut socket, "no_answer").await;
    assert_eq!(laravel.posts().begun(), begun, "it is not sent twice");
}

#[tokio::test]
async fn who_loses_the_ticket_in_the_middle_uploads_nothing() {
    let (laravel, edge, mut socket) = ana().await;
    let file = file(2 * CHUNK);
    let mut sending = Sending::begin(&mut socket, start("a", file.len())).await;
    sending.chunk(&mut socket, &file).await;
    laravel.withdraw(3, 1);
    edge.post("/users/3/recheck", "").await;
    failed_among(&mut socket, "access_withdrawn").await;
    assert!(!laravel.posts().next().await.whole);
}

/// Nobody told the edge: it asks before the form is ended.
#[tokio::test]
async fn the_right_is_checked_before_the_last_bytes_leave() {
    let (laravel, _edge, mut socket) = ana().await;
    let file = file(2 * CHUNK);
    let mut sending = Sending::begin(&mut socket, start("a", file.len())).await;
    sending.chunk(&mut socket, &file).await;
    laravel.withdraw(3, 1);
    sending.chunk(&mut socket, &file).await;
    failed(&mut socket, "access_withdrawn").await;
    assert!(!laravel.posts().next().await.whole);
    socket.settle().await;
}

#[tokio::test]
async fn a_log_out_ends_uploads() {
    let (laravel, edge, mut socket) = ana().await;
    let file = file(2 * CHUNK);
    let mut sending = Sending::begin(&mut socket, start("a", file.len())).await;
    sending.chunk(&mut socket, &file).await;
    edge.post("/users/3/disconnect", "").await;
    assert_eq!(socket.closed().await.0, 4504);
    assert!(!laravel.posts().next().await.whole);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    socket.send(resume("a")).await;
    let event = socket.next().await;
    // It is still known how it ended, or nothing at all.
    if event["type"] == "upload_ready" {
        failed(&mut socket, "access_withdrawn").await;
    }
}

#[tokio::test]
async fn a_stop_tells_whose_upload_is_unfinished_and_waits_for_answers() {
    let (laravel, edge, mut socket) =
        with("[server]\nlisten = [\"127.0.0.1:0\"]\nclose_spread = \"1ms\"\n").await;
    laravel.posts().leave_unanswered();
    let mut half = Sending::begin(&mut socket, start("half", 2 * CHUNK)).await;
    half.chunk(&mut socket, &file(2 * CHUNK)).await;
    Sending::begin(&mut socket, start("whole", 1))
        .await
        .until(&mut socket, b"x", 1)
        .await;
    assert_eq!(laravel.posts().next().await.file(), b"x");
    let stopped = edge.stop();
    // The session goes on for the answer's sake.
    socket.settle().await;
    laravel.posts().release();
    let done = ended(&mut socket).await;
    assert_eq!(
        (&done["type"], &done["payload"]["upload_id"]),
        (&json!("upload_done"), &json!("whole"))
    );
    let event = failed(&mut socket, "restart").await;
    assert_eq!(event["payload"]["upload_id"], "half");
    assert_eq!(socket.closed().await.0, 1012);
    assert!(!laravel.posts().next().await.whole);
    assert_eq!(stopped.await.unwrap(), 0, "nothing was cut off");
}

/// Events are told between any two chunks.
#[tokio::test]
async fn rooms_go_on_during_an_upload() {
    let (laravel, edge, mut socket) = ana().await;
    let file = file(4 * MIB);
    let mut sending = Sending::begin(&mut socket, start("a", file.len())).await;
    for number in 0..16 {
        let end = (number + 1) * file.len() / 16;
        sending.until(&mut socket, &file, end).await;
        let event =
            json!({ "type": "new_message", "payload": { "ticket_id": 1, "message": number } });
        edge.broadcast(&event.to_string()).await;
        if number < 15 {
            let told = sending.hear(&mut socket, "new_message").await;
            assert_eq!(told["payload"]["message"], number);
        }
    }
    assert_eq!(socket.until("upload_done").await["payload"]["status"], 201);
    assert!(laravel.posts().next().await.file() == file);
}

/// As any client, an uploader is held to his rate; the chunks are no messages.
#[tokio::test]
async fn chunks_are_no_messages_and_have_a_rate_of_their_own() {
    let more = "[websocket]\nmessages_per_second = 1\nmessage_burst = 4\nthrottle_timeout = \"1ms\"\n\
                [websocket.uploads]\nbytes_per_second = \"1 MiB\"\n";
    let (laravel, _edge, mut socket) = with(more).await;
    let file = file(MIB + MIB / 4);
    let began = tokio::time::Instant::now();
    let mut sending = Sending::begin(&mut socket, start("a", file.len())).await;
    sending.until(&mut socket, &file, file.len()).await;
    assert_eq!(ended(&mut socket).await["type"], "upload_done");
    // Never sooner; how much later is the machine's.
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(laravel.posts().next().await.file() == file);
}

/// The end of an upload among other errors.
async fn failed_among(socket: &mut Socket, code: &str) {
    loop {
        let event = socket.next().await;
        if event["type"] == "upload_failed" {
            assert_eq!(event["payload"]["code"], code, "{event}");
            return;
        }
    }
}
