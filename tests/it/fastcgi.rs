//! FastCGI servers that answer soundly, oddly or not at all.

use std::collections::HashMap;

use hyper::http::request::Builder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Edge;
use crate::support::app::scripted;
use crate::support::http::{Answer, Client, body};

mod request;
mod response;

/// A request as a FastCGI server reads it.
#[derive(Debug, Default)]
pub(crate) struct FastCgiRequest {
    keep: bool,
    pub(crate) params: HashMap<String, String>,
    stdin: Vec<u8>,
}

impl FastCgiRequest {
    /// Reads to the end of the request; none if the connection ended.
    pub(crate) async fn read(stream: &mut TcpStream) -> Option<Self> {
        let (mut request, mut params) = (Self::default(), Vec::new());
        loop {
            let mut header = [0; 8];
            stream.read_exact(&mut header).await.ok()?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let mut content = vec![0; length];
            stream.read_exact(&mut content).await.ok()?;
            match (header[1], length) {
                (1, _) => request.keep = content[2] == 1,
                (4, 0) => request.params = read_params(&params),
                (4, _) => params.extend(content),
                (5, 0) => return Some(request),
                (5, _) => request.stdin.extend(content),
                (kind, _) => panic!("a record of type {kind}"),
            }
        }
    }
}

fn read_params(mut bytes: &[u8]) -> HashMap<String, String> {
    fn length(bytes: &mut &[u8]) -> usize {
        let (first, rest) = bytes.split_first().unwrap();
        if *first < 0x80 {
            *bytes = rest;
            return usize::from(*first);
        }
        let (four, rest) = bytes.split_first_chunk::<4>().unwrap();
        *bytes = rest;
        (u32::from_be_bytes(*four) & 0x7fff_ffff) as usize
    }
    let mut params = HashMap::new();
    while !bytes.is_empty() {
        let (name, value) = (length(&mut bytes), length(&mut bytes));
        let (text, rest) = bytes.split_at(name + value);
        let text = std::str::from_utf8(text).unwrap();
        params.insert(text[..name].to_owned(), text[name..].to_owned());
        bytes = rest;
    }
    params
}

pub(crate) fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut bytes = vec![1, kind, 0, 1, high, low, padding, 0];
    bytes.extend(content);
    bytes.extend(vec![0xee; usize::from(padding)]);
    bytes
}

pub(crate) fn stdout(text: &str) -> Vec<u8> {
    record(6, text.as_bytes(), 0)
}

pub(crate) fn end(status: u8) -> Vec<u8> {
    record(3, &[0, 0, 0, 0, status, 0, 0, 0], 0)
}

/// An edge before a server that answers each request with these bytes, and then
/// closes if it may.
async fn edge_before_reply(wire: Vec<u8>) -> Edge {
    let url = scripted(move |_, mut stream| {
        let wire = wire.clone();
        async move {
            while let Some(request) = FastCgiRequest::read(&mut stream).await {
                stream.write_all(&wire).await.unwrap();
                if !request.keep {
                    return;
                }
            }
        }
    });
    edge_before(&url.await, "")
}

pub(crate) fn edge_before(url: &str, more: &str) -> Edge {
    let url = url.replace("http:", "fastcgi:");
    let upstream = format!("[upstream]\nurl = \"{url}\"\nroot = \"/srv/app/public\"\n{more}");
    Edge::configured("", &upstream)
}

async fn fetch(edge: &Edge, request: Builder) -> Answer {
    let mut client = Client::http1(edge).await;
    client.fetch(request.body(body("")).unwrap()).await
}

/// Bytes of Laravel's bodies that are on disk.
pub(crate) async fn buffered_bytes(edge: &Edge) -> u64 {
    let answer = edge.get("/metrics").await;
    let name = "pwd_edge_upstream_disk_buffer_bytes{upstream=\"laravel\"} ";
    let line = answer
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(name));
    line.unwrap().parse::<f64>().unwrap() as u64
}
