//! The edge before a real Laravel, which broadcasts by itself.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper::Request;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::Browser;
use super::support::http::{Client, body};
use super::support::upload_sender::{UploadSender, next_upload_event};
use super::support::{Answer, Edge, Socket};

/// The app in `tests/laravel` behind an edge. PHP and its workers end with it.
struct App {
    edge: Edge,
    process: Child,
    data: TempDir,
}

/// How PHP is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Php {
    /// By `php -S`, over HTTP.
    BuiltIn,
    /// By php-fpm, over FastCGI.
    Fpm,
}

impl App {
    async fn start() -> Self {
        Self::configured(Php::BuiltIn, "").await
    }

    /// Behind an edge with more configuration.
    async fn configured(php: Php, more: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let (address, socket) = (free_address(), data.path().join("fpm.sock"));
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/laravel");
        let upstream = match php {
            Php::BuiltIn => format!("[upstream]\nurl = \"http://{address}\"\n"),
            Php::Fpm => format!(
                "[upstream]\nurl = \"fastcgi+unix:{}\"\nroot = {:?}\n",
                socket.display(),
                app.join("public")
            ),
        };
        // The edge first: the app has to know its socket.
        let edge = Edge::configured("", &(upstream + more));
        let log = std::fs::File::create(data.path().join("php.log")).unwrap();
        let mut command = Command::new(app.join("run"));
        match php {
            Php::BuiltIn => command.env("APP_PORT", address.port().to_string()),
            // As the app is shipped: it trusts nobody, and need not.
            Php::Fpm => command.env("APP_FPM", &socket).env("APP_TRUSTED_PROXY", ""),
        };
        let process = command
            .env("APP_DATA", data.path())
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
        let listens = || match php {
            Php::BuiltIn => TcpStream::connect(address).is_ok(),
            Php::Fpm => UnixStream::connect(&socket).is_ok(),
        };
        app.wait_until(listens).await;
        app
    }

    async fn wait_until(&mut self, listens: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !listens() {
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
        browser.wait_for_text("#connection", "connected").await;
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
async fn message_posted_over_http_arrives_over_wss() {
    let app = App::start().await;
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

impl App {
    /// A session of a user in his ticket.
    async fn joined(&self, user: &str, ticket: u64) -> Socket {
        let tokens = std::fs::read(self.data.path().join("tokens.json")).unwrap();
        let tokens: Value = serde_json::from_slice(&tokens).unwrap();
        Socket::joined(&self.edge, tokens[user].as_str().unwrap(), ticket).await
    }

    /// The attachments that are stored, by name.
    fn stored(&self) -> Vec<(String, Vec<u8>)> {
        let mut stored = Vec::new();
        let mut todo = vec![self.data.path().to_owned()];
        while let Some(directory) = todo.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path);
                } else if path.parent().unwrap().ends_with("support_attachments") {
                    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                    stored.push((name, std::fs::read(path).unwrap()));
                }
            }
        }
        stored
    }
}

/// Sends `file` as ana to ticket 1; returns how that ended.
async fn upload(socket: &mut Socket, name: &str, file: &[u8]) -> Value {
    let payload = json!({
        "upload_id": "a", "ticket_id": 1, "name": name, "size": file.len(), "message": "Narito po",
    });
    let start = json!({ "type": "upload_start", "payload": payload });
    let mut sending = UploadSender::begin(socket, start).await;
    sending.until(socket, file, file.len()).await;
    loop {
        let event = next_upload_event(socket).await;
        if event["type"].as_str().unwrap().starts_with("upload_") {
            return event;
        }
    }
}

#[tokio::test]
#[ignore = "needs php"]
async fn uploaded_file_is_stored_unchanged_by_laravel() {
    for php in [Php::BuiltIn, Php::Fpm] {
        assert_upload_is_stored(&App::configured(php, "").await).await;
    }
}

async fn assert_upload_is_stored(app: &App) {
    let mut ana = app.joined("ana", 1).await;
    let mut png = PNG.to_vec();
    for size in [PNG.len(), 32 * 1024, 32 * 1024 + 1, 10 * 1024 * 1024] {
        png.resize(size, 7);
        let name = "Liham \"Ñoño\"; ni 'ana' 📎🎉.png";
        let event = upload(&mut ana, name, &png).await;
        assert_eq!(event["type"], "upload_done", "{event}");
        let message = &event["payload"]["response"]["ticket_message"];
        assert_eq!(message["attachment_name"], name);
        assert_eq!(message["attachment_size"], size);
        assert_eq!(message["message"], "Narito po");
        let stored = app.stored();
        assert!(stored.iter().any(|(_, bytes)| *bytes == png), "{size}");
    }
}

#[tokio::test]
#[ignore = "needs php"]
async fn upload_rejected_by_laravel_is_reported_and_not_stored() {
    for php in [Php::BuiltIn, Php::Fpm] {
        assert_rejection_is_reported(&App::configured(php, "").await).await;
    }
}

