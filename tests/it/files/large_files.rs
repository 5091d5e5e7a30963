//! Large files, files that change while they are sent, and how many may be open.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use http_body_util::BodyExt;
use hyper::{Response, StatusCode, body::Incoming};

use super::{ALLOW, Site};
use crate::support::Edge;
use crate::support::http::{Answer, Client, body, get};
use crate::support::program::Program;

const GIB: u64 = 1024 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;

/// A file without a byte on disk but for `mark` at `at`.
fn sparse(site: &Site, name: &str, size: u64, at: u64, mark: &str) -> File {
    let file = File::create(site.path(name)).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(mark.as_bytes(), at).unwrap();
    file
}

/// Asks for a file and reads the first bytes of it.
async fn begin_download(client: &mut Client, path: &str) -> (Response<Incoming>, usize) {
    let request = get(path).body(body("")).unwrap();
    let mut response = client.send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let frame = response.frame().await.unwrap().unwrap();
    let bytes = frame.into_data().unwrap().len();
    (response, bytes)
}

#[tokio::test]
async fn range_beyond_4_gib_is_correct() {
    let site = Site::new();
    sparse(&site, "public/film.mp4", 5 * GIB, 4 * GIB + 10, "mark");
    let edge = site.edge();
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let head = get("/film.mp4").method("HEAD").body(body("")).unwrap();
        let head = client.send(head).await.unwrap();
        assert_eq!(head.headers()["content-length"], "5368709120");
        for (range, reported, text) in [
            (
                "bytes=4294967306-4294967309",
                "bytes 4294967306-4294967309/5368709120",
                "mark",
            ),
            (
                "bytes=-1073741814",
                "bytes 4294967306-5368709119/5368709120",
                "mark",
            ),
        ] {
            let request = get("/film.mp4").header("range", range);
            let mut answer = client.send(request.body(body("")).unwrap()).await.unwrap();
            assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
            assert_eq!(answer.headers()["content-range"], reported);
            let first = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(&first[..4], text.as_bytes());
            // The rest of it is not waited for.
            client = Client::http1(&edge).await;
        }
    }
}

#[tokio::test]
#[ignore = "sends 2 GiB"]
async fn file_over_2_gib_is_sent_in_little_memory() {
    let site = Site::new();
    let size = 2 * GIB + 5;
    sparse(&site, "public/film.mp4", size, size - 4, "mark");
    let edge = Program::before("http://127.0.0.1:9", &(site.route("") + ALLOW));
    let mut client = edge.http1().await;
    let (mut answer, first) = begin_download(&mut client, "/film.mp4").await;
    let (before, _) = edge.memory();
    let mut read = first as u64;
    let mut last = Vec::new();
    while let Some(frame) = answer.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        read += data.len() as u64;
        last.extend_from_slice(&data);
        last.drain(..last.len().saturating_sub(4));
    }
    assert_eq!((read, last.as_slice()), (size, b"mark".as_slice()));
    let (_, most) = edge.memory();
    assert!(most < before + 16 * MIB, "{before}, then {most}");
}

#[tokio::test]
async fn file_truncated_while_sent_does_not_look_complete() {
    let site = Site::new();
    let edge = site.edge();
    let size = 256 * MIB;
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        let file = sparse(&site, "public/film.mp4", size, 0, "mark");
        let (mut answer, mut read) = begin_download(&mut client, "/film.mp4").await;
        assert_eq!(
            answer.headers()["content-length"],
            size.to_string().as_str()
        );
        file.set_len(MIB).unwrap();
        let broken = loop {
            match answer.frame().await {
                Some(Ok(frame)) => read += frame.into_data().unwrap().len(),
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(broken, "it seems whole after {read} bytes");
    }
}

#[tokio::test]
async fn file_replaced_while_sent_arrives_as_it_was() {
    let site = Site::new();
    let edge = site.edge();
    let old = vec![b'o'; 32 * MIB as usize];
    for mut client in [Client::http1(&edge).await, Client::http2(&edge).await] {
        site.write("public/film.mp4", &old);
        let (answer, read) = begin_download(&mut client, "/film.mp4").await;
        site.write("public/new", "n");
        fs::rename(site.path("public/new"), site.path("public/film.mp4")).unwrap();
        let rest = Answer::read(answer).await.body;
        assert_eq!(rest.len() + read, old.len());
        assert!(rest.iter().all(|byte| *byte == b'o'));
    }
}

#[tokio::test]
async fn request_above_the_open_file_limit_gets_503() {
    let site = Site::new();
    sparse(&site, "public/film.mp4", GIB, 0, "mark");
    let limits = format!("{ALLOW}max_open_files = 2\n");
    let edge = Edge::configured("http://127.0.0.1:9", &(site.route("") + &limits));
    let mut clients = [Client::http1(&edge).await, Client::http1(&edge).await];
    let mut held = Vec::new();
    for client in &mut clients {
        held.push(begin_download(client, "/film.mp4").await);
    }
    let page = || get("/robots.txt").body(body("")).unwrap();
    let mut client = Client::http2(&edge).await;
    let refused = client.fetch(page()).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers["retry-after"], "5");
    drop((held, clients));
    while client.fetch(page()).await.status != StatusCode::OK {}
}

#[tokio::test]
async fn concurrent_clients_get_their_files() {
    let site = Site::new();
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| ((n * 31) >> 3) as u8).collect();
    site.write("public/film.mp4", &bytes);
    let edge = site.edge();
    let downloads = (0..8).map(|_| async {
        let mut client = Client::http2(&edge).await;
        for _ in 0..20 {
            let request = get("/film.mp4").body(body("")).unwrap();
            assert!(client.fetch(request).await.body == bytes);
        }
    });
    futures_util::future::join_all(downloads).await;
}
