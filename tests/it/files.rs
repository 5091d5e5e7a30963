//! Files of directories: which are sent, how, and that no other ever is.

mod compression;
mod conditions;
mod directories;
mod large_files;
mod maintenance;
mod nginx;
mod pages;
mod path_escape;
mod sendfile;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::http::connect_to;
use crate::support::{Edge, Laravel};

/// The content of files that no client may get.
const SECRET: &str = "APP_KEY=base64:c2VjcmV0";

/// No limits for the tests' own client.
const ALLOW: &str = "[limits]\nexempt = [\"127.0.0.0/8\"]\n";

/// A directory with an app as Laravel lays it out; the site is `public`.
struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for (name, text) in [
            (".env", SECRET),
            ("secret.txt", SECRET),
            ("publicity/secret.txt", SECRET),
            ("storage/app/public/photo.txt", "a photo"),
            ("storage/app/public/.gitignore", SECRET),
            ("storage/app/secret.txt", SECRET),
            ("public/.env", SECRET),
            ("public/.git/config", SECRET),
            ("public/index.php", SECRET),
            ("public/old.PHP", SECRET),
            ("public/.well-known/security.txt", "a contact"),
            ("public/index.html", "<p>a page"),
            ("public/robots.txt", "all may come"),
            ("public/docs/index.html", "<p>the docs"),
            ("public/empty/nothing.bin", ""),
            ("public/assets/app-BfS2k_9a.js", "hashed"),
            ("public/caf\u{e9} 1.txt", "a coffee"),
        ] {
            site.write(name, text);
        }
        let links = [
            ("public/inner", "robots.txt".into()),
            ("public/absolute", site.path("public/robots.txt")),
            ("public/storage", site.path("storage/app/public")),
            ("public/out", "../secret.txt".into()),
            ("public/far", "/etc/passwd".into()),
            ("public/up", "..".into()),
            ("public/root", "/".into()),
            ("public/loop", "loop".into()),
            ("public/self", "/proc/self".into()),
            ("public/storage-secret", site.path("storage/app/secret.txt")),
        ];
        for (name, target) in links {
            symlink::<PathBuf, _>(target, site.path(name)).unwrap();
        }
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        write(&self.path(name), bytes);
    }

    /// A route to `public`, with more keys.
    fn route(&self, more: &str) -> String {
        let public = self.path("public");
        format!("[[routes]]\nfiles = \"{}\"\n{more}\n", public.display())
    }

    /// An edge that sends `public` and nothing else.
    fn edge(&self) -> Edge {
        Edge::configured("http://127.0.0.1:9", &(self.route("") + ALLOW))
    }

    /// The same before an app, which gets what is no file.
    fn edge_before(&self, laravel: &Laravel) -> Edge {
        let route = self.route("upstream = \"laravel\"");
        Edge::configured(&laravel.url(), &(route + ALLOW))
    }
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// An answer as it came.
struct RawResponse {
    status: u16,
    /// In lower case.
    lines: Vec<String>,
    body: Vec<u8>,
}

impl RawResponse {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.lines.iter();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks for a target that no client library would send as it is.
async fn fetch_raw(edge: &Edge, line: &str, lines: &str) -> RawResponse {
    ask(edge.address, &edge.certificate, line, lines).await
}

async fn ask(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
    line: &str,
    lines: &str,
) -> RawResponse {
    let all = rustls::ALL_VERSIONS;
    let stream = connect_to(address, certificate, "http/1.1", all).await;
    let mut stream = stream.unwrap();
    let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Not a measure of anything: a test that hangs should say where.
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer));
    assert!(read.await.is_ok(), "no answer to {line}");
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap()[9..12].parse().unwrap();
    let lines = lines.map(|line| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
        None => line.to_owned(),
    });
    RawResponse {
        status,
        lines: lines.collect(),
        body: answer[end + 4..].to_vec(),
    }
}
