//! What is sent as what, and what is sent in its place.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::time::{Duration, SystemTime};

use hyper::StatusCode;

use super::{ALLOW, Site, fetch_raw};
use crate::support::http::{Client, body, get};
use crate::support::program::{Home, Program};
use crate::support::{Edge, Laravel, Socket};

/// A path, its media type, its `Cache-Control`, and its content.
const FILES: &[(&str, &str, Option<&str>, &str)] = &[
    (
        "/",
        "text/html; charset=utf-8",
        Some("no-cache"),
        "<p>a page",
    ),
    (
        "/index.html",
        "text/html; charset=utf-8",
        Some("no-cache"),
        "<p>a page",
    ),
    (
        "/robots.txt",
        "text/plain; charset=utf-8",
        Some("no-cache"),
        "all may come",
    ),
    (
        "/robots.txt?v=2",
        "text/plain; charset=utf-8",
        Some("no-cache"),
        "all may come",
    ),
    (
        "/docs/",
        "text/html; charset=utf-8",
        Some("no-cache"),
        "<p>the docs",
    ),
    (
        "/caf%c3%a9%201.txt",
        "text/plain; charset=utf-8",
        Some("no-cache"),
        "a coffee",
    ),
    (
        "/.well-known/security.txt",
        "text/plain; charset=utf-8",
        Some("no-cache"),
        "a contact",
    ),
    (
        "/empty/nothing.bin",
        "application/octet-stream",
        Some("no-cache"),
        "",
    ),
    (
        "/assets/app-BfS2k_9a.js",
        "text/javascript; charset=utf-8",
        Some("public, max-age=31536000, immutable"),
        "hashed",
    ),
];

#[tokio::test]
async fn file_has_its_media_type_cache_headers_and_content() {
    let site = Site::new();
    let edge = site.edge();
    for &(path, kind, kept, text) in FILES {
        let answer = fetch_raw(&edge, &format!("GET {path}"), "").await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, text),
            "{path}"
        );
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        assert_eq!(answer.header("cache-control"), kept, "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        let length = text.len().to_string();
        assert_eq!(answer.header("content-length"), Some(length.as_str()));
        let head = fetch_raw(&edge, &format!("HEAD {path}"), "").await;
        let lines = |lines: &[String]| -> Vec<String> {
            let own = |line: &&String| line.starts_with("date:") || line.starts_with("x-request");
            let lines = lines.iter().filter(|line| !own(line));
            let mut lines: Vec<_> = lines.cloned().collect();
            lines.sort();
            lines
        };
        assert_eq!(lines(&head.lines), lines(&answer.lines), "{path}");
        assert!(head.body.is_empty());
    }
}

#[tokio::test]
async fn directory_serves_its_index_or_404() {
    let site = Site::new();
    let edge = site.edge();
    for (path, location) in [("/docs", "/docs/"), ("/docs?a=b//c", "/docs/?a=b//c")] {
        let answer = fetch_raw(&edge, &format!("GET {path}"), "").await;
        assert_eq!(answer.status, 301);
        assert_eq!(answer.header("location"), Some(location));
    }
    // No listing, and no other site: `//docs/` would be one.
    for path in [
        "/empty", "/empty/", "//docs", "/\\docs", "/%2fdocs", "/docs//", "/docs/x",
    ] {
        let answer = fetch_raw(&edge, &format!("GET {path}"), "").await;
        assert!(
            [400, 404].contains(&answer.status),
            "{path}: {}",
            answer.status
        );
        assert_eq!(answer.header("location"), None, "{path}");
    }
}

#[tokio::test]
async fn file_accepts_only_get_and_head() {
    let site = Site::new();
    let edge = site.edge();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = fetch_raw(
            &edge,
            &format!("{method} /robots.txt"),
            "Content-Length: 0\r\n",
        )
        .await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    let laravel = Laravel::start().await;
    let edge = site.edge_before(&laravel);
    let answer = fetch_raw(&edge, "POST /robots.txt", "Content-Length: 0\r\n").await;
    assert_eq!(answer.status, 200);
    assert_eq!(laravel.last().target, "/robots.txt");
}

