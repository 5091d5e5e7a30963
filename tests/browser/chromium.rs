//! A headless Chromium, driven over WebDriver, that waits for what a page shows.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::elements::Element;
use fantoccini::error::CmdError;
use fantoccini::wd::{WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use url::{ParseError, Url};

use super::driver::Driver;

/// One browser with a profile of its own. It ends when it is dropped.
pub(crate) struct Browser {
    client: Client,
    _driver: Driver,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        // The tests listen there, and not on ::1.
        Self::start_with_resolver_rules("MAP localhost 127.0.0.1").await
    }

    /// One for which an edge is on well-known ports, wherever it is in truth.
    pub(crate) async fn start_with_hosts(names: &[&str], edge: SocketAddr) -> Self {
        let rules: Vec<_> = names.iter().map(|it| format!("MAP {it} {edge}")).collect();
        Self::start_with_resolver_rules(&rules.join(",")).await
    }

    async fn start_with_resolver_rules(rules: &str) -> Self {
        let driver = Driver::start();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(driver.capabilities(rules))
            .connect(&driver.url())
            .await
            .unwrap();
        Self {
            client,
            _driver: driver,
        }
    }

    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    pub(crate) async fn reload(&self) {
        self.client.refresh().await.unwrap();
    }

    /// The tab that is driven.
    pub(crate) async fn tab(&self) -> WindowHandle {
        self.client.window().await.unwrap()
    }

    /// Opens a tab and drives it from now on.
    pub(crate) async fn new_tab(&self) -> WindowHandle {
        let opened = self.client.new_window(true).await.unwrap();
        self.switch_to(&opened.handle).await;
        opened.handle
    }

    /// A tab that the page has opened.
    pub(crate) async fn other_tab(&self, than: &WindowHandle) -> WindowHandle {
        let tabs = self.client.windows().await.unwrap();
        let other = tabs.into_iter().find(|tab| tab != than);
        other.expect("the page has opened a tab")
    }

    pub(crate) async fn switch_to(&self, tab: &WindowHandle) {
        self.client.switch_to_window(tab.clone()).await.unwrap();
    }

    /// Closes the tab that is driven; another has to be chosen.
    pub(crate) async fn close_tab(&self) {
        self.client.close_window().await.unwrap();
    }

    /// Kills the tab that is driven, so that it closes nothing itself; another
    /// has to be chosen.
    pub(crate) async fn kill_tab(&self) {
        let crash = devtools("Page.crash", &json!({}));
        let answer = self.client.issue_cmd(crash).await;
        let crashed = answer.expect_err("nobody is left to answer").to_string();
        assert!(crashed.contains("tab crashed"), "{crashed}");
    }

    pub(crate) async fn click(&self, selector: &str) {
        self.find(selector).await.click().await.unwrap();
    }

    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        self.find(selector).await.send_keys(text).await.unwrap();
    }

    pub(crate) async fn choose(&self, selector: &str, label: &str) {
        let field = self.find(selector).await;
        field.select_by_label(label).await.unwrap();
    }

    /// Waits until there is such an element: a page's script may have to create it.
    async fn find(&self, selector: &str) -> Element {
        let wait = self.client.wait().at_most(WAIT_TIMEOUT);
        let found = wait.for_element(Locator::Css(selector)).await;
        found.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    /// Presses and releases one key, wherever the focus is.
    pub(crate) async fn press(&self, key: char) {
        let keys = KeyActions::new("keyboard".to_owned())
            .then(KeyAction::Down { value: key })
            .then(KeyAction::Up { value: key });
        self.client.perform_actions(keys).await.unwrap();
    }

    /// What a function body returns in the page.
    pub(crate) async fn run(&self, script: &str) -> Value {
        let value = self.client.execute(script, Vec::new()).await;
        value.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until an expression is true in the page.
    pub(crate) async fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        self.wait_for(&script, &json!(true)).await;
    }

    /// Waits until an element is there to be seen and says exactly this.
    pub(crate) async fn wait_for_text(&self, selector: &str, text: &str) {
        let script = format!(
            "const element = document.querySelector({});
             return element?.checkVisibility() ? element.innerText.trim() : null",
            json!(selector)
        );
        self.wait_for(&script, &json!(text)).await;
    }

    /// Waits until no such element is there to be seen.
    pub(crate) async fn wait_until_hidden(&self, selector: &str) {
        let selector = json!(selector);
        self.until(&format!(
            "![...document.querySelectorAll({selector})].some((it) => it.checkVisibility())"
        ))
        .await;
    }

    /// Waits until there are exactly these elements.
    pub(crate) async fn wait_for_list(&self, selector: &str, texts: &[&str]) {
        let script = format!(
            "return [...document.querySelectorAll({})].map((it) => it.innerText.trim())",
            json!(selector)
        );
        self.wait_for(&script, &json!(texts)).await;
    }

    async fn wait_for(&self, script: &str, expected: &Value) {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        loop {
            // A page that is being loaded has nowhere to run it.
            let found: Result<Value, CmdError> = self.client.execute(script, Vec::new()).await;
            if found.as_ref().is_ok_and(|found| found == expected) {
                return;
            }
            if Instant::now() > deadline {
                let console = self.console().await;
                panic!("{script}\nexpected {expected}, got {found:?}\nconsole: {console}");
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Expects that the browser had nothing to complain about since the last time.
    pub(crate) async fn assert_console_is_clean(&self) {
        let complaints = self.console().await;
        assert!(complaints.is_empty(), "{complaints}");
    }

    async fn console(&self) -> String {
        let log = Extension {
            path: "se/log",
            body: json!({ "type": "browser" }),
        };
        let log = self.client.issue_cmd(log).await.unwrap();
        let mut complaints = String::new();
        for entry in log.as_array().into_iter().flatten() {
            if ["WARNING", "SEVERE"].contains(&entry["level"].as_str().unwrap_or_default()) {
                writeln!(complaints, "{}: {}", entry["level"], entry["message"]).unwrap();
            }
        }
        complaints
    }

    /// Lets pages use what browsers ask the user for.
    pub(crate) async fn grant(&self, permission: &str) {
        let grant = Extension {
            path: "permissions",
            body: json!({ "descriptor": { "name": permission }, "state": "granted" }),
        };
        self.client.issue_cmd(grant).await.unwrap();
    }

    /// Gives the tab that is driven the window of a phone.
    pub(crate) async fn set_viewport_width(&self, width: u32) {
        let phone =
            json!({ "width": width, "height": 640, "deviceScaleFactor": 2, "mobile": false });
        let resize = devtools("Emulation.setDeviceMetricsOverride", &phone);
        self.client.issue_cmd(resize).await.unwrap();
    }
}

/// A command of the DevTools protocol to the tab that is driven.
fn devtools(command: &str, parameters: &Value) -> Extension {
    Extension {
        path: "goog/cdp/execute",
        body: json!({ "cmd": command, "params": parameters }),
    }
}

/// A command that WebDriver does not have and chromedriver has.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        let session = session.expect("the client has a session");
        base.join(&format!("session/{session}/{}", self.path))
    }

    fn method_and_body(&self, _url: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

/// How long a page may take for anything; only a test that fails waits so long.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(30);
