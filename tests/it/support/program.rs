//! The binary as a process of its own, so that what it costs can be read.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tempfile::TempDir;

use super::http::{Client, connect_to};

pub(crate) struct Program {
    pub(crate) address: SocketAddr,
    certificate: CertificateDer<'static>,
    child: Child,
    /// Its lines since it was ready.
    log: Arc<Mutex<Vec<Value>>>,
    directory: TempDir,
}

impl Program {
    /// Runs `pwd-edge run` before `upstream`, configured by more TOML, and waits
    /// until it is ready.
    pub(crate) fn before(upstream: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        write("cert.pem", &made.cert.pem());
        write("key.pem", &made.signing_key.serialize_pem());
        write(
            "config.toml",
            &format!(
                "[server]\nlisten = [\"127.0.0.1:0\"]\n\
                 [tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\
                 [broadcast]\nsocket = \"broadcast.sock\"\n\
                 [upstream]\nurl = \"{upstream}\"\n{more}"
            ),
        );
        let mut child = Command::new(env!("CARGO_BIN_EXE_pwd-edge"))
            .args(["run", "--config", "config.toml"])
            .current_dir(directory.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut address = None;
        for line in lines.by_ref() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            match line["message"].as_str().unwrap() {
                "listening" => address = line["address"].as_str().unwrap().parse().ok(),
                "ready" => break,
                _ => {}
            }
        }
        let log = Arc::<Mutex<Vec<Value>>>::default();
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                written.lock().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self {
            address: address.unwrap(),
            certificate: made.cert.der().clone(),
            child,
            log,
            directory,
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

    /// A command about this process.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pwd-edge"));
        command.args(arguments).current_dir(self.directory.path());
        command
    }

    /// Adds to the configuration's file.
    pub(crate) fn change_config(&self, more: &str) {
        let path = self.directory.path().join("config.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text + more).unwrap();
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What `pwd-edge status` tells.
    pub(crate) async fn status(&self) -> Value {
        let mut command = tokio::process::Command::from(self.command(&["status", "--json"]));
        serde_json::from_slice(&command.output().await.unwrap().stdout).unwrap()
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) async fn connect(
        &self,
        alpn: &str,
    ) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let all = rustls::ALL_VERSIONS;
        connect_to(self.address, &self.certificate, alpn, all)
            .await
            .unwrap()
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
