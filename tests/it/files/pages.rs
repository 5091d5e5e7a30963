//! What is sent as what, and what is sent in its place.

use std::time::Duration;

use hyper::StatusCode;

use super::{ALLOW, Site, fetch_raw};
use crate::support::http::{Client, body, get};
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
