//! Uploads that end early: no upload that was cut off looks complete.

use serde_json::{Value, json};

use super::{
    MIB, expect_failure, expect_failure_among_errors, file, join_as_ana, join_with_config,
    upload_resume, upload_start,
};
use crate::support::Socket;
use crate::support::upload_sender::{CHUNK, UploadSender, next_upload_event};

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
