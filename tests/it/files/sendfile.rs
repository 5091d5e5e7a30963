//! Files that an application names in place of its response.

use hyper::{Method, StatusCode};
use tokio::io::AsyncWriteExt;

use super::{ALLOW, SECRET, Site};
use crate::support::Edge;
use crate::support::app::{head, scripted};
use crate::support::http::{Answer, Client, body, get, post};

/// An app that responds with the status and header lines of the request's `x-answer`, where
/// `|` ends a line, and with an empty body.
async fn app() -> String {
    scripted(|_, mut stream| async move {
        let request = head(&mut stream).await;
        let wanted = request
            .lines()
            .find_map(|line| line.strip_prefix("x-answer: "));
        let lines = wanted.unwrap().replace('|', "\r\n");
        let answer = format!(
            "HTTP/1.1 {lines}\r\ncontent-length: 0\r\netag: \"app\"\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await
}

/// An edge whose app may name files of `storage/app`.
async fn edge_of(site: &Site) -> Edge {
    site.write("storage/app/report 50%.pdf", "0123456789");
    site.write("storage/app/list.csv", "a,b\n".repeat(1000));
    site.write("storage/app/list.csv.gz", SECRET);
    let route = format!(
        "[[routes]]\nsendfile = {{ \"/protected\" = {:?} }}\n",
        site.path("storage/app")
    );
    Edge::configured(&app().await, &(route + ALLOW))
}

async fn fetch(edge: &Edge, answer: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = get("/download").header("x-answer", answer);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut client = Client::http2(edge).await;
    let answer = client.fetch(request.body(body("")).unwrap()).await;
    for name in answer.headers.keys() {
        let name = name.as_str();
        assert!(
            !name.starts_with("x-accel") && !name.contains("send"),
            "{name}"
        );
    }
    answer
}

const PHP: &str = "content-type: text/html; charset=UTF-8";

#[tokio::test]
async fn named_file_is_sent_with_the_headers_of_the_app() {
    let site = Site::new();
    let edge = edge_of(&site).await;
    let by_disk = format!(
        "x-sendfile: {}/report 50%.pdf",
        site.path("storage/app").display()
    );
    for name in [
        "x-accel-redirect: /protected/report%2050%25.pdf?a=b",
        "x-accel-redirect: %2Fprotected%2Freport%2050%25.pdf",
        &by_disk,
    ] {
        let answer = format!("200 OK|{PHP}|content-disposition: attachment|{name}");
        let got = fetch(&edge, &answer, &[]).await;
        assert_eq!(
            (got.status, got.text()),
            (StatusCode::OK, "0123456789"),
            "{name}"
        );
        assert_eq!(got.headers["content-type"], "application/pdf");
        assert_eq!(got.headers["content-disposition"], "attachment");
        assert_eq!(got.headers["content-length"], "10");
        assert_eq!(got.headers["accept-ranges"], "bytes");
        assert_eq!(got.headers["cache-control"], "private, no-cache");
        let lengths = got.headers.get_all("content-length").iter().count();
        assert_eq!(lengths, 1);
        let tag = got.headers["etag"].to_str().unwrap().to_owned();
        assert_ne!(tag, "\"app\"");

        let part = fetch(&edge, &answer, &[("range", "bytes=2-4")]).await;
        assert_eq!(
            (part.status, part.text()),
            (StatusCode::PARTIAL_CONTENT, "234")
        );
        let known = fetch(&edge, &answer, &[("if-none-match", &tag)]).await;
        assert_eq!(known.status, StatusCode::NOT_MODIFIED);
        let mut client = Client::http1(&edge).await;
        let request = get("/download")
            .method(Method::HEAD)
            .header("x-answer", &answer);
        let bare = client.fetch(request.body(body("")).unwrap()).await;
        assert_eq!(
            (bare.headers["content-length"].as_bytes(), bare.text()),
            (&b"10"[..], "")
        );
        // What a form asks for is sent whole, whatever the request says.
        let request = post("/download")
            .header("x-answer", &answer)
            .header("range", "bytes=2-4")
            .header("if-none-match", &tag);
        let posted = client.fetch(request.body(body("")).unwrap()).await;
        assert_eq!(
            (posted.status, posted.text()),
            (StatusCode::OK, "0123456789")
        );
    }
}

#[tokio::test]
async fn type_and_cache_control_of_the_app_replace_those_of_the_file() {
    let site = Site::new();
    let edge = edge_of(&site).await;
    let answer = "200 OK|content-type: text/csv|cache-control: no-store|\
                  x-accel-redirect: /protected/list.csv";
    let got = fetch(&edge, answer, &[("accept-encoding", "gzip")]).await;
    assert_eq!(got.headers["content-type"], "text/csv");
    assert_eq!(got.headers["cache-control"], "no-store");
    // Compressed on the way: the file next to it is another file of the application.
    assert_eq!(got.headers["content-encoding"], "gzip");
    assert_ne!(got.body, SECRET);
}

#[tokio::test]
async fn file_that_the_app_may_not_name_is_not_sent() {
    let site = Site::new();
    let edge = edge_of(&site).await;
    let outside = site.path("storage/app/../../secret.txt");
    let beside = site.path("storage/application.txt");
    site.write("storage/application.txt", SECRET);
    std::os::unix::fs::symlink(site.path("secret.txt"), site.path("storage/app/link")).unwrap();
    for (name, status) in [
        ("x-accel-redirect: /protected/none.pdf".to_owned(), 404),
        ("x-accel-redirect: /protected/link".to_owned(), 404),
        ("x-accel-redirect: /protected/public".to_owned(), 404),
        ("x-accel-redirect: /protected/../../.env".to_owned(), 502),
        (
            "x-accel-redirect: /protected/%2e%2e/%2e%2e/.env".to_owned(),
            502,
        ),
        ("x-accel-redirect: /protected/".to_owned(), 502),
        ("x-accel-redirect: /protected".to_owned(), 502),
        ("x-accel-redirect: /protectedx/secret.txt".to_owned(), 502),
        ("x-accel-redirect: /other/secret.txt".to_owned(), 502),
        ("x-accel-redirect: @named".to_owned(), 502),
        ("x-sendfile: /etc/passwd".to_owned(), 502),
        ("x-sendfile: secret.txt".to_owned(), 502),
        (format!("x-sendfile: {}", outside.display()), 502),
        (format!("x-sendfile: {}", beside.display()), 502),
    ] {
        let got = fetch(&edge, &format!("200 OK|{name}"), &[]).await;
        assert_eq!(got.status.as_u16(), status, "{name}");
        assert!(!got.text().contains(SECRET), "{name}");
        let directory = site.path("").display().to_string();
        assert!(!got.text().contains(&directory), "{name}");
    }
}

/// Without a directory the response would be an empty file.
#[tokio::test]
async fn file_named_on_a_route_without_directories_gives_502() {
    let edge = Edge::configured(&app().await, ALLOW);
    for name in ["x-accel-redirect: /protected/a", "x-sendfile: /etc/passwd"] {
        let got = fetch(&edge, &format!("200 OK|{name}"), &[]).await;
        assert_eq!(got.status, StatusCode::BAD_GATEWAY, "{name}");
    }
    // A response that is none, and the other headers for a web server.
    let answer = "404 Not Found|x-accel-redirect: /protected/a|x-accel-expires: 60";
    assert_eq!(
        fetch(&edge, answer, &[]).await.status,
        StatusCode::NOT_FOUND
    );
}

/// PHP's `realpath` names the target of a link in the configured path.
#[tokio::test]
async fn directory_behind_a_link_is_found_by_both_of_its_names() {
    let site = Site::new();
    site.write("shared/files/a.pdf", "a pdf");
    std::os::unix::fs::symlink("shared", site.path("current")).unwrap();
    let directory = site.path("current/files");
    let route = format!("[[routes]]\nsendfile = {{ \"/f\" = {directory:?} }}\n");
    let edge = Edge::configured(&app().await, &(route + ALLOW));
    for path in [directory.clone(), directory.canonicalize().unwrap()] {
        let answer = format!("200 OK|x-sendfile: {}/a.pdf", path.display());
        assert_eq!(fetch(&edge, &answer, &[]).await.text(), "a pdf", "{answer}");
    }
}
