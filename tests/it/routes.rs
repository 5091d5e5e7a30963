//! Which request goes where, however it is spelled.

use hyper::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::app::App;
use crate::support::http::{Answer, Client, body, connect, get, post};
use crate::support::{Edge, Laravel, Socket};

async fn fetch(edge: &Edge, path: &str, host: &str) -> Answer {
    let request = Request::get(path).header("host", host).body(body(""));
    Client::http1(edge).await.fetch(request.unwrap()).await
}

/// The status of a target that no client library would send as it is.
async fn raw_status(edge: &Edge, target: &str, host: &str) -> u16 {
    let mut stream = connect(edge, "http/1.1").await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer)[9..12].parse().unwrap()
}

#[tokio::test]
async fn hosts_and_paths_are_routed_to_their_targets() {
    let laravel = Laravel::start().await;
    let vite = App::started("vite").await;
    let routes = format!(
        "[upstreams.vite]\nurl = \"{}\"\n\
         [[routes]]\nhosts = [\"dev.example\", \"*.dev.example\"]\nupstream = \"vite\"\n\
         [[routes]]\nhosts = [\"old.example\"]\nredirect = \"https://new.example\"\n\
         [[routes]]\npath = \"/telescope\"\nstatus = 403\n\
         [[routes]]\npath = \"/.env\"\nstatus = 404\n",
        vite.url()
    );
    let edge = Edge::configured(&laravel.url(), &routes);
    for host in [
        "dev.example",
        "a.b.dev.example",
        "DEV.example:8443",
        "dev.example.",
    ] {
        assert_eq!(fetch(&edge, "/", host).await.text(), "vite: ", "{host}");
    }
    let before = laravel.requests().len();
    let moved = fetch(&edge, "/a%2Fb?c=d&e", "old.example").await;
    assert_eq!(moved.status, StatusCode::PERMANENT_REDIRECT);
    assert_eq!(moved.headers["location"], "https://new.example/a%2Fb?c=d&e");
    let refused = fetch(&edge, "/telescope/requests", "localhost").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let id = refused.headers["x-request-id"].to_str().unwrap();
    assert!(refused.text().contains(id), "{}", refused.text());
    assert_eq!(
        fetch(&edge, "/.env", "localhost").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(laravel.requests().len(), before, "Laravel got a request");
    for open in ["/", "/telescopes", "/.environment"] {
        assert_eq!(
            fetch(&edge, open, "baddev.example").await.status,
            StatusCode::OK,
            "{open}"
        );
    }
}

#[tokio::test]
async fn path_spellings_do_not_bypass_a_route() {
    let laravel = Laravel::start().await;
    let routes = "[[routes]]\npath = \"/admin\"\nstatus = 404\n\
                  [[routes]]\nhosts = [\"inner.example\"]\nstatus = 404\n";
    let edge = Edge::configured(&laravel.url(), routes);
    for target in [
        "/admin",
        "/admin/",
        "/admin?x",
        "//admin",
        "/%61dmin",
        "/%61%64min/x",
        "/admin%2fx",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/..%2fadmin",
        "/x\\..\\admin",
        "/index.php/admin",
        "//index.php//admin",
        "/index.php/x/../admin",
        "/index.phpadmin",
        "/index%2Ephpadmin/x",
        "/admin%2f",
        "/x%2Fy/../admin",
        "https://localhost/admin",
        "/admin/../x",
    ] {
        let status = raw_status(&edge, target, "localhost").await;
        assert!([400, 404].contains(&status), "{target}: {status}");
    }
    for host in [
        "inner.example",
        "INNER.example",
        "inner.example.",
        "inner.example:443",
    ] {
        assert_eq!(raw_status(&edge, "/", host).await, 404, "{host}");
    }
    assert!(laravel.requests().is_empty(), "Laravel got a request");
    // What is odd but means one thing passes, as it came.
    for target in [
        "/caf%C3%A9/a%2Fb",
        "//x",
        "/a/./b",
        "/a\\b",
        "/docs/aindex.php",
        "/docs/index.php-explained",
        "/x/index.php/admin",
    ] {
        assert_eq!(
            raw_status(&edge, target, "localhost").await,
            200,
            "{target}"
        );
        assert_eq!(laravel.last().target, target);
    }
    // Over HTTP/2 as well.
    let mut client = Client::http2(&edge).await;
    let answer = client
        .fetch(get("/x/..%2fadmin").body(body("")).unwrap())
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

/// An application in a directory of its own reads the second path as the first.
#[tokio::test]
async fn script_of_an_application_in_a_directory_does_not_bypass_its_route() {
    let laravel = Laravel::start().await;
    let routes = "[[routes]]\npath = \"/app/admin\"\nstatus = 403\n[[routes]]\npath = \"/app\"\n";
    let edge = Edge::configured(&laravel.url(), routes);
    for (target, status) in [
        ("/app/admin", 403),
        ("/app/index.php/admin", 400),
        ("/app/index.phpadmin", 400),
        ("/app/index.php", 200),
        ("/app/index.php/tickets/1", 200),
        ("/index.php/tickets/1", 200),
    ] {
        assert_eq!(
            raw_status(&edge, target, "localhost").await,
            status,
            "{target}"
        );
    }
}

#[tokio::test]
async fn route_applies_its_body_limit_and_rejects_sessions() {
    let laravel = Laravel::start().await;
    let routes = "[http]\nmax_body_size = \"1 KiB\"\n\
                  [[routes]]\npath = \"/upload\"\nmax_body_size = \"4 KiB\"\n\
                  [[routes]]\npath = \"/ws\"\nstatus = 403\n";
    let edge = Edge::configured(&laravel.url(), routes);
    let mut client = Client::http2(&edge).await;
    for (path, bytes, status) in [
        ("/echo", 1024, StatusCode::OK),
        ("/echo", 1025, StatusCode::PAYLOAD_TOO_LARGE),
        ("/upload", 4096, StatusCode::OK),
        ("/upload", 4097, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let request = post(path).body(body(vec![0; bytes])).unwrap();
        assert_eq!(client.fetch(request).await.status, status, "{path} {bytes}");
    }
    let refused = Socket::try_open(&edge, "/ws?token=3%7Cana", &[]).await;
    assert_eq!(refused.err(), Some(StatusCode::FORBIDDEN));
    assert!(
        Socket::try_open(&edge, "/?token=3%7Cana", &[])
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn trailing_slash_of_a_configured_path_is_ignored() {
    let laravel = Laravel::start().await;
    let more = "[websocket]\npaths = [\"/ws/\"]\n\
                [limits]\nlogin_paths = [\"/login/\"]\nlogin_burst = 1\n\
                [[routes]]\npath = \"/admin/\"\nstatus = 403\n";
    let edge = Edge::configured(&laravel.url(), more);
    for path in ["/ws", "/ws/"] {
        let socket = Socket::try_open(&edge, &format!("{path}?token=3%7Cana"), &[]).await;
        assert!(socket.is_ok(), "{path}");
    }
    let mut client = Client::http2(&edge).await;
    for (path, status) in [("/login", 200), ("/login/", 429), ("/login", 429)] {
        let request = post(path).body(body("")).unwrap();
        assert_eq!(
            client.fetch(request).await.status.as_u16(),
            status,
            "{path}"
        );
    }
    for path in ["/admin", "/admin/", "/admin/x"] {
        assert_eq!(raw_status(&edge, path, "localhost").await, 403, "{path}");
    }
}