async fn assert_rejection_is_reported(app: &App) {
    let mut ana = app.joined("ana", 1).await;
    for file in [&b"MZ\x90\0\x03\0\0\0"[..], b""] {
        let event = upload(&mut ana, "picture.png", file).await;
        assert_eq!(event["type"], "upload_failed", "{event}");
        assert_eq!(event["payload"]["code"], "invalid");
        assert_eq!(event["payload"]["status"], 422);
        let errors = &event["payload"]["errors"]["attachment"];
        assert!(errors[0].is_string(), "{event}");
    }
    assert!(app.stored().is_empty());
    ana.settle().await;
}

/// One grey pixel.
pub(crate) const PNG: &[u8] = b"\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00\x3a\x7e\x9b\x55\x00\x00\x00\x0a\x49\x44\x41\x54\x78\x9c\x63\x68\x00\x00\x00\x82\x00\x81\x77\xcd\x72\xb6\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82";

/// What the real app makes of a request: `lines` are more headers.
async fn fetch_echo(app: &App, path: &str, lines: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path).header("host", "localhost:8443");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let request = request.body(body("")).unwrap();
    Client::http1(&app.edge).await.fetch(request).await
}

const FORWARDED_HEADERS: [(&str, &str); 3] = [
    ("x-forwarded-for", "192.0.2.9"),
    ("x-forwarded-host", "desk.example"),
    ("x-forwarded-proto", "https"),
];

#[tokio::test]
#[ignore = "needs php"]
async fn laravel_sees_its_own_address_and_its_clients() {
    for php in [Php::BuiltIn, Php::Fpm] {
        assert_addresses_are_seen(&App::configured(php, "").await).await;
    }
}

async fn assert_addresses_are_seen(app: &App) {
    for lines in [&[][..], &FORWARDED_HEADERS] {
        let told = fetch_echo(app, "/echo/url?a=b", lines).await.json();
        assert_eq!(told["url"], "https://localhost:8443/somewhere");
        assert_eq!(told["full"], "https://localhost:8443/echo/url?a=b");
        assert_eq!(
            (&told["secure"], &told["ip"]),
            (&true.into(), &"127.0.0.1".into())
        );
    }
    let moved = fetch_echo(app, "/echo/redirect", &FORWARDED_HEADERS).await;
    assert_eq!(moved.headers["location"], "https://localhost:8443/echo/url");
    let cookie = fetch_echo(app, "/echo/cookie", &[]).await;
    let cookies = cookie.headers.get_all("set-cookie").iter();
    let mut cookies = cookies.map(|value| value.to_str().unwrap().to_ascii_lowercase());
    let probe = cookies.find(|cookie| cookie.starts_with("probe=")).unwrap();
    assert!(
        probe.contains("secure") && probe.contains("httponly"),
        "{probe}"
    );

    // A form with a file, over either protocol.
    let form = "--x\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n\
                --x\r\nContent-Disposition: form-data; name=\"attachment\"; filename=\"a.txt\"\r\n\
                Content-Type: text/plain\r\n\r\nsome text\r\n--x--\r\n";
    for mut client in [
        Client::http1(&app.edge).await,
        Client::http2(&app.edge).await,
    ] {
        let request = Request::post("/echo/body")
            .header("host", "localhost")
            .header("content-type", "multipart/form-data; boundary=x");
        let told = client.fetch(request.body(body(form)).unwrap()).await.json();
        assert_eq!(told["fields"]["note"], "hello", "{told}");
        assert_eq!(told["files"]["attachment"]["name"], "a.txt", "{told}");
        assert_eq!(told["files"]["attachment"]["size"], 9, "{told}");
    }
    let told = fetch_echo(app, "/echo/headers", &[("x_forwarded_for", "6.6.6.6")]).await;
    assert!(!told.text().contains("6.6.6.6"), "{}", told.text());
}

