//! The binary as a process of its own, so that what it costs can be read.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use hyper::StatusCode;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::history_off;
use super::http::{Client, body, connect_to, post, secure};

/// A directory with a certificate and a configuration, where programs run.
pub(crate) struct Home {
    certificate: CertificateDer<'static>,
    directory: TempDir,
}

impl Home {
    /// For an edge before `upstream` that listens on `address`, configured by more
    /// TOML.
    pub(crate) fn new(upstream: &str, address: SocketAddr, more: &str) -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        write("cert.pem", &made.cert.pem());
        write("key.pem", &made.signing_key.serialize_pem());
        let history = history_off(more);
        write(
            "config.toml",
            &format!(
                "[server]\nlisten = [\"{address}\"]\n\
                 [tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\
                 [broadcast]\nsocket = \"broadcast.sock\"\n\
                 {history}[upstream]\nurl = \"{upstream}\"\n{more}"
            ),
        );
        Arc::new(Self {
            certificate: made.cert.der().clone(),
            directory,
        })
    }

    /// Puts `with` in place of `text` in the configuration.
    pub(crate) fn configure(&self, text: &str, with: &str) {
        let path = self.path("config.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        assert!(config.contains(text));
        std::fs::write(path, config.replacen(text, with, 1)).unwrap();
    }

    /// A file here.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The binary, in this directory.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pwd-edge"));
        command.current_dir(self.directory.path());
        command
    }

    /// `pwd-edge run` with sockets that were open before, as systemd passes them.
    /// The place of standard input, output and so on is the way in.
    pub(crate) fn command_with(&self, first: OwnedFd, second: Option<OwnedFd>) -> Command {
        let (count, moved) = match second {
            None => (1, "exec 3<&0 </dev/null"),
            Some(_) => (2, "exec 3<&0 4>&1 </dev/null >/dev/null"),
        };
        let mut command = Command::new("sh");
        command.current_dir(self.directory.path()).stdin(first);
        if let Some(second) = second {
            command.stdout(second);
        }
        let run = env!("CARGO_BIN_EXE_pwd-edge");
        command.args(["-c", &format!(
            "{moved}; export LISTEN_PID=$$ LISTEN_FDS={count}; exec {run} run --config config.toml"
        )]);
        command
    }

    /// Connects to an edge that has this certificate.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        alpn: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        connect_to(address, &self.certificate, alpn, rustls::ALL_VERSIONS).await
    }
}

pub(crate) struct Program {
    pub(crate) address: SocketAddr,
    child: Child,
    /// Its lines.
    log: Arc<Mutex<Vec<Value>>>,
    home: Arc<Home>,
}

impl Program {
    /// Runs `pwd-edge run` before `upstream`, configured by more TOML, and waits
    /// until it is ready.
    pub(crate) fn before(upstream: &str, more: &str) -> Self {
        let home = Home::new(upstream, SocketAddr::from(([127, 0, 0, 1], 0)), more);
        let mut command = home.command();
        command.args(["run", "--config", "config.toml"]);
        Self::start(&home, command)
    }

    /// Runs `command`, which is a `pwd-edge run`, and waits until it is ready.
    pub(crate) fn start(home: &Arc<Home>, mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = None;
        let mut before = Vec::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            match line["event"].as_str().unwrap_or_default() {
                "listening" if line["key"] == "server.listen" => {
                    address = line["address"].as_str().unwrap().parse().ok();
                }
                "ready" => break,
                _ => {}
            }
            before.push(line);
        }
        let log = Arc::new(Mutex::new(before));
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                written.lock().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self {
            address: address.unwrap(),
            child,
            log,
            home: Arc::clone(home),
        }
    }

    pub(crate) async fn http1(&self) -> Client {
        Client::over_http1(self.connect("http/1.1").await).await
    }

    pub(crate) async fn http2(&self) -> Client {
        Client::over_http2(self.connect("h2").await).await
    }

    /// Waits for a line of its log.
    pub(crate) async fn logged(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let found = self.log.lock().iter().find(|line| wanted(line)).cloned();
            if let Some(line) = found {
                return line;
            }
            tokio::task::yield_now().await;
        }
    }

    /// How many such lines its log has.
    pub(crate) fn count(&self, wanted: impl Fn(&Value) -> bool) -> usize {
        self.log.lock().iter().filter(|line| wanted(line)).count()
    }

    /// Its lines so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.log.lock().clone()
    }

    /// Its lines so far with this event.
    pub(crate) fn events(&self, id: &str) -> Vec<Value> {
        let lines = self.lines().into_iter();
        lines.filter(|line| line["event"] == id).collect()
    }

    /// A command about this process.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command();
        command.args(arguments);
        command
    }

    /// Adds to the configuration's file.
    pub(crate) fn append_config(&self, more: &str) {
        let path = self.home.path("config.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text + more).unwrap();
    }

    /// A file in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path(name)
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What `pwd-edge status` tells. On a slow machine the command may give up first.
    pub(crate) async fn status(&self) -> Value {
        let executable = format!("/proc/{}/exe", self.child.id());
        loop {
            let mut command = tokio::process::Command::from(self.command(&["status", "--json"]));
            let output = command.output().await.unwrap();
            let status: Value = serde_json::from_slice(&output.stdout).unwrap();
            if status["connections"].is_u64() {
                return status;
            }
            assert!(std::fs::read_link(&executable).is_ok(), "it has ended");
        }
    }

    /// Sends SIGHUP.
    pub(crate) fn send_sighup(&self) {
        self.signal("-HUP");
    }

    /// Sends a signal, named as `kill` has it.
    pub(crate) fn signal(&self, which: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([which, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// The process that the one we started has started.
    pub(crate) fn child_pid(&self) -> u32 {
        let pid = self.child.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(children).unwrap();
        children.trim().parse().unwrap()
    }

    /// Sends SIGTERM, and waits for the end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("-TERM");
        self.child.wait().unwrap()
    }

    pub(crate) async fn connect(&self, alpn: &str) -> TlsStream<TcpStream> {
        self.home.connect(self.address, alpn).await.unwrap()
    }

    /// TLS over a connection to it.
    pub(crate) async fn secure(
        &self,
        stream: TcpStream,
        alpn: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        secure(stream, &self.home.certificate, alpn, rustls::ALL_VERSIONS).await
    }

    /// Tells a ticket's room something, over the Unix socket.
    pub(crate) async fn publish(&self, ticket: u64, mut payload: Value) {
        payload["ticket_id"] = ticket.into();
        let event = serde_json::json!({ "type": "new_message", "payload": payload });
        let request = post("/broadcast").body(body(event.to_string())).unwrap();
        assert_eq!(
            self.laravel().await.fetch(request).await.status,
            StatusCode::OK
        );
    }

    /// A connection to the Unix socket.
    pub(crate) async fn laravel(&self) -> Client {
        let socket = self.path("broadcast.sock");
        Client::over_http1(UnixStream::connect(socket).await.unwrap()).await
    }

    /// Resident memory now, and the most that it ever was, in bytes.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Program {
    /// Its open files.
    pub(crate) fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        files.unwrap().count()
    }

    /// Ends it at once; its directory stays.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
