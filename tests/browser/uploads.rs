//! Sending a file from the demo's page.

use std::path::PathBuf;

use tempfile::TempDir;

use super::Browser;
use super::demo::{Demo, side, wait_until_both_joined};
use super::laravel::PNG;

/// The page with both sides logged in. It keeps its sockets in `sockets`, and
/// reads no file beyond its first chunks until `go()`.
async fn start_with_held_uploads() -> (Demo, Browser) {
    let (demo, browser) = Demo::opened().await;
    browser
        .run(
            "window.sockets = [];
             window.WebSocket = class extends WebSocket {
               constructor(...all) { super(...all); sockets.push(this); }
             };
             const hold = new Promise((go) => { window.go = go; });
             const read = Blob.prototype.arrayBuffer;
             let chunks = 0;
             Blob.prototype.arrayBuffer = async function () {
               if (++chunks > 20) await hold;
               return read.call(this);
             };",
        )
        .await;
    browser.click("#log-both-in").await;
    wait_until_both_joined(&browser).await;
    (demo, browser)
}

/// A picture of 2 MiB on disk: what follows its end is not looked at.
fn picture() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("Larawan ni Ñoño 🎉.png");
    let mut bytes = PNG.to_vec();
    bytes.extend((0u32..2 * 1024 * 1024).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8));
    std::fs::write(&path, bytes).unwrap();
    (directory, path)
}

async fn start_upload(browser: &Browser, path: &std::path::Path) {
    browser.type_into("#ana-file", path.to_str().unwrap()).await;
    browser
        .click(&side("ana", "[data-role=compose] button[type=submit]"))
        .await;
    // Some of it has left.
    browser
        .until("document.querySelector('#ana-progress').checkVisibility() && document.querySelector('#ana-progress').value > 0.2")
        .await;
}

/// Waits until a person sees the picture, and compares what is shown with the file.
async fn wait_for_picture(browser: &Browser, user: &str, path: &std::path::Path) {
    let image = side(user, "li .preview");
    browser
        .until(&format!(
            "document.querySelector('{image}[alt]:not([hidden])')?.naturalWidth === 1"
        ))
        .await;
    let length = browser
        .run(&format!(
            "return (async () => {{
               const answer = await fetch(document.querySelector('{image}:not([hidden])').src);
               const bytes = new Uint8Array(await answer.arrayBuffer());
               let sum = 0;
               bytes.forEach((byte, at) => {{ sum = (sum * 31 + byte + at) % 4294967291; }});
               return [bytes.length, sum];
             }})()"
        ))
        .await;
    let bytes = std::fs::read(path).unwrap();
    let sum = bytes.iter().enumerate().fold(0u64, |sum, (at, byte)| {
        (sum * 31 + u64::from(*byte) + at as u64) % 4_294_967_291
    });
    assert_eq!(length, serde_json::json!([bytes.len(), sum]));
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn interrupted_upload_resumes_and_the_picture_is_shown() {
    let (_demo, browser) = start_with_held_uploads().await;
    let (_directory, path) = picture();
    start_upload(&browser, &path).await;
    browser
        .run("sockets.forEach((socket) => socket.close(4000))")
        .await;
    browser
        .until("sockets.length >= 4 && sockets.at(-1).readyState === 1")
        .await;
    browser.run("go()").await;
    wait_for_picture(&browser, "ana", &path).await;
    wait_for_picture(&browser, "desk", &path).await;
    browser
        .wait_until_hidden(&side("ana", "[data-role=upload]"))
        .await;
    browser
        .until("document.querySelector('#ana-file').files.length === 0")
        .await;
    browser.assert_console_is_clean().await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn upload_cancelled_by_the_user_is_not_shown() {
    let (_demo, browser) = start_with_held_uploads().await;
    let (_directory, path) = picture();
    start_upload(&browser, &path).await;
    browser
        .click(&side("ana", "[data-role=upload-cancel]"))
        .await;
    browser
        .wait_for_text("#ana-send-problem", "The upload was cancelled")
        .await;
    browser
        .wait_until_hidden(&side("ana", "[data-role=upload]"))
        .await;
    browser
        .wait_until_hidden(&side("desk", "li .preview"))
        .await;
    browser.assert_console_is_clean().await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn rejected_upload_is_reported_beside_the_form() {
    let (_demo, browser) = start_with_held_uploads().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("picture.png");
    std::fs::write(&path, b"\x7fELF\0\0").unwrap();
    browser.type_into("#ana-file", path.to_str().unwrap()).await;
    browser
        .click(&side("ana", "[data-role=compose] button[type=submit]"))
        .await;
    browser
        .wait_for_text(
            "#ana-send-problem",
            "The attachment must be a file of type: pdf, txt, jpg, jpeg, png, gif.",
        )
        .await;
    browser.assert_console_is_clean().await;
}
