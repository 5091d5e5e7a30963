//! The edge before a real Laravel, which broadcasts by itself.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::Browser;
use super::support::{Edge, Socket};

mod addresses;
mod cookies;
mod fpm;
mod tickets;
mod uploads;

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
            // The edge recognizes log-outs by itself.
            .env("EDGE_WATCH_LOGOUTS", "false")
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

/// One grey pixel.
pub(crate) const PNG: &[u8] = b"\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00\x3a\x7e\x9b\x55\x00\x00\x00\x0a\x49\x44\x41\x54\x78\x9c\x63\x68\x00\x00\x00\x82\x00\x81\x77\xcd\x72\xb6\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82";
