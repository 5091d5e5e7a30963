//! chromedriver: it starts a Chromium and lets a test drive it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A chromedriver on a port that it chose, with a directory for all that it and
/// its browser write.
pub(crate) struct Driver {
    process: Child,
    port: u16,
    directory: TempDir,
    // Kept open: a driver that cannot write its log ends.
    _stdout: BufReader<ChildStdout>,
}

impl Driver {
    pub(crate) fn start() -> Self {
        // The port that it chooses for IPv4 may be taken for IPv6: then it ends.
        let mut attempts = (0..10).map(|_| Self::try_start());
        attempts.find_map(|it| it).expect("chromedriver listens")
    }

    /// Starts one; `None` if it ends before it listens.
    fn try_start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut process = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .env("TMPDIR", directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed");
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        let port = loop {
            line.clear();
            if stdout.read_line(&mut line).unwrap() == 0 {
                let _ = process.wait();
                return None;
            }
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim().trim_end_matches('.').parse().unwrap();
            }
        };
        Some(Self {
            process,
            port,
            directory,
            _stdout: stdout,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What to ask of it for a browser that resolves names by these rules.
    pub(crate) fn capabilities(&self, rules: &str) -> Map<String, Value> {
        let profile = self.directory.path().join("profile");
        let profile = format!("--user-data-dir={}", profile.display());
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--host-resolver-rules={rules}"),
            &profile,
        ];
        let Value::Object(capabilities) = json!({
            "browserName": "chrome",
            "acceptInsecureCerts": true,
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": flags },
        }) else {
            unreachable!("it is an object")
        };
        capabilities
    }

    /// Asks for the end, browsers included: killed, the driver would leave them behind.
    fn shut_down(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let request = "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes())?;
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.shut_down().is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}
