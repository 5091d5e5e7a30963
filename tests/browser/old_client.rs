//! The front end that was there before the edge.

use super::site::{Site, open};

#[tokio::test]
#[ignore = "needs chromium"]
async fn old_client_works_unchanged() {
    // As by default, events have a position, which it does not know.
    let site = Site::start_with("[history]\ndirectory = \"\"\n").await;
    let desk = site.open_page_as("5|desk").await;
    let ana = site.open_page_as("3|ana").await;
    desk.wait_for_text("#connection", "connected as 5").await;
    ana.wait_for_text("#connection", "connected as 3").await;
    desk.wait_for_list("#shown li", &["user 3 joined"]).await;

    ana.type_into("#text", "h").await;
    desk.wait_for_list("#shown li", &["user 3 joined", "ana is typing"])
        .await;
    ana.type_into("#text", BACKSPACE).await;
    desk.wait_for_text("#shown li:last-child", "ana stopped typing")
        .await;

    site.message(14, "hello").await;
    desk.wait_for_list("#messages li", &["hello"]).await;
    desk.click("#messages li").await;
    ana.wait_for_list("#shown li", &["message 14", "message 14 seen by 5"])
        .await;

    let event = r#"{"type":"ticket_status_update","payload":{"ticket_id":1,"status":"resolved"}}"#;
    site.edge.broadcast(event).await;
    ana.click("#leave").await;
    desk.wait_for_list(
        "#shown li",
        &[
            "user 3 joined",
            "ana is typing",
            "ana stopped typing",
            "message 14",
            "status resolved",
            "user 3 left",
        ],
    )
    .await;
    ana.wait_for_list(
        "#shown li",
        &["message 14", "message 14 seen by 5", "status resolved"],
    )
    .await;
    desk.assert_console_is_clean().await;
    ana.assert_console_is_clean().await;
}

/// Its page is on 443, and the page connects to 8080 unless told otherwise.
#[tokio::test]
#[ignore = "needs chromium"]
async fn old_client_connects_to_its_websocket_on_port_8080() {
    let site = Site::start().await;
    let desk = site.browser_with_token("5|desk").await;
    open(&desk).await;
    desk.wait_for_text("#connection", "connected as 5").await;
    desk.assert_console_is_clean().await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn old_client_with_a_wrong_token_is_closed_with_4502() {
    let site = Site::start().await;
    let desk = site.open_page_as("5|desk").await;
    desk.run("localStorage.setItem('token', '5|wrong')").await;
    desk.reload().await;
    desk.wait_for_text("#connection", "closed 4502").await;
    desk.wait_for_list("#shown li", &["error: Authentication failed"])
        .await;
    desk.assert_console_is_clean().await;
}

/// WebDriver's code point for the key.
const BACKSPACE: &str = "\u{e003}";
