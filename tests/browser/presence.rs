//! Who is in a ticket, as its pages show it, while tabs come and go.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::site::{Site, open, wait_until_joined};
use super::support::Socket;

/// Two users with three tabs: one tab is reloaded, one is killed, the last is
/// reloaded and then closed.
#[tokio::test]
#[ignore = "needs chromium"]
async fn presence_survives_reloads_and_ends_after_the_grace() {
    let site = Site::start().await;
    let desk = site.open_page_as("5|desk").await;
    let ana = site.open_page_as("3|ana").await;
    let first = ana.tab().await;
    let second = ana.new_tab().await;
    open(&ana).await;
    desk.wait_for_list("#shown li", &["user 3 joined"]).await;

    site.message(1, "to all three").await;
    desk.wait_for_list("#messages li", &["to all three"]).await;
    for tab in [&first, &second] {
        ana.switch_to(tab).await;
        ana.wait_for_list("#messages li", &["to all three"]).await;
    }

    ana.switch_to(&first).await;
    ana.reload().await;
    wait_until_joined(&ana).await;
    ana.switch_to(&second).await;
    ana.kill_tab().await;
    ana.switch_to(&first).await;
    site.message(2, "after the reload").await;
    ana.wait_for_list("#shown li", &["message 2"]).await;

    // Now her only tab. Ben, who goes after her and stays away, tells when her
    // grace would have been over.
    let ben = Socket::joined(&site.edge, "4|ben", 1).await;
    ana.reload().await;
    drop(ben);
    wait_until_joined(&ana).await;
    let mut shown = vec!["user 3 joined", "message 1", "message 2"];
    shown.extend(["user 4 joined", "user 4 left"]);
    desk.wait_for_list("#shown li", &shown).await;
    ana.wait_for_list("#shown li", &["user 4 left"]).await;

    let closed = now();
    ana.close_tab().await;
    shown.push("user 3 left");
    desk.wait_for_list("#shown li", &shown).await;
    let at = desk.run("return Number(shown.lastChild.dataset.at)").await;
    let after = Duration::from_millis(at.as_u64().unwrap()).checked_sub(closed);
    assert!(after >= Some(GRACE), "left {after:?} after the last tab");
    desk.assert_console_is_clean().await;
}

/// The time, as pages on this machine have it.
fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Duration::from_millis(now.unwrap().as_millis() as u64)
}

/// `[rooms] presence_timeout`, unless configured.
const GRACE: Duration = Duration::from_secs(8);
