//! The demo's page on a phone, which shows one side at a time.

use super::Browser;
use super::demo::{Demo, GREETING, send_message, side};

/// Waits until a side is shown, and the other is not.
async fn wait_for_side(browser: &Browser, user: &str, other: &str) {
    let shown = format!(
        "document.querySelector({:?}).checkVisibility()",
        side(user, "h2")
    );
    browser.until(&shown).await;
    browser.wait_until_hidden(&side(other, "h2")).await;
    let pressed = format!("document.querySelector('[data-show={user}]').ariaPressed === 'true'");
    browser.until(&pressed).await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn page_fits_into_320_pixels_and_switches_sides() {
    let (_demo, browser) = Demo::opened_in_width(320).await;
    let fits = "innerWidth === 320 && document.documentElement.scrollWidth <= 320";
    browser.until(fits).await;
    browser.click("#log-both-in").await;
    wait_for_side(&browser, "ana", "desk").await;
    let present = "Here now: Ana Alpha (you), Desk";
    browser
        .wait_for_text(&side("ana", "[data-role=present]"), present)
        .await;
    browser.until(fits).await;
    let long = "W".repeat(300);
    send_message(&browser, "ana", &long).await;
    browser
        .wait_for_text("[data-show=desk]", "Desk (2 new)")
        .await;
    // What a hidden side has not shown is not seen.
    browser.wait_until_hidden(&side("ana", ".seen")).await;

    browser.click("[data-show=desk]").await;
    wait_for_side(&browser, "desk", "ana").await;
    browser
        .wait_for_list(&side("desk", "li .text"), &[GREETING, &long])
        .await;
    browser.wait_for_text("[data-show=desk]", "Desk").await;
    browser.until(fits).await;
    browser.click("[data-show=ana]").await;
    browser
        .wait_for_text(&side("ana", "li:last-child .seen"), "Seen")
        .await;

    browser.click("summary").await;
    browser
        .until("document.querySelector('[data-command=broadcast]').checkVisibility()")
        .await;
    browser.until(fits).await;
    browser.assert_console_is_clean().await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn wide_window_shows_both_sides_and_no_switch() {
    let (_demo, browser) = Demo::opened_in_width(700).await;
    browser.wait_until_hidden(".switch").await;
    for user in ["ana", "desk"] {
        let shown = format!(
            "document.querySelector({:?}).checkVisibility()",
            side(user, "h2")
        );
        browser.until(&shown).await;
    }
}
