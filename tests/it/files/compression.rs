//! Files that are sent compressed.

use std::fs;
use std::time::{Duration, SystemTime};

use super::{Site, fetch_raw};

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