#[tokio::test]
async fn path_without_a_file_goes_to_the_app() {
    let site = Site::new();
    let laravel = Laravel::start().await;
    let edge = site.edge_before(&laravel);
    assert_eq!(
        fetch_raw(&edge, "GET /robots.txt", "").await.text(),
        "all may come"
    );
    assert!(laravel.requests().is_empty());
    for path in ["/api/user?a=b", "/a%2Fb", "/docs/missing.js", "/empty"] {
        fetch_raw(&edge, &format!("GET {path}"), "").await;
        assert_eq!(laravel.last().target, path);
    }
    // The edge accepts sessions on this route all the same.
    assert!(
        Socket::try_open(&edge, "/ws?token=3%7Cana", &[])
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn page_path_falls_back_to_the_single_page_app() {
    let site = Site::new();
    let route = site.route("fallback = \"index.html\"");
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), &(route + ALLOW));
    for path in [
        "/tickets/7",
        "/users/john.doe",
        "/docs/x",
        "/empty",
        "/assets",
        "/a;b",
    ] {
        let answer = fetch_raw(&edge, &format!("GET {path}"), "").await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "<p>a page"),
            "{path}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{path}");
    }
    // A script of the build before this one is no page.
    for path in [
        "/assets/app-old12345.js",
        "/favicon.ico",
        "/a/b.css",
        "/x.map",
        "/f.WOFF2",
    ] {
        let answer = fetch_raw(&edge, &format!("GET {path}"), "").await;
        assert_eq!(answer.status, 404, "{path}");
    }
    assert_eq!(fetch_raw(&edge, "POST /tickets/7", "").await.status, 405);
    assert!(
        Socket::try_open(&edge, "/ws?token=3%7Cana", &[])
            .await
            .is_ok()
    );
    assert!(
        Socket::try_open(&edge, "/?token=3%7Cana", &[])
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn precompressed_file_is_sent_if_accepted() {
    let site = Site::new();
    let edge = site.edge();
    for (name, text) in [
        ("", "plain"),
        (".br", "brotli"),
        (".gz", "gzipped"),
        (".zst", "zstandard"),
    ] {
        site.write(&format!("public/app.js{name}"), text);
    }
    site.write("public/photo.png", "plain");
    site.write("public/photo.png.gz", "gzipped");
    let mut tags = Vec::new();
    for (accepted, coding, text) in [
        ("", None, "plain"),
        ("gzip", Some("gzip"), "gzipped"),
        ("gzip, deflate, br, zstd", Some("br"), "brotli"),
        ("zstd, gzip", Some("zstd"), "zstandard"),
        ("br;q=0.1, GZIP;q=0.5", Some("gzip"), "gzipped"),
        ("br;q=0", None, "plain"),
    ] {
        let lines = format!("Accept-Encoding: {accepted}\r\n");
        let answer = fetch_raw(&edge, "GET /app.js", &lines).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, text),
            "{accepted}"
        );
        assert_eq!(answer.header("content-encoding"), coding, "{accepted}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/javascript; charset=utf-8")
        );
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        tags.push(answer.header("etag").unwrap().to_owned());
        let known = format!("{lines}If-None-Match: {}\r\n", tags.last().unwrap());
        let again = fetch_raw(&edge, "GET /app.js", &known).await;
        assert_eq!(again.status, 304, "{accepted}");
        assert_eq!(again.header("vary"), Some("Accept-Encoding"));
    }
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 4, "{tags:?}");
    let part = fetch_raw(
        &edge,
        "GET /app.js",
        "Accept-Encoding: br\r\nRange: bytes=1-3\r\n",
    )
    .await;
    assert_eq!((part.status, part.text().as_str()), (206, "rot"));
    let photo = fetch_raw(&edge, "GET /photo.png", "Accept-Encoding: gzip\r\n").await;
    assert_eq!(photo.text(), "plain");
    // Older than the file: forgotten after a change.
    let old = SystemTime::now() - Duration::from_secs(3600);
    let packed = fs::File::options()
        .append(true)
        .open(site.path("public/app.js.br"));
    packed.unwrap().set_modified(old).unwrap();
    let answer = fetch_raw(&edge, "GET /app.js", "Accept-Encoding: br\r\n").await;
    assert_eq!(answer.text(), "plain");
}

#[tokio::test]
async fn plain_file_is_compressed_while_sent() {
    let site = Site::new();
    let edge = site.edge();
    let text = "very much the same ".repeat(1000);
    site.write("public/long.css", &text);
    let coded = "Accept-Encoding: gzip\r\n";
    let answer = fetch_raw(&edge, "GET /long.css", coded).await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert!(answer.body.len() < text.len() / 10);
    let tag = answer.header("etag").unwrap();
    assert!(tag.starts_with("W/"), "{tag}");
    let known = fetch_raw(
        &edge,
        "GET /long.css",
        &format!("{coded}If-None-Match: {tag}\r\n"),
    )
    .await;
    assert_eq!((known.status, known.header("etag")), (304, Some(tag)));
    // A part is of the bytes as they are, and not of the compressed ones.
    let part = fetch_raw(
        &edge,
        "GET /long.css",
        &format!("{coded}Range: bytes=0-2999\r\n"),
    )
    .await;
    assert_eq!((part.status, part.text().as_str()), (206, &text[..3000]));
    assert_eq!(part.header("content-encoding"), None);
    let rest = format!("{coded}Range: bytes=9-\r\nIf-Range: {tag}\r\n");
    assert_eq!(fetch_raw(&edge, "GET /long.css", &rest).await.status, 200);
}

