//! The demo's page without a mouse.

use super::Browser;
use super::demo::{Demo, ENTER, side, wait_until_both_joined};

/// Presses Tab until the focus is there, and expects to see where it is.
async fn tab_to(browser: &Browser, selector: &str) {
    for _ in 0..30 {
        browser.press(TAB).await;
        let script = format!(
            "const focused = document.activeElement;
             return focused.matches({selector:?}) ? 'there'
                  : focused.matches(':focus-visible, body') ? 'elsewhere' : focused.outerHTML"
        );
        match browser.run(&script).await.as_str() {
            Some("there") => {
                browser
                    .until("getComputedStyle(document.activeElement).outlineStyle !== 'none'")
                    .await;
                return;
            }
            Some("elsewhere") => {}
            other => panic!("the focus cannot be seen: {other:?}"),
        }
    }
    panic!("Tab does not lead to {selector}");
}

async fn write(browser: &Browser, text: &str) {
    for key in text.chars() {
        browser.press(key).await;
    }
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn login_and_sending_work_by_keyboard() {
    let (_demo, browser) = Demo::opened().await;
    tab_to(&browser, "#ana-username").await;
    tab_to(&browser, "#ana-password").await;
    browser.press(ENTER).await;
    // Whoever was in the form that disappears is now at the ticket.
    let focus = |user| format!("document.activeElement.matches({:?})", side(user, "h3"));
    browser.until(&focus("ana")).await;
    tab_to(&browser, "#desk-username").await;
    tab_to(&browser, &side("desk", "[data-role=login] button")).await;
    browser.press(ENTER).await;
    browser.until(&focus("desk")).await;
    wait_until_both_joined(&browser).await;

    tab_to(&browser, "#desk-message").await;
    write(&browser, "good morning").await;
    browser.press(ENTER).await;
    browser
        .wait_for_text(&side("ana", "li:last-child .text"), "good morning")
        .await;
    // The field is empty and still has the focus: the next one can be written.
    browser
        .until("document.activeElement.id === 'desk-message'")
        .await;
    browser.until("document.activeElement.value === ''").await;
    tab_to(&browser, &side("desk", "[data-role=set-status]")).await;
    browser.press(DOWN).await;
    browser
        .wait_for_text(&side("ana", "[data-role=status]"), "In progress")
        .await;
    browser.assert_console_is_clean().await;
}

/// WebDriver's code points for keys.
const TAB: char = '\u{e004}';
const DOWN: char = '\u{e015}';
