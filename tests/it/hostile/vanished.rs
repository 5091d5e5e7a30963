//! Peers that vanish without a word: a phone in a tunnel, a cable that was cut. No
//! packet of theirs comes any more, not even one that says so.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use super::AttackHarness;

/// A host of its own, behind a cable of which this end is ours.
struct Host;

const HERE: Ipv4Addr = Ipv4Addr::new(10, 231, 7, 1);

impl Host {
    fn connected() -> Self {
        // What a run before this one may have left.
        let _ = Command::new("ip").args(["netns", "del", HOST]).output();
        for step in [
            "netns add edgetest",
            "link add edgetest0 type veth peer name edgetest1 netns edgetest",
            "addr add 10.231.7.1/30 dev edgetest0",
            "link set edgetest0 up",
            "-n edgetest addr add 10.231.7.2/30 dev edgetest1",
            "-n edgetest link set edgetest1 up",
        ] {
            ip(step);
        }
        Self
    }

    /// Says `request` over TLS; the answer's first line has come.
    fn ask(&self, edge: SocketAddr, request: &str) -> Peer {
        let edge = edge.to_string();
        let mut client = Command::new("ip")
            .args(["netns", "exec", HOST, "openssl", "s_client", "-quiet"])
            .args(["-servername", "localhost", "-connect", &edge])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let request = format!("{request}\r\nHost: localhost\r\n\r\n");
        let stdin = client.stdin.as_mut().unwrap();
        stdin.write_all(request.as_bytes()).unwrap();
        let mut answer = BufReader::new(client.stdout.take().unwrap());
        let mut first = String::new();
        answer.read_line(&mut first).unwrap();
        assert!(first.starts_with("HTTP/1.1 "), "{first}");
        Peer { client, answer }
    }

    fn cut_the_cable(&self) {
        ip("-n edgetest link set edgetest1 down");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        ip("netns del edgetest");
    }
}

struct Peer {
    client: Child,
    answer: BufReader<ChildStdout>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output();
    let done = done.unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {arguments}: {stderr}");
}

const HOST: &str = "edgetest";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs iproute2 and openssl, as root"]
async fn vanished_peers_are_closed_and_freed() {
    let host = Host::connected();
    let short = "[http]\nheader_timeout = \"1s\"\nidle_timeout = \"1s\"\nstream_idle_timeout = \"2s\"\n\
                 [websocket]\nping_interval = \"1s\"\npong_timeout = \"2s\"\n";
    let mut harness = AttackHarness::start_on(HERE, "[tls]", short).await;
    let program = Arc::clone(&harness.program);
    let session = "GET /ws?token=5%7Cdesk HTTP/1.1\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let attack = async {
        let (address, held) = (program.address, Arc::clone(&program));
        let peers = tokio::task::spawn_blocking(move || {
            let mut peers = [
                host.ask(address, "GET / HTTP/1.1"),
                host.ask(address, "GET /large HTTP/1.1"),
                host.ask(address, session),
            ];
            // So much that the edge is in the middle of the rest.
            peers[1].answer.read_exact(&mut [0; 1_000_000]).unwrap();
            host.cut_the_cable();
            (host, peers)
        });
        let peers = peers.await.unwrap();
        let is_reported = |line: &serde_json::Value| {
            line["event"] == "session_closed" && line["reason"] == "silent"
        };
        held.logged(is_reported).await;
        peers
    };
    // All is freed while they still believe that they are connected.
    let peers = harness.run("peers that vanish", attack).await;
    drop(peers);
}
