//! The edge before a real Laravel, which broadcasts by itself.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::Browser;
use super::support::Edge;

/// The app in `tests/laravel` behind an edge. `php -S` and its workers end with it.
struct App {
    edge: Edge,
    process: Child,
    data: TempDir,
}

impl App {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let address = free_address();
        // The edge first: the app has to know its socket.
        let edge = Edge::configured(&format!("http://{address}"), "");
        let log = std::fs::File::create(data.path().join("php.log")).unwrap();
        let process = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/laravel/run"))
            .env("APP_DATA", data.path())
            .env("APP_PORT", address.port().to_string())
            .env("EDGE_SOCKET", &edge.broadcasts)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut app = Self {
            edge,
            process,
            data,
        };
        app.wait_for(address).await;
        app
    }

    async fn wait_for(&mut self, address: SocketAddr) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            let ended = self.process.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.data.path().join("php.log"));
                panic!("the app does not listen: {ended:?}\n{}", log.unwrap());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn log_in(&self, browser: &Browser, user: &str) {
        let url = format!("https://localhost:{}/", self.edge.address.port());
        browser.open(&url).await;
        browser.type_into("#username", user).await;
        browser
            .type_into("#password", &format!("secret-{user}"))
            .await;
        browser.click("#login button").await;
        browser.shows("#connection", "connected").await;
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // SIGTERM: the script ends its workers, which SIGKILL would leave behind.
        let _ = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        let _ = self.process.wait();
    }
}

/// The app takes no port 0, so one is found that was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Opens ticket 1, and waits until the edge has let the page in.
async fn open_ticket(browser: &Browser) {
    browser
        .run(
            "desk.socket.addEventListener('message', ({ data }) => {
                 if (JSON.parse(data).type === 'ticket_joined') desk.joined = true;
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

#[tokio::test]
#[ignore = "needs chromium and php"]
async fn what_is_posted_over_http_arrives_over_wss() {
    let app = App::start().await;
    let (ana, desk) = (Browser::start().await, Browser::start().await);
    for (browser, user) in [(&ana, "ana"), (&desk, "desk")] {
        app.log_in(browser, user).await;
        open_ticket(browser).await;
    }
    post(&ana, "Is it on its way?").await;
    for browser in [&ana, &desk] {
        let last = "#messages li:last-child";
        browser.shows(last, "Ana Alpha: Is it on its way?").await;
    }
    desk.choose("#new-status", "resolved").await;
    desk.click("#change button").await;
    for browser in [&ana, &desk] {
        browser.shows("#status", "resolved").await;
        browser.shows("#problem", "").await;
        browser.console_is_clean().await;
    }
}

#[tokio::test]
#[ignore = "needs chromium and php"]
async fn logging_out_in_one_tab_ends_the_other() {
    let app = App::start().await;
    let (ana, desk) = (Browser::start().await, Browser::start().await);
    app.log_in(&desk, "desk").await;
    app.log_in(&ana, "ana").await;
    let first = ana.tab().await;
    // A tab opened by the page has its token, as one that was duplicated has.
    ana.run("window.open('/')").await;
    let second = ana.other_tab(&first).await;
    ana.switch_to(&second).await;
    ana.shows("#connection", "connected").await;

    ana.switch_to(&first).await;
    ana.click("#logout").await;
    for tab in [&first, &second] {
        ana.switch_to(tab).await;
        ana.until("/^closed 450[34]$/.test(document.querySelector('#connection').innerText)")
            .await;
    }
    desk.shows("#connection", "connected").await;
    ana.console_is_clean().await;
    desk.console_is_clean().await;
}
