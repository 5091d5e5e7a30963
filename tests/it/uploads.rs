//! Attachments over the WebSocket: what reaches Laravel is the file, byte for
//! byte and once, or nothing that counts.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::upload_sender::{CHUNK, UploadSender, frame, next_upload_event};
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

fn upload_start(id: &str, size: usize) -> Value {
    json!({ "type": "upload_start", "payload": {
        "upload_id": id, "ticket_id": 1, "name": "dot.png", "size": size, "mime": "image/png",
    }})
}

async fn expect_failure(socket: &mut Socket, code: &str) -> Value {
    let event = next_upload_event(socket).await;
    assert_eq!(event["type"], "upload_failed", "{event}");
    assert_eq!(event["payload"]["code"], code, "{event}");
    event
}

async fn join_as_ana() -> (Laravel, Edge, Socket) {
    join_with_config("").await
}

async fn join_with_config(more: &str) -> (Laravel, Edge, Socket) {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), more);
    let socket = Socket::joined(&edge, "3|ana", 1).await;
    (laravel, edge, socket)
}

#[tokio::test]
async fn file_of_any_size_arrives_byte_for_byte() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
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
        let mut sending = UploadSender::begin(&mut socket, upload_start("a", size)).await;
        sending.until(&mut socket, &file, size).await;
        let done = next_upload_event(&mut socket).await;
        assert_eq!(done["type"], "upload_done", "{size}: {done}");
        assert_eq!(done["payload"]["upload_id"], "a");
        assert_eq!(done["payload"]["status"], 201);
        assert_eq!(done["payload"]["response"]["ticket_message"]["id"], 14);
        let post = laravel.posts().next().await;
        assert!(post.file() == file, "{size}");
    }
}

#[tokio::test]
async fn upload_request_carries_user_message_and_file_name() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
    let name = "Liham ng \"Pagpapatunay\"; para kay Ñoño 📎🎉.jpg";
    let payload = json!({
        "upload_id": "0b9c-1", "ticket_id": "1", "name": name, "size": 3,
        "message": "Narito po ang larawan\r\n--x--",
    });
    let start = json!({ "type": "upload_start", "payload": payload });
    let mut sending = UploadSender::begin(&mut socket, start).await;
    sending.until(&mut socket, b"abc", 3).await;
    assert_eq!(next_upload_event(&mut socket).await["type"], "upload_done");
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
async fn file_name_reaches_laravel_without_hidden_characters() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
    let mut say = upload_start("a", 1);
    say["payload"]["name"] =
        json!("\u{200e}gnp\u{202e}\u{61c}e\u{200b}xe\u{200f} می\u{200c}خواهم.png");
    let mut sending = UploadSender::begin(&mut socket, say).await;
    sending.until(&mut socket, b"x", 1).await;
    assert_eq!(next_upload_event(&mut socket).await["type"], "upload_done");
    let head = laravel.posts().next().await.fields().remove(0).head;
    let name = "filename=\"gnpexe می\u{200c}خواهم.png\"\r\n";
    assert!(head.contains(name), "{head:?}");
}

#[tokio::test]
async fn upload_path_and_fields_are_configurable() {
    let more = "[websocket.uploads]\npath = \"/api/support-tickets/{id}/messages?v=2\"\n\
                file_field = \"file\"\nmessage_field = \"text\"\n";
    let (laravel, _edge, mut socket) = join_with_config(more).await;
    let mut say = upload_start("a", 1);
    say["payload"]["message"] = json!("hello");
    UploadSender::begin(&mut socket, say)
        .await
        .until(&mut socket, b"x", 1)
        .await;
    assert_eq!(next_upload_event(&mut socket).await["type"], "upload_done");
    let post = laravel.posts().next().await;
    assert_eq!(post.target, "/api/support-tickets/1/messages?v=2");
    let fields = post.fields();
    assert!(fields[0].head.ends_with("name=\"text\""));
    assert!(fields[1].head.contains("name=\"file\"; "));
}

