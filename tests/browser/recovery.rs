//! The demo's page while the connection of one side is cut.

use super::Browser;
use super::demo::{Demo, ENTER, GREETING, send_message, side};

/// Waits until the page has asked the site for the ticket so often.
async fn wait_for_ticket_requests(browser: &Browser, count: usize) {
    let ticket = "it.name.endsWith('/api/support-tickets/1')";
    let requests = format!("performance.getEntriesByType('resource').filter((it) => {ticket})");
    browser
        .until(&format!("{requests}.length === {count}"))
        .await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn messages_missed_while_cut_arrive_once_after_reconnect() {
    let (_demo, browser) = Demo::logged_in().await;
    let (button, words) = (
        side("ana", "[data-role=cut]"),
        side("ana", "[data-role=cut-words]"),
    );
    let list = |user| side(user, "li .text");
    // Each side loads it before and after its first join.
    wait_for_ticket_requests(&browser, 4).await;
    browser.wait_for_text(&words, "Cut the connection").await;
    browser.click(&button).await;
    browser.wait_for_text(&words, "Reconnect").await;

    let mut all = vec![GREETING];
    for text in ["one", "two", "three"] {
        send_message(&browser, "desk", text).await;
        all.push(text);
        browser.wait_for_list(&list("desk"), &all).await;
    }
    browser.wait_for_list(&list("ana"), &[GREETING]).await;

    browser.click(&button).await;
    let missed = side("ana", "[data-role=missed]");
    browser
        .wait_for_text(&missed, "3 missed messages arrived.")
        .await;
    browser.wait_for_list(&list("ana"), &all).await;
    // Over the WebSocket, and not out of the site's database.
    wait_for_ticket_requests(&browser, 4).await;
    browser.wait_for_text(&words, "Cut the connection").await;
    let focus = format!("document.activeElement.matches({button:?})");
    browser.until(&focus).await;

    // With the keyboard, and with nothing missed.
    browser.press(ENTER).await;
    browser.wait_for_text(&words, "Reconnect").await;
    browser.press(ENTER).await;
    browser
        .wait_for_text(&missed, "No message was missed.")
        .await;
    send_message(&browser, "desk", "four").await;
    all.push("four");
    browser.wait_for_list(&list("ana"), &all).await;
    browser.assert_console_is_clean().await;
}

/// The other side is not disturbed, and a message written meanwhile comes back as well.
#[tokio::test]
#[ignore = "needs chromium"]
async fn side_that_is_cut_can_write_and_sees_its_message_on_return() {
    let (_demo, browser) = Demo::logged_in().await;
    let list = |user| side(user, "li .text");
    browser.click(&side("desk", "[data-role=cut]")).await;
    browser
        .wait_for_text(&side("desk", "[data-role=cut-words]"), "Reconnect")
        .await;
    send_message(&browser, "desk", "from the cut side").await;
    let all = [GREETING, "from the cut side"];
    browser.wait_for_list(&list("ana"), &all).await;
    browser.wait_for_list(&list("desk"), &[GREETING]).await;
    browser.click(&side("desk", "[data-role=cut]")).await;
    browser
        .wait_for_text(
            &side("desk", "[data-role=missed]"),
            "1 missed message arrived.",
        )
        .await;
    browser.wait_for_list(&list("desk"), &all).await;
    browser.assert_console_is_clean().await;
}
