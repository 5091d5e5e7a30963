//! Browsers with a cookie session of a real Laravel: encrypted cookies, whose values change with
//! each response, CSRF tokens, and log-outs by a form.

use std::collections::BTreeMap;

use hyper::{HeaderMap, Request};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::super::Browser;
use super::super::support::http::{Client, body};
use super::super::support::upload_sender::UploadSender;
use super::super::support::{Answer, Socket};
use super::{App, PNG, Php};

/// The front end of the site, and the cookies of its browser.
struct Page {
    origin: String,
    host: String,
    cookies: BTreeMap<String, String>,
}

impl Page {
    /// Logs `user` in.
    async fn of(app: &App, user: &str) -> Self {
        let host = format!("localhost:{}", app.edge.address.port());
        let mut page = Self {
            origin: format!("https://{host}"),
            host,
            cookies: BTreeMap::new(),
        };
        assert_eq!(page.fetch(app, "GET", "/session", "").await.status, 200);
        let form = format!("username={user}&password=secret-{user}");
        assert_eq!(page.fetch(app, "POST", "/login", &form).await.status, 302);
        page
    }

    async fn fetch(&mut self, app: &App, method: &str, path: &str, form: &str) -> Answer {
        let csrf_token = self.cookies.get("XSRF-TOKEN").map_or("", String::as_str);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("origin", &self.origin)
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", self.cookies())
            .header(
                "x-xsrf-token",
                &*percent_decode_str(csrf_token).decode_utf8().unwrap(),
            );
        let request = request.body(body(form.to_owned())).unwrap();
        let answer = Client::http1(&app.edge).await.fetch(request).await;
        self.keep_cookies(&answer.headers);
        answer
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        for value in headers.get_all("set-cookie") {
            let (pair, _) = value.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    fn cookies(&self) -> String {
        let pairs = self.cookies.iter();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    /// A WebSocket of the page, in a ticket.
    async fn joined(&self, app: &App, ticket: u64) -> Socket {
        let headers = [
            ("host", &*self.host),
            ("origin", &*self.origin),
            ("cookie", &*self.cookies()),
        ];
        let mut socket = Socket::try_open(&app.edge, "/ws", &headers).await.unwrap();
        assert_eq!(socket.next().await["type"], "connection");
        socket.join(ticket).await;
        socket
    }
}

#[tokio::test]
#[ignore = "needs php"]
async fn browser_with_a_cookie_session_joins_uploads_and_logs_out() {
    for php in [Php::BuiltIn, Php::Fpm] {
        let app = App::configured(php, COOKIES).await;
        let mut page = Page::of(&app, "ana").await;
        let mut first = page.joined(&app, 1).await;
        let before = page.cookies();
        page.fetch(&app, "GET", "/session", "").await;
        assert_ne!(page.cookies(), before, "Laravel encrypts it anew");
        let mut second = page.joined(&app, 1).await;
        second.expect_join_denied(3).await;

        let start = json!({ "type": "upload_start", "payload": { "upload_id": "a",
            "ticket_id": 1, "name": "a.png", "size": PNG.len(), "mime": "image/png" } });
        let mut sending = UploadSender::begin(&mut second, start).await;
        sending.until(&mut second, PNG, PNG.len()).await;
        sending.wait_for_event(&mut second, "upload_done").await;

        let mut other_browser = Page::of(&app, "ana").await.joined(&app, 1).await;
        let form = page.fetch(&app, "POST", "/logout", "").await;
        assert_eq!(form.status, 302, "{}", form.text());
        assert_eq!(first.closed().await.0, 4503, "{php:?}");
        assert_eq!(second.closed().await.0, 4503, "{php:?}");
        other_browser.send(json!({ "type": "ping" })).await;
        other_browser.until("pong").await;
    }
}

/// A browser adds the cookie by itself, also to the handshakes of hostile pages. Cookies know no
/// ports, and the page of another port is of the same site.
#[tokio::test]
#[ignore = "needs chromium and php"]
async fn page_connects_by_its_cookie_and_a_page_of_another_port_does_not() {
    let ports = "[server]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n";
    let app = App::configured(Php::BuiltIn, &format!("{ports}{COOKIES}")).await;
    let [port, other_port] = [0, 1].map(|index| app.edge.addresses[index].port());
    let browser = Browser::start().await;
    browser
        .open(&format!("https://localhost:{port}/session"))
        .await;
    browser
        .run(&post("/login", "username=ana&password=secret-ana"))
        .await;
    browser.until("window.posted").await;
    browser.run(&connect(port)).await;
    browser.until("events.includes('connection')").await;
    let page = browser.tab().await;

    browser.new_tab().await;
    browser
        .open(&format!("https://localhost:{other_port}/session"))
        .await;
    browser.run(&connect(port)).await;
    browser.until("events[0] === 1006").await;
    browser.run(&connect(other_port)).await;
    browser.until("events.includes('connection')").await;

    browser.switch_to(&page).await;
    browser.run(&post("/logout", "")).await;
    browser.until("events.includes(4503)").await;
}

/// A script that sends a form with the CSRF token of the page's cookie.
fn post(path: &str, form: &str) -> String {
    format!(
        "const [, token] = document.cookie.match(/XSRF-TOKEN=([^;]*)/);
         fetch({path:?}, {{
             method: 'POST',
             headers: {{
                 'X-XSRF-TOKEN': decodeURIComponent(token),
                 'Content-Type': 'application/x-www-form-urlencoded',
             }},
             body: {form:?},
         }}).then(() => {{ window.posted = true; }});"
    )
}

/// A script that opens a WebSocket, and collects its events and its close code.
fn connect(port: u16) -> String {
    format!(
        "window.events = [];
         const socket = new WebSocket('wss://localhost:{port}/ws');
         socket.onmessage = ({{ data }}) => events.push(JSON.parse(data).type);
         socket.onclose = ({{ code }}) => events.push(code);"
    )
}

const COOKIES: &str = "[auth]\nsession_cookies = [\"desk_session\"]\n";