#[tokio::test]
async fn invalid_upload_start_is_rejected_at_once() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
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
        let mut wrong = upload_start("a", 5);
        wrong["payload"][field] = value;
        socket.send(wrong).await;
        let event = expect_failure(&mut socket, code).await;
        assert_eq!(event["payload"]["upload_id"], "a");
    }
    for (field, value) in [
        ("size", json!(-1)),
        ("upload_id", json!("a b")),
        ("name", json!(7)),
    ] {
        let mut wrong = upload_start("a", 5);
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
async fn wrong_chunk_fails_its_upload_and_keeps_the_session() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
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
        let mut sending = UploadSender::begin(&mut socket, upload_start("a", file.len())).await;
        sending.chunk(&mut socket, &file).await;
        // Laravel has some of it.
        laravel.posts().bytes(1).await;
        let wrong = frame(sending.upload, offset, &file[..bytes]);
        socket.0.send(wrong).await.unwrap();
        expect_failure(&mut socket, code).await;
        // What is on its way still is passed over.
        sending.chunk(&mut socket, &file).await;
        assert_eq!(socket.settle().await, Vec::<Value>::new());
        let post = laravel.posts().next().await;
        assert!(!post.whole && post.body.len() < file.len(), "{offset}");
    }
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", file.len())).await;
    sending.until(&mut socket, &file, file.len()).await;
    assert_eq!(next_upload_event(&mut socket).await["type"], "upload_done");
    assert!(laravel.posts().next().await.file() == file);
}

#[tokio::test]
async fn chunk_of_an_unknown_upload_is_an_error() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
    for (wrong, code) in [
        (Message::binary(Vec::new()), "invalid_chunk"),
        (
            Message::binary(b"{\"type\":\"ping\"}".to_vec()),
            "invalid_chunk",
        ),
        (frame(1, 0, b""), "invalid_chunk"),
        // Before `upload_ready` the client has no number for it.
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
        expect_failure(&mut socket, "unknown_upload").await;
    }
    assert_eq!(laravel.posts().begun(), 0);
}

#[tokio::test]
async fn upload_id_is_unique_per_user() {
    let (laravel, edge, mut socket) = join_as_ana().await;
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", 1)).await;
    socket.send(upload_start("a", 2)).await;
    let event = socket.next().await;
    assert_eq!(event["type"], "error");
    assert_eq!(event["payload"]["code"], "duplicate_upload");
    assert_eq!(event["payload"]["upload_id"], "a");
    // Another user cannot see it, and may use the same id.
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    for kind in ["upload_resume", "upload_cancel"] {
        desk.send(json!({ "type": kind, "payload": { "upload_id": "a" } }))
            .await;
        expect_failure(&mut desk, "unknown_upload").await;
    }
    let mut theirs = UploadSender::begin(&mut desk, upload_start("a", 1)).await;
    theirs.until(&mut desk, b"d", 1).await;
    assert_eq!(next_upload_event(&mut desk).await["type"], "upload_done");
    assert_eq!(laravel.posts().next().await.file(), b"d");
    sending.until(&mut socket, b"a", 1).await;
    assert_eq!(
        socket.until("upload_done").await["payload"]["upload_id"],
        "a"
    );
    assert_eq!(laravel.posts().next().await.file(), b"a");
}

#[tokio::test]
async fn upload_beyond_its_window_fails_as_too_fast() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
    laravel.posts().hold_reading();
    let file = file(10 * MIB);
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", file.len())).await;
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
async fn concurrent_uploads_above_the_limits_are_rejected() {
    let more = "[websocket.uploads]\nmax_per_session = 2\nmax_per_user = 3\nmax_concurrent = 4\n";
    let (laravel, edge, mut socket) = join_with_config(more).await;
    let mut first = UploadSender::begin(&mut socket, upload_start("1", 1)).await;
    UploadSender::begin(&mut socket, upload_start("2", 1)).await;
    socket.send(upload_start("3", 1)).await;
    expect_failure(&mut socket, "too_many_uploads").await;
    let mut tab = Socket::joined(&edge, "3|ana", 1).await;
    UploadSender::begin(&mut tab, upload_start("3", 1)).await;
    tab.send(upload_start("4", 1)).await;
    expect_failure(&mut tab, "too_many_uploads").await;
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    UploadSender::begin(&mut desk, upload_start("1", 1)).await;
    desk.send(upload_start("2", 1)).await;
    expect_failure(&mut desk, "too_many_uploads").await;
    first.until(&mut socket, b"x", 1).await;
    assert_eq!(
        socket.until("upload_done").await["payload"]["upload_id"],
        "1"
    );
    assert_eq!(laravel.posts().next().await.file(), b"x");
    UploadSender::begin(&mut desk, upload_start("2", 1)).await;
}

