//! The log of the demo's page: new messages and pictures scroll it, and count as seen only
//! when it has shown them.

use super::Browser;
use super::demo::{Demo, send_message, side};

/// Waits until the log of a side is longer than its box, and shows its end.
async fn wait_for_end(browser: &Browser, user: &str) {
    let log = side(user, "[data-role=log]");
    let at_end = "log.scrollHeight > log.clientHeight
        && log.scrollHeight - log.scrollTop - log.clientHeight < 2";
    browser
        .until(&format!(
            "((log) => {at_end})(document.querySelector({log:?}))"
        ))
        .await;
}

/// Sends a picture of 400 by 400 pixels as Ana. Waits until both sides have loaded it.
async fn send_picture(browser: &Browser) {
    browser
        .run(
            "const canvas = document.createElement('canvas');
             canvas.width = canvas.height = 400;
             return new Promise((done) => canvas.toBlob((blob) => {
               const chosen = new DataTransfer();
               chosen.items.add(new File([blob], 'card.png', { type: 'image/png' }));
               document.querySelector('#ana-file').files = chosen.files;
               done();
             }))",
        )
        .await;
    browser
        .click(&side("ana", "[data-role=compose] button[type=submit]"))
        .await;
    for user in ["ana", "desk"] {
        let picture = side(user, "li .preview:not([hidden])");
        browser
            .until(&format!(
                "document.querySelector({picture:?})?.naturalHeight === 400"
            ))
            .await;
    }
}

/// Waits until a text is the last of a side's log.
async fn wait_for_last(browser: &Browser, user: &str, text: &str) {
    let last = format!(
        "document.querySelector({:?}).textContent === {text:?}",
        side(user, "li:last-child .text")
    );
    browser.until(&last).await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn log_shows_a_picture_and_the_messages_after_it() {
    let (_demo, browser) = Demo::logged_in().await;
    for text in ["one", "two", "three", "four"] {
        send_message(&browser, "ana", text).await;
        wait_for_last(&browser, "desk", text).await;
    }
    send_picture(&browser).await;
    for user in ["ana", "desk"] {
        wait_for_end(&browser, user).await;
    }
    send_message(&browser, "ana", "This is my old card.").await;
    wait_for_last(&browser, "desk", "This is my old card.").await;
    wait_for_end(&browser, "desk").await;
    browser
        .wait_for_text(&side("ana", "li:last-child .seen"), "Seen")
        .await;
    browser.assert_console_is_clean().await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn message_below_the_shown_part_of_the_log_is_not_seen() {
    let (_demo, browser) = Demo::logged_in().await;
    send_picture(&browser).await;
    wait_for_end(&browser, "desk").await;
    let log = side("desk", "[data-role=log]");
    browser
        .run(&format!("document.querySelector({log:?}).scrollTop = 0"))
        .await;
    // The page handles a scroll, and finds what is visible, when it draws the next frame.
    browser
        .run("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        .await;
    send_message(&browser, "ana", "Did you get it?").await;
    wait_for_last(&browser, "desk", "Did you get it?").await;
    browser
        .run("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        .await;
    browser
        .until(&format!("document.querySelector({log:?}).scrollTop === 0"))
        .await;
    // The typing would come after a report that the message was seen.
    browser.type_into(&side("desk", "textarea"), "Just a").await;
    browser
        .wait_for_text(&side("ana", "[data-role=typing]"), "Desk is typing…")
        .await;
    let seen = side("ana", "li:last-child .seen");
    browser.wait_until_hidden(&seen).await;
    browser
        .run(&format!(
            "const log = document.querySelector({log:?}); log.scrollTop = log.scrollHeight"
        ))
        .await;
    browser.wait_for_text(&seen, "Seen").await;
    browser.assert_console_is_clean().await;
}
