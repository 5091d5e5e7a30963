//! php-fpm itself behind the edge, with scripts that do what scripts should not.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::http::{Client, body, get, post};
use crate::support::program::Program;

/// php-fpm with one pool, whose app is `index.php`.
struct Fpm {
    child: Child,
    directory: TempDir,
}

impl Fpm {
    /// `pool` is more of the pool's configuration.
    async fn start(pool: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("public")).unwrap();
        std::fs::write(at("public/index.php"), APP).unwrap();
        std::fs::write(at("public/other.php"), "<?php echo 'other';").unwrap();
        let socket = at("fpm.sock");
        std::fs::write(
            at("fpm.conf"),
            format!(
                "[global]\ndaemonize = no\nerror_log = {}\n[app]\nuser = root\nlisten = {}\n\
                 pm = static\n{pool}\n",
                at("fpm.log").display(),
                socket.display(),
            ),
        )
        .unwrap();
        let child = Command::new(program())
            .args(["--allow-to-run-as-root", "--fpm-config"])
            .arg(at("fpm.conf"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while UnixStream::connect(&socket).await.is_err() {
            tokio::task::yield_now().await;
        }
        Self { child, directory }
    }

    fn url(&self) -> String {
        let socket = self.directory.path().join("fpm.sock");
        format!("fastcgi+unix:{}", socket.display())
    }

    /// The edge before it.
    fn start_edge(&self) -> Program {
        self.start_edge_with("[limits]\nexempt = [\"127.0.0.0/8\"]\n")
    }

    /// The edge before it, configured by more TOML; first comes what belongs to
    /// `[upstream]`.
    fn start_edge_with(&self, more: &str) -> Program {
        let root = self.directory.path().join("public");
        Program::before(&self.url(), &format!("root = {root:?}\n{more}"))
    }
}

impl Drop for Fpm {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

/// Debian puts the version into its name.
fn program() -> std::path::PathBuf {
    let mut all: Vec<_> = std::fs::read_dir(Path::new("/usr/sbin"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("/php-fpm"))
        .collect();
    all.sort();
    all.pop().expect("php-fpm is installed")
}

const APP: &str = r#"<?php
switch (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH)) {
    case '/complain': error_log("this\nis wrong \x1b[31m"); echo 'complained'; break;
    case '/fatal': nothing_of_this_name(); break;
    case '/kill': posix_kill(getmypid(), 9); break;
    case '/half':
        header('Content-Type: application/octet-stream');
        echo str_repeat('x', 200000);
        flush();
        posix_kill(getmypid(), 9);
        break;
    case '/early': echo 'early'; fastcgi_finish_request(); usleep(1000); break;
    case '/late': echo 'late'; fastcgi_finish_request(); sleep(3600); break;
    case '/port': echo $_SERVER['REMOTE_PORT']; break;
    case '/sum':
        $sum = hash_init('sha256'); $length = 0;
        $input = fopen('php://input', 'r');
        while (!feof($input)) { $read = fread($input, 1 << 20); $length += strlen($read); hash_update($sum, $read); }
        echo json_encode(['length' => $length, 'declared' => (int) $_SERVER['CONTENT_LENGTH'], 'sum' => hash_final($sum)]);
        break;
    case '/export':
        header('Content-Length: ' . (3 << 20));
        for ($i = 0; $i < 3; $i++) { echo str_repeat(chr(97 + $i), 1 << 20); }
        break;
    case '/large': for ($i = 0; $i < 1024; $i++) { echo str_repeat('x', 1 << 20); } break;
    default: echo $_SERVER['REQUEST_METHOD'];
}
"#;

#[tokio::test]
#[ignore = "needs php"]
async fn script_that_fpm_cannot_find_is_logged_with_its_cause() {
    let fpm = Fpm::start("pm.max_children = 1").await;
    let edge = Program::before(&fpm.url(), "root = \"/nowhere\"\n");
    let doubt = |line: &Value| {
        let detail = line["detail"].as_str();
        detail.is_some_and(|detail| detail.contains("/nowhere/index.php"))
    };
    edge.logged(doubt).await;
    let answer = edge
        .http1()
        .await
        .fetch(get("/").body(body("")).unwrap())
        .await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(
        !answer.text().contains("File not found"),
        "{}",
        answer.text()
    );
    let error = |line: &Value| line["error"].as_str().unwrap_or_default().to_owned();
    let line = edge
        .logged(|line| error(line).contains("php-fpm does not run index.php"))
        .await;
    assert!(error(&line).contains("it finds no such file"), "{line}");
}

/// PHP caches where a symbolic link leads for two minutes, and the compiled file for longer.
#[tokio::test]
#[ignore = "needs php"]
async fn release_behind_a_moved_link_is_served_at_once() {
    let fpm = Fpm::start("pm.max_children = 1").await;
    let at = |name: &str| fpm.directory.path().join(name);
    let root = at("current");
    let deploy = |release: &str| {
        std::fs::create_dir(at(release)).unwrap();
        let script = format!("<?php echo '{release} in ', basename(__DIR__);");
        std::fs::write(at(release).join("index.php"), script).unwrap();
        std::os::unix::fs::symlink(release, at("new")).unwrap();
        std::fs::rename(at("new"), &root).unwrap();
    };
    deploy("release-1");
    let edge = Program::before(&fpm.url(), &format!("root = {root:?}\n"));
    let mut client = edge.http1().await;
    for release in ["release-1", "release-2", "release-3"] {
        if release != "release-1" {
            deploy(release);
        }
        for _ in 0..3 {
            let answer = client.fetch(get("/").body(body("")).unwrap()).await;
            assert_eq!(answer.text(), format!("{release} in {release}"));
        }
    }
}

#[tokio::test]
#[ignore = "needs php"]
async fn single_process_serves_all_clients_in_turn() {
    // It is a new one after each third request.
    let fpm = Fpm::start("pm.max_children = 1\npm.max_requests = 3").await;
    let edge = fpm.start_edge();
    let all = (0..60).map(|number| {
        let edge = &edge;
        async move {
            let mut client = edge.http1().await;
            for _ in 0..3 {
                let (request, wanted) = match number % 3 {
                    0 => (post("/"), "POST"),
                    _ => (get("/"), "GET"),
                };
                let answer = client.fetch(request.body(body("")).unwrap()).await;
                assert_eq!((answer.status.as_u16(), answer.text()), (200, wanted));
            }
        }
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
#[ignore = "needs php"]
async fn php_warnings_errors_and_crashes_are_distinguished() {
    let fpm = Fpm::start("pm.max_children = 2").await;
    let edge = fpm.start_edge();
    let ask = async |path: &str| {
        let mut client: Client = edge.http1().await;
        client.fetch(get(path).body(body("")).unwrap()).await
    };
    assert_eq!(ask("/complain").await.text(), "complained");
    edge.logged(|line| {
        line["event"] == "php_stderr" && line["text"].as_str().unwrap().contains("is wrong")
    })
    .await;
    assert_eq!(
        ask("/fatal").await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(ask("/kill").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(ask("/early").await.text(), "early");
    assert_eq!(ask("/other.php").await.text(), "GET");
    assert!(ask("/port").await.text().parse::<u16>().unwrap() > 1023);
    let mut stream = edge.connect("http/1.1").await;
    let request = b"GET /half HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    let got = String::from_utf8(got).unwrap();
    assert!(got.starts_with("HTTP/1.1 200 OK"), "{got}");
    assert!(!got.ends_with("0\r\n\r\n"), "it looks whole");
}

/// php-fpm takes no parameter that is in two records.
#[tokio::test]
#[ignore = "needs php"]
async fn head_longer_than_a_record_is_passed_on() {
    let fpm = Fpm::start("pm.max_children = 1").await;
    let edge = fpm.start_edge_with("[http]\nmax_header_size = \"60 KiB\"\n");
    // PHP gets the query twice, in `REQUEST_URI` and in `QUERY_STRING`.
    let long = (0..4).fold(
        get(&format!("/?{}", "q".repeat(7000))),
        |request, number| request.header(format!("x-{number}"), "a".repeat(13_000)),
    );
    let mut client = edge.http1().await;
    let answer = client.fetch(long.body(body("")).unwrap()).await;
    assert_eq!(answer.text(), "GET");
}

/// PHP has no bound of its own; a parameter must fit into one record of 64 KiB.
#[tokio::test]
#[ignore = "needs php"]
async fn target_up_to_the_configured_size_reaches_php() {
    let fpm = Fpm::start("pm.max_children = 1").await;
    let edge =
        fpm.start_edge_with("[http]\nmax_header_size = \"60 KiB\"\nmax_target_size = \"50 KiB\"\n");
    let mut client = edge.http1().await;
    for (length, status) in [(51_200, StatusCode::OK), (51_201, StatusCode::URI_TOO_LONG)] {
        let target = format!("/?{}", "q".repeat(length - 2));
        let answer = client.fetch(get(&target).body(body("")).unwrap()).await;
        assert_eq!(answer.status, status);
    }
}

/// Laravel ends every answer so, and then does what it has put off.
#[tokio::test]
#[ignore = "needs php"]
async fn client_does_not_wait_for_work_after_the_response() {
    let fpm = Fpm::start("pm.max_children = 2").await;
    let edge = fpm.start_edge();
    for (path, text) in [("/late", "late"), ("/", "GET")] {
        let mut client = edge.http1().await;
        let answer = client.fetch(get(path).body(body("")).unwrap());
        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
        assert_eq!(answer.expect("it does not wait").text(), text);
    }
}

/// Debian's pool has five processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs php"]
async fn unread_responses_leave_processes_to_others() {
    let fpm = Fpm::start("pm.max_children = 5").await;
    let edge = fpm.start_edge();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(1000);
    let stream = TokioIo::new(edge.connect("h2").await);
    let (sender, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut exports = Vec::new();
    for _ in 0..8 {
        let mut client = Client::Http2(sender.clone());
        let request = get("/export").body(body("")).unwrap();
        exports.push(tokio::spawn(
            async move { client.send(request).await.unwrap() },
        ));
    }
    let requests = async {
        let heads = futures_util::future::join_all(exports).await;
        let answer = edge
            .http1()
            .await
            .fetch(get("/").body(body("")).unwrap())
            .await;
        assert_eq!(answer.text(), "GET");
        heads
    };
    let heads = tokio::time::timeout(Duration::from_secs(30), requests).await;
    let read = heads.expect("all processes are occupied").into_iter();
    let read = read.map(|head| head.unwrap().into_body().collect());
    for whole in futures_util::future::join_all(read).await {
        let whole = whole.unwrap().to_bytes();
        let parts: Vec<_> = whole
            .chunks(1 << 20)
            .map(|part| (part[0], part[part.len() - 1]))
            .collect();
        assert_eq!(parts, [(b'a', b'a'), (b'b', b'b'), (b'c', b'c')]);
        assert_eq!(whole.len(), 3 << 20);
    }
}

/// As much as the edge must never hold in memory, both ways.
#[tokio::test]
#[ignore = "needs php"]
async fn gigabyte_body_passes_in_little_memory() {
    let fpm = Fpm::start("pm.max_children = 1").await;
    let edge = fpm
        .start_edge_with("disk_buffer_size = \"4095 MiB\"\n[http]\nmax_body_size = \"1023 MiB\"\n");
    let (pieces, sent) = crate::support::http::streamed();
    let mut client = edge.http2().await;
    let sending = async move {
        let piece = bytes::Bytes::from(vec![b'x'; 1 << 20]);
        for _ in 0..1000 {
            pieces.send(piece.clone()).await.unwrap();
        }
    };
    let request = post("/sum").body(sent).unwrap();
    let (answer, ()) = tokio::join!(client.fetch(request), sending);
    let report = answer.json();
    assert_eq!(report["length"], 1000_u64 << 20, "{report}");
    assert_eq!(report["declared"], report["length"]);
    let mut stream = edge.connect("http/1.1").await;
    let request = b"GET /large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let (mut length, mut buffer) = (0_u64, vec![0; 1 << 20]);
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            read => length += read as u64,
        }
    }
    assert!(length >= 1 << 30, "{length}");
    let (_, most) = edge.memory();
    assert!(most < 100 << 20, "{most} bytes at the most");
}