#[tokio::test]
async fn cancelled_upload_never_looks_complete() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
    let file = file(3 * CHUNK);
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", file.len())).await;
    sending.chunk(&mut socket, &file).await;
    laravel.posts().bytes(CHUNK).await;
    socket
        .send(json!({ "type": "upload_cancel", "payload": { "upload_id": "a" } }))
        .await;
    expect_failure(&mut socket, "cancelled").await;
    assert!(!laravel.posts().next().await.whole);
    socket
        .send(json!({ "type": "upload_resume", "payload": { "upload_id": "a" } }))
        .await;
    expect_failure(&mut socket, "unknown_upload").await;
}

fn upload_resume(id: &str) -> Value {
    json!({ "type": "upload_resume", "payload": { "upload_id": id } })
}

#[tokio::test]
async fn upload_resumes_after_a_lost_connection() {
    let (laravel, edge, mut socket) = join_as_ana().await;
    let file = file(MIB + 7);
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", file.len())).await;
    sending.until(&mut socket, &file, 10 * CHUNK).await;
    // Without a close frame, as a phone that loses its network.
    drop(socket);
    // No other user can resume it.
    let mut desk = Socket::joined(&edge, "5|desk", 1).await;
    desk.send(upload_resume("a")).await;
    expect_failure(&mut desk, "unknown_upload").await;
    // Even before the room was joined again.
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    socket.send(upload_resume("a")).await;
    let mut sending = UploadSender::ready(&socket.next().await);
    assert!(sending.offset <= 10 * CHUNK && sending.offset.is_multiple_of(CHUNK));
    sending.until(&mut socket, &file, file.len()).await;
    assert_eq!(next_upload_event(&mut socket).await["type"], "upload_done");
    assert!(laravel.posts().next().await.file() == file);
    assert_eq!(laravel.posts().begun(), 1);
}

/// A phone is back before the edge knows that it was gone.
#[tokio::test]
async fn upload_moves_to_the_session_that_resumes_it() {
    let (laravel, edge, mut old) = join_as_ana().await;
    let file = file(3 * CHUNK);
    let mut before = UploadSender::begin(&mut old, upload_start("a", file.len())).await;
    before.chunk(&mut old, &file).await;
    old.settle().await;
    let mut new = Socket::greeted(&edge, "3|ana").await;
    new.send(upload_resume("a")).await;
    let mut sending = UploadSender::ready(&new.next().await);
    assert_eq!(sending.offset, CHUNK);
    // What the old one says counts no more.
    before.chunk(&mut old, &file).await;
    old.settle().await;
    sending.until(&mut new, &file, file.len()).await;
    assert_eq!(next_upload_event(&mut new).await["type"], "upload_done");
    assert!(laravel.posts().next().await.file() == file);
}

#[tokio::test]
async fn upload_outcome_waits_for_a_lost_client() {
    let (laravel, edge, mut socket) = join_as_ana().await;
    laravel.posts().hold_responses();
    UploadSender::begin(&mut socket, upload_start("a", 1))
        .await
        .until(&mut socket, b"x", 1)
        .await;
    assert_eq!(laravel.posts().next().await.file(), b"x");
    drop(socket);
    laravel.posts().release();
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    socket.send(upload_resume("a")).await;
    assert_eq!(UploadSender::ready(&socket.next().await).offset, 1);
    assert_eq!(next_upload_event(&mut socket).await["type"], "upload_done");
    socket.send(upload_resume("a")).await;
    expect_failure(&mut socket, "unknown_upload").await;
}