#[tokio::test]
async fn new_build_behind_a_symlink_needs_no_reload() {
    let site = Site::new();
    let (one, two) = (site.path("one"), site.path("two"));
    site.write("one/index.html", "one");
    site.write("two/index.html", "two");
    let current = site.path("current");
    std::os::unix::fs::symlink(&one, &current).unwrap();
    let route = format!("[[routes]]\nfiles = \"{}\"\n", current.display());
    let edge = Edge::configured("http://127.0.0.1:9", &route);
    let mut client = Client::http1(&edge).await;
    let page = || get("/").body(body("")).unwrap();
    assert_eq!(client.fetch(page()).await.text(), "one");
    std::os::unix::fs::symlink(&two, site.path("new")).unwrap();
    fs::rename(site.path("new"), &current).unwrap();
    assert_eq!(client.fetch(page()).await.text(), "two");
    // In between there is nothing: that is no "not found" to be remembered.
    fs::remove_file(&current).unwrap();
    let gone = client.fetch(page()).await;
    assert_eq!(gone.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(gone.headers["retry-after"], "5");
}

#[tokio::test]
async fn unusable_directory_is_reported_at_check_and_start() {
    let site = Site::new();
    let home = |more: &str| Home::new("http://127.0.0.1:9", ([127, 0, 0, 1], 0).into(), more);
    let file = site.path("secret.txt");
    let missing = site.path("build");
    for (key, value, message) in [
        (
            "files",
            missing.display().to_string(),
            "No such file or directory",
        ),
        ("files", file.display().to_string(), "Not a directory"),
        (
            "allowed_symlink_targets",
            missing.display().to_string(),
            "No such file or directory",
        ),
        ("fallback", "app.html".to_owned(), "app.html"),
        ("fallback", "docs".to_owned(), "is a directory"),
    ] {
        let more = match key {
            "files" => format!("[[routes]]\nfiles = \"{value}\"\n"),
            "allowed_symlink_targets" => {
                site.route(&format!("allowed_symlink_targets = [\"{value}\"]"))
            }
            _ => site.route(&format!("fallback = \"{value}\"")),
        };
        for command in ["check", "run"] {
            let output = home(&more)
                .command()
                .args([command, "--config", "config.toml"])
                .output();
            let output = output.unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{command} {more}");
            for part in [message, &format!("({key} of a route"), value.as_str()] {
                assert!(text.contains(part), "{command}, {part}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn unreadable_file_gets_403() {
    let site = Site::new();
    let none = fs::Permissions::from_mode(0o000);
    fs::set_permissions(site.path("public/robots.txt"), none).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let home = Home::new("http://127.0.0.1:9", address, &site.route(""));
    let mut edge = home.command();
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        // Root may read everything, unless that is taken from it.
        let binary = edge.get_program().to_owned();
        edge = Command::new("setpriv");
        edge.args(["--bounding-set", "-dac_override,-dac_read_search"]);
        edge.arg(binary).current_dir(home.path(""));
    }
    edge.args(["run", "--config", "config.toml"]);
    let edge = Program::start(&home, edge);
    let mut client = edge.http1().await;
    for (path, status) in [("/robots.txt", 403), ("/index.html", 200)] {
        let answer = client.fetch(get(path).body(body("")).unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
}

/// curl and browsers take a body after `HEAD` for a broken connection.
#[tokio::test]
async fn head_response_has_no_body() {
    let site = Site::new();
    let more = format!(
        "[maintenance]\npage = \"{}\"\n",
        site.path("m.html").display()
    );
    let edge = Edge::configured("http://127.0.0.1:9", &(site.route("") + &more + ALLOW));
    for closed in [false, true] {
        if closed {
            site.write("m.html", "closed");
        }
        for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
            let requests = async {
                loop {
                    let head = get("/missing").method("HEAD").body(body("")).unwrap();
                    let head = client.fetch(head).await;
                    let status = head.status == StatusCode::SERVICE_UNAVAILABLE;
                    if status == closed {
                        return head;
                    }
                }
            };
            // Not a measure of anything: a test that hangs should say where.
            let head = tokio::time::timeout(Duration::from_secs(30), requests)
                .await
                .unwrap();
            let whole = client.fetch(get("/missing").body(body("")).unwrap()).await;
            assert_eq!(head.status, whole.status);
            assert!(head.body.is_empty() && !whole.body.is_empty());
            assert_eq!(head.headers["content-length"], whole.body.len().to_string());
        }
    }
}