#[tokio::test]
#[ignore = "needs php"]
async fn laravel_behind_two_proxies_sees_its_clients() {
    let trusted = "[server]\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let listed = "trusted_headers = [\"x-forwarded-for\", \"x-forwarded-host\"]\n";
    for php in [Php::BuiltIn, Php::Fpm] {
        // A host that the client may have written, and one that the proxy writes.
        let app = App::configured(php, trusted).await;
        let told = fetch_echo(&app, "/echo/url", &FORWARDED_HEADERS)
            .await
            .json();
        assert_eq!(told["url"], "https://localhost:8443/somewhere");
        assert_eq!(told["ip"], "192.0.2.9");
        let app = App::configured(php, &format!("{trusted}{listed}")).await;
        let told = fetch_echo(&app, "/echo/url", &FORWARDED_HEADERS)
            .await
            .json();
        assert_eq!(told["url"], "https://desk.example/somewhere");
        assert_eq!(
            (&told["secure"], &told["ip"]),
            (&true.into(), &"192.0.2.9".into())
        );
        let moved = fetch_echo(&app, "/echo/redirect", &FORWARDED_HEADERS).await;
        assert_eq!(moved.headers["location"], "https://desk.example/echo/url");
    }
}

/// Writes a site into `front`. Returns `docs/pwd-site.toml` from `[limits]` on, as it is but
/// for places and ports.
fn site_example(front: &Path) -> String {
    let write = |name: &str, text: &str| std::fs::write(front.join(name), text).unwrap();
    std::fs::create_dir(front.join("assets")).unwrap();
    write("index.html", "<title>PWD</title>");
    write("assets/index-BxK3q9Za.js", "start()");
    let site = include_str!("../../docs/pwd-site.toml");
    let (before, rest) = site.split_once("[upstream]").unwrap();
    assert!(before.contains("[server]") && before.contains("[tls]"));
    let (_, rest) = rest.split_once("[limits]").unwrap();
    let public = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/laravel/public");
    let shown = front.join("shown");
    std::fs::create_dir(&shown).unwrap();
    // Waiting for the maintenance page takes more requests than a visitor sends.
    format!("[limits]\nrequests_per_second = 100000\nrequest_burst = 100000{rest}")
        .replace("/var/www/pwd-frontend/build", front.to_str().unwrap())
        .replace("/var/www/pwd/public", public.to_str().unwrap())
        .replace("/var/www/pwd/storage/app/public", shown.to_str().unwrap())
        .replace(
            "/var/www/pwd/maintenance.html",
            front.join("closed").to_str().unwrap(),
        )
}

#[tokio::test]
#[ignore = "needs php"]
async fn site_example_serves_the_whole_site() {
    let front = tempfile::tempdir().unwrap();
    let more = site_example(front.path());
    let app = App::configured(Php::Fpm, &more).await;
    let mut client = Client::http2(&app.edge).await;
    for path in ["/", "/tickets/5", "/index.html"] {
        let page = fetch(&mut client, Request::get(path), "").await;
        assert_eq!(
            (page.status.as_u16(), page.text()),
            (200, "<title>PWD</title>")
        );
        assert_eq!(page.headers["cache-control"], "no-cache");
    }
    let script = fetch(&mut client, Request::get("/assets/index-BxK3q9Za.js"), "").await;
    assert_eq!(script.text(), "start()");
    let json =
        |request: hyper::http::request::Builder| request.header("accept", "application/json");
    let who = fetch(&mut client, json(Request::get("/api/user")), "").await;
    assert_eq!(who.status, 401, "{}", who.text());
    let nothing = fetch(&mut client, json(Request::get("/storage/nothing.png")), "").await;
    assert_eq!(nothing.status, 404);
    let said = nothing.json();
    assert!(
        said["exception"].is_string(),
        "Laravel was not asked: {said}"
    );
    let log_in = || json(Request::post("/api/login")).header("content-type", "application/json");
    let sent = r#"{"username":"ana","password":"wrong"}"#;
    for number in 0..6 {
        let refused = fetch(&mut client, log_in(), sent).await;
        let is_limited = refused.status == 429;
        assert_eq!(is_limited, number == 5, "{number}: {}", refused.text());
    }
    let mut ana = app.joined("ana", 1).await;
    std::fs::write(front.path().join("closed"), "back at nine").unwrap();
    loop {
        let closed = fetch(&mut client, Request::get("/"), "").await;
        if closed.status == 503 {
            assert_eq!(closed.text(), "back at nine");
            break;
        }
    }
    ana.settle().await;
}

/// Asks php-fpm's app for `request`.
async fn fetch(client: &mut Client, request: hyper::http::request::Builder, sent: &str) -> Answer {
    let request = request.header("host", "localhost");
    client
        .fetch(request.body(body(sent.to_owned())).unwrap())
        .await
}

#[tokio::test]
#[ignore = "needs php"]
async fn php_runs_only_index_php_and_gets_whole_bodies() {
    let app = App::configured(Php::Fpm, "").await;
    for mut client in [
        Client::http1(&app.edge).await,
        Client::http2(&app.edge).await,
    ] {
        for path in [
            "/server.php",
            "/desk.js",
            "/artisan.php/echo/url",
            "/x/index.php",
        ] {
            let answer = fetch(&mut client, Request::get(path), "").await;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        }
        let told = fetch(&mut client, Request::get("/index.php/echo/url"), "").await;
        assert_eq!(told.json()["remote"], "127.0.0.1");
        let head = fetch(&mut client, Request::head("/echo/url"), "").await;
        assert_eq!((head.status.as_u16(), head.text()), (200, ""));
        // More than a record, a spool in memory and a pipe hold.
        for length in [0, 1, 65_535, 65_536, 1_000_000] {
            let sent = "x".repeat(length);
            let told = fetch(&mut client, Request::put("/echo/body"), &sent).await;
            assert_eq!(told.json()["length"], length);
            let path = format!("/echo/bytes?n={length}");
            let came = fetch(&mut client, Request::get(path), "").await;
            assert_eq!(came.body.len(), length);
        }
        let refused = fetch(&mut client, Request::get("/echo%2Furl"), "").await;
        assert_eq!(refused.status, 400);
    }
}