#[tokio::test]
async fn upload_times_out_when_idle_or_not_resumed() {
    let more = "[websocket.uploads]\nidle_timeout = \"200ms\"\nresume_timeout = \"200ms\"\n";
    let (laravel, edge, mut socket) = join_with_config(more).await;
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", 2 * CHUNK)).await;
    sending.chunk(&mut socket, &file(2 * CHUNK)).await;
    expect_failure(&mut socket, "idle").await;
    assert!(!laravel.posts().next().await.whole);
    UploadSender::begin(&mut socket, upload_start("b", 1)).await;
    drop(socket);
    assert!(!laravel.posts().next().await.whole);
    // What became of it is known for a while, then nothing.
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    loop {
        socket.send(upload_resume("b")).await;
        let event = next_upload_event(&mut socket).await;
        if event["payload"]["code"] == "unknown_upload" {
            break;
        }
    }
}

#[tokio::test]
async fn upload_failure_carries_the_response_of_laravel() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
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
        (200, "<html>log in</html>".to_owned(), "invalid_response"),
        (302, String::new(), "invalid_response"),
        (201, format!("\"{}\"", "x".repeat(MIB)), "invalid_response"),
    ] {
        laravel.posts().answer(status, body);
        UploadSender::begin(&mut socket, upload_start("a", 1))
            .await
            .until(&mut socket, b"x", 1)
            .await;
        let event = expect_failure(&mut socket, code).await;
        assert_eq!(event["payload"]["status"], status);
        let reported = match status {
            422 => ("Invalid", errors.clone()),
            _ => ("", Value::Null),
        };
        assert_eq!(event["payload"]["errors"], reported.1);
        let message = event["payload"]["message"].as_str().unwrap();
        assert!(
            message.starts_with(reported.0) && !message.contains("secret"),
            "{message}"
        );
        laravel.posts().next().await;
    }
    assert_eq!(laravel.posts().begun(), 8, "each was sent once");
}

#[tokio::test]
async fn early_response_never_completes_an_upload() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
    laravel.posts().respond_early();
    laravel.posts().answer(413, "too much");
    UploadSender::begin(&mut socket, upload_start("a", MIB)).await;
    expect_failure(&mut socket, "too_large").await;
    laravel.posts().answer(201, "{}");
    UploadSender::begin(&mut socket, upload_start("a", MIB)).await;
    expect_failure(&mut socket, "invalid_response").await;
}

#[tokio::test]
async fn upload_with_a_lost_upstream_reports_if_it_may_be_stored() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
    let file = file(3 * CHUNK);
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", file.len())).await;
    sending.chunk(&mut socket, &file).await;
    laravel.posts().bytes(CHUNK).await;
    laravel.stop();
    expect_failure(&mut socket, "unavailable").await;
    socket.send(upload_start("b", 1)).await;
    UploadSender::ready(&socket.next().await);
    expect_failure(&mut socket, "unavailable").await;

    laravel.restart().await;
    laravel.posts().hold_responses();
    UploadSender::begin(&mut socket, upload_start("c", 1))
        .await
        .until(&mut socket, b"x", 1)
        .await;
    while laravel.posts().next().await.body.len() > CHUNK {}
    let begun = laravel.posts().begun();
    laravel.stop();
    expect_failure(&mut socket, "no_response").await;
    assert_eq!(laravel.posts().begun(), begun, "it is not sent twice");
}

#[tokio::test]
async fn upload_with_withdrawn_access_is_aborted() {
    let (laravel, edge, mut socket) = join_as_ana().await;
    let file = file(2 * CHUNK);
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", file.len())).await;
    sending.chunk(&mut socket, &file).await;
    laravel.withdraw(3, 1);
    edge.post("/users/3/revalidate", "").await;
    expect_failure_among_errors(&mut socket, "access_withdrawn").await;
    assert!(!laravel.posts().next().await.whole);
}

/// Without a notice from Laravel, the edge checks access before it ends the form.
#[tokio::test]
async fn upload_access_is_checked_before_the_last_bytes() {
    let (laravel, _edge, mut socket) = join_as_ana().await;
    let file = file(2 * CHUNK);
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", file.len())).await;
    sending.chunk(&mut socket, &file).await;
    laravel.withdraw(3, 1);
    sending.chunk(&mut socket, &file).await;
    expect_failure(&mut socket, "access_withdrawn").await;
    assert!(!laravel.posts().next().await.whole);
    socket.settle().await;
}

