//! A site that is closed for a while.

use std::fs;
use std::time::Duration;

use hyper::StatusCode;

use super::{ALLOW, Site};
use crate::support::http::{Answer, Client, body, get, post};
use crate::support::{Edge, Laravel, Socket};

/// Asks until the answer has this status; it is looked at once a second.
async fn fetch_until_status(client: &mut Client, status: StatusCode) -> Answer {
    let requests = async {
        loop {
            let answer = client.fetch(get("/").body(body("")).unwrap()).await;
            if answer.status == status {
                return answer;
            }
        }
    };
    // Not a measure of anything: a test that hangs should say where.
    let answer = tokio::time::timeout(Duration::from_secs(30), requests).await;
    answer.unwrap_or_else(|_| panic!("no {status}"))
}

#[tokio::test]
async fn maintenance_page_closes_the_site_but_not_sessions() {
    let site = Site::new();
    let laravel = Laravel::start().await;
    let page = site.path("maintenance.html");
    let config = format!(
        "[maintenance]\npage = \"{}\"\n[[routes]]\npath = \"/files\"\nfiles = \"{}\"\n{ALLOW}",
        page.display(),
        site.path("public").display(),
    );
    let edge = Edge::configured(&laravel.url(), &config);
    let mut client = Client::http2(&edge).await;
    assert_eq!(
        client.fetch(get("/").body(body("")).unwrap()).await.status,
        StatusCode::OK
    );
    let mut session = Socket::joined(&edge, "3|ana", 1).await;

    fs::write(&page, "<p>back at <b>five</b>").unwrap();
    let closed = fetch_until_status(&mut client, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(closed.text(), "<p>back at <b>five</b>");
    assert_eq!(closed.headers["retry-after"], "60");
    assert_eq!(closed.headers["cache-control"], "no-store");
    assert_eq!(closed.headers["content-type"], "text/html; charset=utf-8");
    let before = laravel.requests().len();
    for request in [
        post("/api/login"),
        get("/files/robots.txt"),
        get("/index.php"),
    ] {
        let answer = client.fetch(request.body(body("")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let request = get("/api/user").header("accept", "application/json");
    let answer = client.fetch(request.body(body("")).unwrap()).await;
    assert!(
        answer.json()["message"]
            .as_str()
            .unwrap()
            .contains("maintenance")
    );
    assert_eq!(laravel.requests().len(), before, "Laravel got a request");
    // Open sessions still get events, and disconnected clients can reconnect.
    edge.broadcast(r#"{"type":"new_message","payload":{"ticket_id":1,"text":"hello"}}"#)
        .await;
    assert_eq!(
        session.until("new_message").await["payload"]["text"],
        "hello"
    );
    Socket::joined(&edge, "3|ana", 1).await;

    fs::write(&page, "<p>back at six").unwrap();
    while fetch_until_status(&mut client, StatusCode::SERVICE_UNAVAILABLE)
        .await
        .text()
        != "<p>back at six"
    {}
    fs::remove_file(&page).unwrap();
    fetch_until_status(&mut client, StatusCode::OK).await;
    session.settle().await;
}

#[tokio::test]
async fn unusable_maintenance_page_still_closes_the_site() {
    let site = Site::new();
    let laravel = Laravel::start().await;
    let page = site.path("maintenance.html");
    let config = format!("[maintenance]\npage = \"{}\"\n{ALLOW}", page.display());
    // The file exists already when the edge starts: no request gets through.
    fs::write(&page, vec![b'x'; 1024 * 1024 + 1]).unwrap();
    let edge = Edge::configured(&laravel.url(), &config);
    let mut client = Client::http1(&edge).await;
    let closed = client.fetch(get("/").body(body("")).unwrap()).await;
    assert_eq!(closed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        closed.text().contains("closed for maintenance"),
        "{}",
        closed.text()
    );
    fs::remove_file(&page).unwrap();
    fs::create_dir(&page).unwrap();
    fetch_until_status(&mut client, StatusCode::SERVICE_UNAVAILABLE).await;
    fs::remove_dir(&page).unwrap();
    fetch_until_status(&mut client, StatusCode::OK).await;
    // Just as long as may be.
    fs::write(&page, vec![b'x'; 1024 * 1024]).unwrap();
    let closed = fetch_until_status(&mut client, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(closed.body.len(), 1024 * 1024);
}
