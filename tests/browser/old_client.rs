//! The front end that was there before the edge.

use super::site::{Site, open};

#[tokio::test]
#[ignore = "needs chromium"]
async fn the_old_client_works_unchanged() {
    let site = Site::start().await;
    let desk = site.visitor("5|desk").await;
    let ana = site.visitor("3|ana").await;
    desk.shows("#connection", "connected as 5").await;
    ana.shows("#connection", "connected as 3").await;
    desk.lists("#shown li", &["user 3 joined"]).await;

    ana.type_into("#text", "h").await;
    desk.lists("#shown li", &["user 3 joined", "ana is typing"])
        .await;
    ana.type_into("#text", BACKSPACE).await;
    desk.shows("#shown li:last-child", "ana stopped typing")
        .await;

    site.message(14, "hello").await;
    desk.lists("#messages li", &["hello"]).await;
    desk.click("#messages li").await;
    ana.lists("#shown li", &["message 14", "message 14 seen by 5"])
        .await;

    let event = r#"{"type":"ticket_status_update","payload":{"ticket_id":1,"status":"resolved"}}"#;
    site.edge.broadcast(event).await;
    ana.click("#leave").await;
    desk.lists(
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
    ana.lists(
        "#shown li",
        &["message 14", "message 14 seen by 5", "status resolved"],
    )
    .await;
    desk.console_is_clean().await;
    ana.console_is_clean().await;
}

/// Its page is on 443, and the page connects to 8080 unless told otherwise.
#[tokio::test]
#[ignore = "needs chromium"]
async fn the_old_client_finds_its_web_socket_on_port_8080() {
    let site = Site::start().await;
    let desk = site.arrival("5|desk").await;
    open(&desk).await;
    desk.shows("#connection", "connected as 5").await;
    desk.console_is_clean().await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn the_old_client_is_told_that_its_token_is_not_good() {
    let site = Site::start().await;
    let desk = site.visitor("5|desk").await;
    desk.run("localStorage.setItem('token', '5|wrong')").await;
    desk.reload().await;
    desk.shows("#connection", "closed 4502").await;
    desk.lists("#shown li", &["error: Authentication failed"])
        .await;
    desk.console_is_clean().await;
}

/// WebDriver's code point for the key.
const BACKSPACE: &str = "\u{e003}";
