//! Connections for their own sake.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::net::TcpStream;

use super::{ATTACKER, AttackHarness, MIB, connect};
use crate::support::program::Program;

/// From one address, then from two hundred, saying nothing.
#[tokio::test]
async fn ten_thousand_silent_connections_leave_others_served() {
    pwd_edge::runtime::open_file_limit::raise_open_file_limit(30_000).unwrap();
    let mut harness = AttackHarness::start("").await;
    let program = Arc::clone(&harness.program);
    for addresses in [1_u32, 200] {
        let (before, _) = program.memory();
        let from = |n: u32| Ipv4Addr::from_bits(ATTACKER.to_bits() + n % addresses);
        let attack = async {
            let connections = (0..10_000_u32).map(|n| connect(from(n), &program));
            let connections = stream::iter(connections).buffer_unordered(200);
            let held: Vec<_> = connections.collect().await;
            assert!(held.iter().all(Result::is_ok));
            program.memory().1.saturating_sub(before) / MIB
        };
        let name = format!("10 000 connections from {addresses} addresses");
        let grown = harness.run(&name, attack).await;
        println!("{name}: {grown} MiB more");
        assert!(grown < 256, "{grown} MiB more");
    }
}

/// The kernel refuses more files. The edge continues, and logs it once.
#[tokio::test]
async fn accept_without_free_files_is_logged_once_and_recovers() {
    let mut harness = AttackHarness::start("").await;
    let program = Arc::clone(&harness.program);
    let is_reported = |line: &Value| line["event"] == "accept_failed";
    let attack = async {
        limit_files(&program, "40");
        let mut held = Vec::new();
        for _ in 0..100 {
            // Without a limit of its own: only the files count.
            held.push(TcpStream::connect(program.address).await.unwrap());
        }
        program.logged(is_reported).await;
        limit_files(&program, "1024");
        drop(held);
        program.http1().await;
    };
    harness.run("no file left", attack).await;
    assert_eq!(program.count(is_reported), 1);
}

fn limit_files(program: &Program, soft: &str) {
    let pid = program.pid().to_string();
    let limit = format!("--nofile={soft}:");
    let done = Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(done.unwrap().success());
}
