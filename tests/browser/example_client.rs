//! The complete client of the documentation, in a browser.

use super::Browser;
use super::relay::Relay;
use super::site::Site;
use super::support::Socket;

/// A page with the client as user 3, who has joined two tickets.
async fn start() -> (Site, Relay, Browser) {
    let site = Site::start_with("[history]\ndirectory = \"\"\n").await;
    let relay = Relay::start(site.edge.address).await;
    let browser = Browser::start_with_hosts(&["localhost:443"], relay.address).await;
    browser.open("https://localhost/example").await;
    browser.wait_for_text("#state", "connected as 3").await;
    wait_for_joins(&browser, 2).await;
    (site, relay, browser)
}

/// Waits until each ticket was joined in the current session, and this many times in all.
async fn wait_for_joins(browser: &Browser, joins: usize) {
    browser.until(&format!("tickets.length >= {joins}")).await;
}

/// Sends messages that the page has to show, each once, after the others.
async fn send(site: &Site, all: &mut Vec<String>, count: usize) {
    for _ in 0..count {
        let number = all.len() as u64 + 1;
        let text = format!("message {number}");
        site.message(number, &text).await;
        all.push(text);
    }
}

async fn wait_for_messages(browser: &Browser, all: &[String]) {
    let texts: Vec<_> = all.iter().map(String::as_str).collect();
    browser.wait_for_list("#messages li", &texts).await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn example_client_gets_each_event_once_over_lost_connections() {
    let (site, relay, browser) = start().await;
    let mut all = Vec::new();
    for round in 2..5 {
        send(&site, &mut all, 1).await;
        wait_for_messages(&browser, &all).await;
        relay.close_all();
        send(&site, &mut all, 3).await;
        wait_for_joins(&browser, 2 * round).await;
        wait_for_messages(&browser, &all).await;
    }
    let recovered = browser
        .run("return tickets.slice(2).every((it) => it.recovered)")
        .await;
    assert_eq!(recovered, true, "the positions were sent");
}

/// The connection stays open, and nothing arrives on it any more.
#[tokio::test]
#[ignore = "needs chromium"]
async fn example_client_notices_a_dead_network() {
    let (site, relay, browser) = start().await;
    let mut all = Vec::new();
    relay.forget_all();
    send(&site, &mut all, 3).await;
    wait_for_messages(&browser, &all).await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn example_client_follows_offline_and_online() {
    let (site, _relay, browser) = start().await;
    let mut all = Vec::new();
    // No timer ends any more: the client has to act on the events themselves.
    let lost = browser
        .run(
            "window.setTimeout = () => 1;
             dispatchEvent(new Event('offline'));
             return sockets[0].readyState > 1",
        )
        .await;
    assert_eq!(lost, true);
    send(&site, &mut all, 2).await;
    browser.run("dispatchEvent(new Event('online'))").await;
    wait_for_messages(&browser, &all).await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn example_client_shows_an_event_that_arrives_twice_once() {
    let (site, _relay, browser) = start().await;
    browser
        .run(
            "const { onmessage } = sockets[0];
             sockets[0].onmessage = (event) => { onmessage(event); onmessage(event); };",
        )
        .await;
    let mut all = Vec::new();
    send(&site, &mut all, 2).await;
    wait_for_messages(&browser, &all).await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn example_client_asks_for_another_token_when_the_edge_wants_a_login() {
    let (site, _relay, browser) = start().await;
    site.edge.post("/users/3/disconnect", "").await;
    browser.wait_for_text("#state", "connected as 5").await;
    let asked = browser.run("return asked").await;
    assert_eq!(asked, serde_json::json!([false, true]));
    let mut all = Vec::new();
    send(&site, &mut all, 1).await;
    wait_for_messages(&browser, &all).await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn example_client_stays_away_after_a_code_that_forbids_to_reconnect() {
    let (site, _relay, browser) = start().await;
    let mut newer = Vec::new();
    for _ in 0..10 {
        newer.push(Socket::greeted(&site.edge, "3|ana").await);
    }
    let ended = "ended 4505: too many sessions, the oldest is closed";
    browser.wait_for_text("#state", ended).await;
    browser.run("dispatchEvent(new Event('online'))").await;
    assert_eq!(browser.run("return sockets.length").await, 1);
}
