//! Conditional requests and parts, over both protocols.

use hyper::StatusCode;

use super::{Site, fetch_raw};
use crate::support::http::{Client, body, get};

#[tokio::test]
async fn conditional_request_gets_304_or_412() {
    let site = Site::new();
    let edge = site.edge();
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let first = client
            .fetch(get("/robots.txt").body(body("")).unwrap())
            .await;
        let (tag, date) = (&first.headers["etag"], &first.headers["last-modified"]);
        for (name, value, status) in [
            ("if-none-match", tag.to_str().unwrap(), 304),
            ("if-none-match", "\"other\"", 200),
            ("if-modified-since", date.to_str().unwrap(), 304),
            ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT", 200),
            ("if-match", "\"other\"", 412),
            ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT", 412),
        ] {
            for method in ["GET", "HEAD"] {
                let request = get("/robots.txt").method(method).header(name, value);
                let answer = client.fetch(request.body(body("")).unwrap()).await;
                assert_eq!(answer.status.as_u16(), status, "{method} {name}: {value}");
                if status != 200 || method == "HEAD" {
                    assert!(answer.body.is_empty(), "{method} {name}: {value}");
                }
                if status == 304 {
                    assert_eq!(answer.headers["etag"], tag);
                    assert!(!answer.headers.contains_key("content-type"));
                }
            }
        }
    }
}

#[tokio::test]
async fn range_request_gets_206_or_416() {
    let site = Site::new();
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| ((n * 31) >> 3) as u8).collect();
    site.write("public/film.mp4", &bytes);
    let edge = site.edge();
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        for (range, first, last) in [
            ("bytes=0-0", 0, 0),
            ("bytes=131071-131073", 131_071, 131_073),
            ("bytes=500000-", 500_000, 999_999),
            ("bytes=-5", 999_995, 999_999),
            ("bytes=999999-2000000", 999_999, 999_999),
        ] {
            let request = get("/film.mp4").header("range", range).body(body(""));
            let answer = client.fetch(request.unwrap()).await;
            assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
            let content_range = format!("bytes {first}-{last}/1000000");
            assert_eq!(answer.headers["content-range"], content_range.as_str());
            assert!(answer.body == bytes[first..=last], "{range}");
        }
        let request = get("/film.mp4").header("range", "bytes=1000000-");
        let answer = client.fetch(request.body(body("")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(answer.headers["content-range"], "bytes */1000000");
        for ignored in ["bytes=0-1,5-6", "items=0-1", "bytes=x"] {
            let request = get("/film.mp4").header("range", ignored).body(body(""));
            let answer = client.fetch(request.unwrap()).await;
            assert_eq!(answer.status, StatusCode::OK, "{ignored}");
            assert!(answer.body == bytes, "{ignored}");
        }
    }
    let head = fetch_raw(&edge, "HEAD /film.mp4", "Range: bytes=0-1\r\n").await;
    assert_eq!(head.status, 200);
}
