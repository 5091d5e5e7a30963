//! The demo's page, driven by mouse.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use super::Browser;

/// `pwd-edge demo` on a port of its own.
pub(crate) struct Demo {
    process: Child,
    url: String,
    _stdout: BufReader<ChildStdout>,
    _directory: TempDir,
}

impl Demo {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_pwd-edge"))
            .args(["demo", "--port", "0"])
            .env("TMPDIR", directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        let url = loop {
            line.clear();
            let read = stdout.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the demo ended before it greeted");
            if let Some(url) = line.trim().strip_prefix("Open ") {
                break url.trim().to_owned();
            }
        };
        Self {
            process,
            url,
            _stdout: stdout,
            _directory: directory,
        }
    }

    /// A browser with the page open, nobody logged in.
    pub(crate) async fn opened() -> (Self, Browser) {
        let (demo, browser) = (Self::start(), Browser::start().await);
        browser.open(&demo.url).await;
        (demo, browser)
    }

    /// The same in a window of this width.
    pub(crate) async fn opened_in_width(width: u32) -> (Self, Browser) {
        let (demo, browser) = (Self::start(), Browser::start().await);
        browser.set_viewport_width(width).await;
        browser.open(&demo.url).await;
        (demo, browser)
    }

    /// The same with both sides logged in.
    pub(crate) async fn logged_in() -> (Self, Browser) {
        let (demo, browser) = Self::opened().await;
        for user in ["ana", "desk"] {
            browser.click(&side(user, "[data-role=login] button")).await;
        }
        wait_until_both_joined(&browser).await;
        (demo, browser)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Something on one person's side.
pub(crate) fn side(user: &str, what: &str) -> String {
    format!("section[data-user={user}] {what}")
}

/// Waits until both are connected and each sees the other.
pub(crate) async fn wait_until_both_joined(browser: &Browser) {
    for (user, present) in [
        ("ana", "Here now: Ana Alpha (you), Desk"),
        ("desk", "Here now: Desk (you), Ana Alpha"),
    ] {
        let connection = side(user, "[data-role=connection]");
        browser.wait_for_text(&connection, "Connected").await;
        browser
            .wait_for_text(&side(user, "[data-role=present]"), present)
            .await;
    }
}

pub(crate) async fn send_message(browser: &Browser, user: &str, text: &str) {
    browser.type_into(&side(user, "textarea"), text).await;
    browser
        .click(&side(user, "[data-role=compose] button[type=submit]"))
        .await;
}

pub(crate) const GREETING: &str =
    "Good morning. I applied three weeks ago, and my card has not arrived yet.";

#[tokio::test]
#[ignore = "needs chromium"]
async fn message_of_one_side_appears_on_the_other() {
    let (_demo, browser) = Demo::logged_in().await;
    send_message(&browser, "ana", "Is it on its way?").await;
    let list = |user| side(user, "li .text");
    browser
        .wait_for_list(&list("desk"), &[GREETING, "Is it on its way?"])
        .await;
    send_message(&browser, "desk", "It is. <b>Tomorrow</b>, मंगलवार ☀").await;
    let all = [
        GREETING,
        "Is it on its way?",
        "It is. <b>Tomorrow</b>, मंगलवार ☀",
    ];
    browser.wait_for_list(&list("ana"), &all).await;
    browser.wait_for_list(&list("desk"), &all).await;
    browser.assert_console_is_clean().await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn typing_indicator_appears_and_disappears() {
    let (_demo, browser) = Demo::logged_in().await;
    let typing = |user| side(user, "[data-role=typing]");
    browser.type_into(&side("ana", "textarea"), "Is it").await;
    browser
        .wait_for_text(&typing("desk"), "Ana Alpha is typing…")
        .await;
    // Leaving the field takes it back at once.
    browser.click(&side("desk", "textarea")).await;
    browser.wait_for_text(&typing("desk"), "").await;
    // Sending does too.
    browser.type_into(&side("desk", "textarea"), "It is").await;
    browser
        .wait_for_text(&typing("ana"), "Desk is typing…")
        .await;
    browser.press(ENTER).await;
    browser.wait_for_text(&typing("ana"), "").await;
    browser.assert_console_is_clean().await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn new_status_appears_on_both_sides() {
    let (_demo, browser) = Demo::logged_in().await;
    browser
        .wait_until_hidden(&side("ana", "[data-role=set-status]"))
        .await;
    for user in ["ana", "desk"] {
        browser
            .wait_for_text(&side(user, "[data-role=status]"), "Open")
            .await;
    }
    browser
        .choose(&side("desk", "[data-role=set-status]"), "Resolved")
        .await;
    for user in ["ana", "desk"] {
        browser
            .wait_for_text(&side(user, "[data-role=status]"), "Resolved")
            .await;
    }
    browser.assert_console_is_clean().await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn message_shown_on_the_other_side_is_marked_as_seen() {
    let (_demo, browser) = Demo::opened().await;
    let log_in = |user| side(user, "[data-role=login] button");
    browser.click(&log_in("ana")).await;
    let seen = side("ana", "li[data-own] .seen");
    browser
        .wait_for_text(
            &side("ana", "[data-role=present]"),
            "Here now: Ana Alpha (you)",
        )
        .await;
    browser.wait_until_hidden(&seen).await;
    browser.click(&log_in("desk")).await;
    browser.wait_for_text(&seen, "Seen").await;
    browser.wait_until_hidden(&side("desk", ".seen")).await;
    browser.assert_console_is_clean().await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn logout_on_one_side_leaves_the_other_connected() {
    let (_demo, browser) = Demo::logged_in().await;
    browser.click(&side("ana", "[data-role=logout]")).await;
    browser
        .wait_for_text(&side("ana", "[data-role=connection]"), "Not connected")
        .await;
    browser
        .wait_until_hidden(&side("ana", "[data-role=ticket]"))
        .await;
    browser
        .wait_for_text(&side("desk", "[data-role=present]"), "Here now: Desk (you)")
        .await;
    browser
        .wait_for_text(&side("desk", "[data-role=connection]"), "Connected")
        .await;
    browser.click("#log-both-in").await;
    let present = side("desk", "[data-role=present]");
    browser
        .wait_for_text(&present, "Here now: Desk (you), Ana Alpha")
        .await;
    browser.assert_console_is_clean().await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn wrong_password_is_reported_beside_the_form() {
    let (_demo, browser) = Demo::opened().await;
    browser.type_into("#ana-password", "wrong").await;
    browser
        .click(&side("ana", "[data-role=login] button"))
        .await;
    browser
        .wait_for_text("#ana-login-problem", "Invalid login credentials")
        .await;
    browser
        .until("document.querySelector('#ana-password').ariaInvalid === 'true'")
        .await;
}

#[tokio::test]
#[ignore = "needs chromium"]
async fn command_is_copied_to_the_clipboard() {
    let (_demo, browser) = Demo::opened().await;
    browser.click("summary").await;
    browser.grant("clipboard-read").await;
    for command in ["broadcast", "login"] {
        browser.click(&format!("[data-copy={command}]")).await;
        browser
            .wait_for_text(&format!("[data-copy={command}] + [role=status]"), "Copied")
            .await;
        let copied = browser.run("return navigator.clipboard.readText()").await;
        let shown =
            format!("return document.querySelector('[data-command={command}]').textContent");
        assert_eq!(copied, browser.run(&shown).await);
        assert!(copied.as_str().unwrap().starts_with("curl "), "{copied}");
    }
    browser.assert_console_is_clean().await;
}

/// WebDriver's code point for the key.
pub(crate) const ENTER: char = '\u{e007}';
