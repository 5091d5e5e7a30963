//! Messages, status and log-out on the pages of a ticket.

use super::super::Browser;
use super::{App, Php};

/// Opens ticket 1, and waits until the edge has let the page in.
async fn open_ticket(browser: &Browser) {
    browser
        .run(
            "desk.socket.addEventListener('message', ({ data }) => {
                 const { type, position } = JSON.parse(data);
                 if (type === 'ticket_joined') desk.joined = true;
                 if (position) desk.position = position;
             })",
        )
        .await;
    browser.click("#open button").await;
    browser.until("desk.joined").await;
}

async fn post(browser: &Browser, text: &str) {
    browser.type_into("#text", text).await;
    browser.click("#send button").await;
    browser
        .until("document.querySelector('#text').value === ''")
        .await;
}

/// As by default, events have a position beside the type and payload that the page knows.
#[tokio::test]
#[ignore = "needs chromium and php"]
async fn message_posted_over_http_arrives_over_wss() {
    let app = App::configured(Php::BuiltIn, "[history]\ndirectory = \"\"\n").await;
    let (ana, desk) = (Browser::start().await, Browser::start().await);
    for (browser, user) in [(&ana, "ana"), (&desk, "desk")] {
        app.log_in(browser, user).await;
        open_ticket(browser).await;
    }
    post(&ana, "Is it on its way?").await;
    for browser in [&ana, &desk] {
        let last = "#messages li:last-child";
        browser
            .wait_for_text(last, "Ana Alpha: Is it on its way?")
            .await;
    }
    desk.choose("#new-status", "resolved").await;
    desk.click("#change button").await;
    for browser in [&ana, &desk] {
        browser.wait_for_text("#status", "resolved").await;
        browser.wait_for_text("#problem", "").await;
        browser.until("desk.position").await;
        browser.assert_console_is_clean().await;
    }
}

#[tokio::test]
#[ignore = "needs chromium and php"]
async fn logout_in_one_tab_closes_the_other() {
    let app = App::start().await;
    let (ana, desk) = (Browser::start().await, Browser::start().await);
    app.log_in(&desk, "desk").await;
    app.log_in(&ana, "ana").await;
    let first = ana.tab().await;
    // A tab opened by the page has its token, as one that was duplicated has.
    ana.run("window.open('/')").await;
    let second = ana.other_tab(&first).await;
    ana.switch_to(&second).await;
    ana.wait_for_text("#connection", "connected").await;

    ana.switch_to(&first).await;
    ana.click("#logout").await;
    for tab in [&first, &second] {
        ana.switch_to(tab).await;
        ana.until("/^closed 450[34]$/.test(document.querySelector('#connection').innerText)")
            .await;
    }
    desk.wait_for_text("#connection", "connected").await;
    ana.assert_console_is_clean().await;
    desk.assert_console_is_clean().await;
}
