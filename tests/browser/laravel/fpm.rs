//! The whole site before php-fpm, as `docs/pwd-site.toml` configures it.

use std::path::Path;

use hyper::Request;

use super::super::support::Answer;
use super::super::support::http::{Client, body};
use super::{App, Php};

/// Writes a site into `front`. Returns `docs/pwd-site.toml` from `[limits]` on, as it is but
/// for places and ports.
fn site_example(front: &Path) -> String {
    let write = |name: &str, text: &str| std::fs::write(front.join(name), text).unwrap();
    std::fs::create_dir(front.join("assets")).unwrap();
    write("index.html", "<title>PWD</title>");
    write("assets/index-BxK3q9Za.js", "start()");
    let site = include_str!("../../../docs/pwd-site.toml");
    let (before, rest) = site.split_once("[upstream]").unwrap();
    assert!(before.contains("[server]") && before.contains("[tls]"));
    let (_, rest) = rest.split_once("[limits]").unwrap();
    let public = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/laravel/public");
    let shown = front.join("shown");
    std::fs::create_dir(&shown).unwrap();
    // Waiting for the maintenance page takes more requests than a visitor sends.
    format!("[limits]\nrequests_per_second = 100000\nrequest_burst = 100000{rest}")
        .replace("/var/www/pwd-frontend/build", front.to_str().unwrap())
        .replace("/var/www/pwd/public", public.to_str().unwrap())
        .replace("/var/www/pwd/storage/app/public", shown.to_str().unwrap())
        .replace(
            "/var/www/pwd/maintenance.html",
            front.join("closed").to_str().unwrap(),
        )
}

#[tokio::test]
#[ignore = "needs php"]
async fn site_example_serves_the_whole_site() {
    let front = tempfile::tempdir().unwrap();
    let more = site_example(front.path());
    let app = App::configured(Php::Fpm, &more).await;
    let mut client = Client::http2(&app.edge).await;
    for path in ["/", "/tickets/5", "/index.html"] {
        let page = fetch(&mut client, Request::get(path), "").await;
        assert_eq!(
            (page.status.as_u16(), page.text()),
            (200, "<title>PWD</title>")
        );
        assert_eq!(page.headers["cache-control"], "no-cache");
    }
    let script = fetch(&mut client, Request::get("/assets/index-BxK3q9Za.js"), "").await;
    assert_eq!(script.text(), "start()");
    let json =
        |request: hyper::http::request::Builder| request.header("accept", "application/json");
    let who = fetch(&mut client, json(Request::get("/api/user")), "").await;
    assert_eq!(who.status, 401, "{}", who.text());
    let nothing = fetch(&mut client, json(Request::get("/storage/nothing.png")), "").await;
    assert_eq!(nothing.status, 404);
    let said = nothing.json();
    assert!(
        said["exception"].is_string(),
        "Laravel was not asked: {said}"
    );
    let cookie = json(Request::get("/sanctum/csrf-cookie"));
    let cookie = fetch(&mut client, cookie, "").await;
    assert!(cookie.json()["exception"].is_string(), "{}", cookie.text());
    let log_in = || json(Request::post("/api/login")).header("content-type", "application/json");
    let sent = r#"{"username":"ana","password":"wrong"}"#;
    let mut failed = 0;
    while fetch(&mut client, log_in(), sent).await.status != 429 {
        failed += 1;
    }
    // A slow machine has time for more.
    assert!((20..40).contains(&failed), "{failed}");
    let mut ana = app.joined("ana", 1).await;
    std::fs::write(front.path().join("closed"), "back at nine").unwrap();
    loop {
        let closed = fetch(&mut client, Request::get("/"), "").await;
        if closed.status == 503 {
            assert_eq!(closed.text(), "back at nine");
            break;
        }
    }
    ana.settle().await;
}

/// Asks php-fpm's app for `request`.
async fn fetch(client: &mut Client, request: hyper::http::request::Builder, sent: &str) -> Answer {
    let request = request.header("host", "localhost");
    client
        .fetch(request.body(body(sent.to_owned())).unwrap())
        .await
}

#[tokio::test]
#[ignore = "needs php"]
async fn php_runs_only_index_php_and_gets_whole_bodies() {
    let app = App::configured(Php::Fpm, "").await;
    for mut client in [
        Client::http1(&app.edge).await,
        Client::http2(&app.edge).await,
    ] {
        for path in [
            "/server.php",
            "/desk.js",
            "/artisan.php/echo/url",
            "/x/index.php",
        ] {
            let answer = fetch(&mut client, Request::get(path), "").await;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        }
        let told = fetch(&mut client, Request::get("/index.php/echo/url"), "").await;
        assert_eq!(told.json()["remote"], "127.0.0.1");
        let head = fetch(&mut client, Request::head("/echo/url"), "").await;
        assert_eq!((head.status.as_u16(), head.text()), (200, ""));
        // More than a record, a spool in memory and a pipe hold.
        for length in [0, 1, 65_535, 65_536, 1_000_000] {
            let sent = "x".repeat(length);
            let told = fetch(&mut client, Request::put("/echo/body"), &sent).await;
            assert_eq!(told.json()["length"], length);
            let path = format!("/echo/bytes?n={length}");
            let came = fetch(&mut client, Request::get(path), "").await;
            assert_eq!(came.body.len(), length);
        }
        let told = fetch(&mut client, Request::get("/echo%2Furl"), "").await;
        assert_eq!(told.json()["remote"], "127.0.0.1");
    }
}
