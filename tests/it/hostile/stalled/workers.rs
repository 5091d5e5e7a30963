//! Workers of the app and encoders: no client holds them all.

use hyper::StatusCode;
use tokio::io::AsyncWriteExt;

use super::super::http2::{HEADERS, frame, request};
use super::{Frame, RawHttp2, SHORT_TIMEOUTS, within_deadline, workers};
use crate::support::Edge;
use crate::support::http::{Client, body, get};

/// Half of the places at the app are not for one client.
#[tokio::test]
async fn client_does_not_hold_all_workers() {
    let upstream = workers(4).await;
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [upstream]\nurl = \"{upstream}\"\nmax_connections = 4\n{}",
        SHORT_TIMEOUTS
            .replace("\"3s\"", "\"600s\"")
            .replace("\"2500ms\"", "\"500s\"")
    );
    let edge = Edge::configured("", &text);
    let mut attacker = RawHttp2::connect(&edge, 0).await;
    for stream in 0..8 {
        attacker
            .send_request(2 * stream + 1, &format!("/export/{stream}"))
            .await;
    }
    let attack = attacker.send_cheap_requests(17, &[], |_| false);
    let mut other = Client::http1(&edge).await;
    let request = get("/").header("x-forwarded-for", "198.51.100.7");
    let served = within_deadline(other.fetch(request.body(body("")).unwrap()));
    tokio::select! {
        () = attack => panic!("its connection goes on"),
        answer = served => assert_eq!(answer.status, StatusCode::OK),
    }
}

/// Asks for 70 compressed responses and takes none of them.
async fn occupy_encoders(edge: &Edge) -> RawHttp2 {
    let mut attacker = RawHttp2::connect(edge, 0).await;
    let accepts = [&[0, 15][..], b"accept-encoding", &[4], b"gzip"].concat();
    for stream in 0..70 {
        let block = [request("/export"), accepts.clone()].concat();
        let headers = frame(HEADERS, 0x5, 2 * stream + 1, &block);
        attacker.to.write_all(&headers).await.unwrap();
    }
    let mut begun = 0;
    while begun < 70 {
        let frame = Frame::read(&mut attacker.from).await.unwrap();
        begun += usize::from(frame.kind == HEADERS);
    }
    attacker
}

/// Returns whether the response is compressed: for `client` behind a proxy, or without one.
async fn is_compressed(edge: &Edge, client: Option<&str>) -> bool {
    let mut request = get("/export").header("accept-encoding", "gzip");
    if let Some(client) = client {
        request = request.header("x-forwarded-for", client);
    }
    let mut connection = Client::http1(edge).await;
    let answer = connection.send(request.body(body("")).unwrap()).await;
    answer.unwrap().headers().contains_key("content-encoding")
}

#[tokio::test]
async fn client_does_not_hold_all_encoders() {
    let upstream = workers(100).await;
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [upstream]\nurl = \"{upstream}\"\n{}",
        SHORT_TIMEOUTS
            .replace("\"3s\"", "\"600s\"")
            .replace("\"2500ms\"", "\"500s\"")
    );
    let edge = Edge::configured("", &text);
    let _attacker = within_deadline(occupy_encoders(&edge)).await;
    assert!(!is_compressed(&edge, None).await, "it has its share");
    assert!(is_compressed(&edge, Some("198.51.100.7")).await);
}

#[tokio::test]
async fn encoders_of_unread_responses_are_freed() {
    let upstream = workers(100).await;
    let allow = "[limits]\nexempt = [\"127.0.0.1\"]\n";
    let text = format!("[upstream]\nurl = \"{upstream}\"\n{SHORT_TIMEOUTS}{allow}");
    let edge = Edge::configured("", &text);
    let attacker = within_deadline(occupy_encoders(&edge)).await;
    let attack = attacker.send_cheap_requests(141, &[], |_| false);
    let back = within_deadline(async { while !is_compressed(&edge, None).await {} });
    tokio::select! {
        () = attack => panic!("its connection goes on"),
        () = back => {}
    }
}
