//! The addresses of the site and of its clients, as Laravel sees them.

use hyper::Request;

use super::super::support::Answer;
use super::super::support::http::{Client, body};
use super::{App, Php};

/// What the real app makes of a request: `lines` are more headers.
async fn fetch_echo(app: &App, path: &str, lines: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path).header("host", "localhost:8443");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let request = request.body(body("")).unwrap();
    Client::http1(&app.edge).await.fetch(request).await
}

const FORWARDED_HEADERS: [(&str, &str); 3] = [
    ("x-forwarded-for", "192.0.2.9"),
    ("x-forwarded-host", "desk.example"),
    ("x-forwarded-proto", "https"),
];

#[tokio::test]
#[ignore = "needs php"]
async fn laravel_sees_its_own_address_and_its_clients() {
    for php in [Php::BuiltIn, Php::Fpm] {
        assert_addresses_are_seen(&App::configured(php, "").await).await;
    }
}

async fn assert_addresses_are_seen(app: &App) {
    for lines in [&[][..], &FORWARDED_HEADERS] {
        let told = fetch_echo(app, "/echo/url?a=b", lines).await.json();
        assert_eq!(told["url"], "https://localhost:8443/somewhere");
        assert_eq!(told["full"], "https://localhost:8443/echo/url?a=b");
        assert_eq!(
            (&told["secure"], &told["ip"]),
            (&true.into(), &"127.0.0.1".into())
        );
    }
    let moved = fetch_echo(app, "/echo/redirect", &FORWARDED_HEADERS).await;
    assert_eq!(moved.headers["location"], "https://localhost:8443/echo/url");
    let cookie = fetch_echo(app, "/echo/cookie", &[]).await;
    let cookies = cookie.headers.get_all("set-cookie").iter();
    let mut cookies = cookies.map(|value| value.to_str().unwrap().to_ascii_lowercase());
    let probe = cookies.find(|cookie| cookie.starts_with("probe=")).unwrap();
    assert!(
        probe.contains("secure") && probe.contains("httponly"),
        "{probe}"
    );

    // A form with a file, over either protocol.
    let form = "--x\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n\
                --x\r\nContent-Disposition: form-data; name=\"attachment\"; filename=\"a.txt\"\r\n\
                Content-Type: text/plain\r\n\r\nsome text\r\n--x--\r\n";
    for mut client in [
        Client::http1(&app.edge).await,
        Client::http2(&app.edge).await,
    ] {
        let request = Request::post("/echo/body")
            .header("host", "localhost")
            .header("content-type", "multipart/form-data; boundary=x");
        let told = client.fetch(request.body(body(form)).unwrap()).await.json();
        assert_eq!(told["fields"]["note"], "hello", "{told}");
        assert_eq!(told["files"]["attachment"]["name"], "a.txt", "{told}");
        assert_eq!(told["files"]["attachment"]["size"], 9, "{told}");
    }
    let told = fetch_echo(app, "/echo/headers", &[("x_forwarded_for", "6.6.6.6")]).await;
    assert!(!told.text().contains("6.6.6.6"), "{}", told.text());
}

#[tokio::test]
#[ignore = "needs php"]
async fn laravel_behind_two_proxies_sees_its_clients() {
    let trusted = "[server]\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let listed = "trusted_headers = [\"x-forwarded-for\", \"x-forwarded-host\"]\n";
    for php in [Php::BuiltIn, Php::Fpm] {
        // A host that the client may have written, and one that the proxy writes.
        let app = App::configured(php, trusted).await;
        let told = fetch_echo(&app, "/echo/url", &FORWARDED_HEADERS)
            .await
            .json();
        assert_eq!(told["url"], "https://localhost:8443/somewhere");
        assert_eq!(told["ip"], "192.0.2.9");
        let app = App::configured(php, &format!("{trusted}{listed}")).await;
        let told = fetch_echo(&app, "/echo/url", &FORWARDED_HEADERS)
            .await
            .json();
        assert_eq!(told["url"], "https://desk.example/somewhere");
        assert_eq!(
            (&told["secure"], &told["ip"]),
            (&true.into(), &"192.0.2.9".into())
        );
        let moved = fetch_echo(&app, "/echo/redirect", &FORWARDED_HEADERS).await;
        assert_eq!(moved.headers["location"], "https://desk.example/echo/url");
    }
}
