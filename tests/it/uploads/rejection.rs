//! Uploads that the edge rejects: wrong starts and chunks, and all beyond a limit.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{MIB, expect_failure, file, join_as_ana, join_with_config, upload_start};
use crate::support::Socket;
use crate::support::upload_sender::{CHUNK, UploadSender, frame, next_upload_event};

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