#[tokio::test]
async fn disconnect_aborts_uploads() {
    let (laravel, edge, mut socket) = join_as_ana().await;
    let file = file(2 * CHUNK);
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", file.len())).await;
    sending.chunk(&mut socket, &file).await;
    edge.post("/users/3/disconnect", "").await;
    assert_eq!(socket.closed().await.0, 4504);
    assert!(!laravel.posts().next().await.whole);
    let mut socket = Socket::greeted(&edge, "3|ana").await;
    socket.send(upload_resume("a")).await;
    let event = socket.next().await;
    // It is still known how it ended, or nothing at all.
    if event["type"] == "upload_ready" {
        expect_failure(&mut socket, "access_withdrawn").await;
    }
}

#[tokio::test]
async fn shutdown_aborts_partial_uploads_and_awaits_responses() {
    let (laravel, edge, mut socket) =
        join_with_config("[server]\nlisten = [\"127.0.0.1:0\"]\nclose_spread = \"1ms\"\n").await;
    laravel.posts().hold_responses();
    let mut half = UploadSender::begin(&mut socket, upload_start("half", 2 * CHUNK)).await;
    half.chunk(&mut socket, &file(2 * CHUNK)).await;
    UploadSender::begin(&mut socket, upload_start("whole", 1))
        .await
        .until(&mut socket, b"x", 1)
        .await;
    assert_eq!(laravel.posts().next().await.file(), b"x");
    let stopped = edge.stop();
    // The session continues until the response has come.
    socket.settle().await;
    laravel.posts().release();
    let done = next_upload_event(&mut socket).await;
    assert_eq!(
        (&done["type"], &done["payload"]["upload_id"]),
        (&json!("upload_done"), &json!("whole"))
    );
    let event = expect_failure(&mut socket, "restart").await;
    assert_eq!(event["payload"]["upload_id"], "half");
    assert_eq!(socket.closed().await.0, 1012);
    assert!(!laravel.posts().next().await.whole);
    assert_eq!(stopped.await.unwrap(), 0, "nothing was cut off");
}

/// Events reach the client between any two chunks.
#[tokio::test]
async fn room_events_arrive_during_an_upload() {
    let (laravel, edge, mut socket) = join_as_ana().await;
    let file = file(4 * MIB);
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", file.len())).await;
    for number in 0..16 {
        let end = (number + 1) * file.len() / 16;
        sending.until(&mut socket, &file, end).await;
        let event =
            json!({ "type": "new_message", "payload": { "ticket_id": 1, "message": number } });
        edge.broadcast(&event.to_string()).await;
        if number < 15 {
            let reported = sending.wait_for_event(&mut socket, "new_message").await;
            assert_eq!(reported["payload"]["message"], number);
        }
    }
    assert_eq!(socket.until("upload_done").await["payload"]["status"], 201);
    assert!(laravel.posts().next().await.file() == file);
}

/// The chunks have a rate of their own, and do not count as messages.
#[tokio::test]
async fn upload_chunks_have_their_own_rate() {
    let more = "[websocket]\nmessages_per_second = 1\nmessage_burst = 4\nthrottle_timeout = \"1ms\"\n\
                [websocket.uploads]\nbytes_per_second = \"1 MiB\"\n";
    let (laravel, _edge, mut socket) = join_with_config(more).await;
    let file = file(MIB + MIB / 4);
    let began = tokio::time::Instant::now();
    let mut sending = UploadSender::begin(&mut socket, upload_start("a", file.len())).await;
    sending.until(&mut socket, &file, file.len()).await;
    assert_eq!(next_upload_event(&mut socket).await["type"], "upload_done");
    // Never sooner; how much later is the machine's.
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(laravel.posts().next().await.file() == file);
}

/// The end of an upload among other errors.
async fn expect_failure_among_errors(socket: &mut Socket, code: &str) {
    loop {
        let event = socket.next().await;
        if event["type"] == "upload_failed" {
            assert_eq!(event["payload"]["code"], code, "{event}");
            return;
        }
    }
}
