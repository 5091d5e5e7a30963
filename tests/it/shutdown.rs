//! How the edge stops.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::support::http::{Client, body, get};
use crate::support::program::{Home, Program};
use crate::support::{Answer, Edge, Laravel, Socket};

#[tokio::test]
async fn shutdown_finishes_requests_in_flight_and_accepts_no_more() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let address = edge.address;
    let mut clients = [Client::http1(&edge).await, Client::http2(&edge).await];
    let waiting = clients.each_mut().map(|client| {
        let request = get("/wait").body(body("")).unwrap();
        async move { Answer::read(client.send(request).await.unwrap()).await }
    });
    let stopped = async {
        while laravel.requests().len() < 2 {
            tokio::task::yield_now().await;
        }
        let stopped = edge.stop();
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        laravel.release();
        while laravel.requests().len() < 2 {
            tokio::task::yield_now().await;
        }
        laravel.release();
        stopped.await.unwrap()
    };
    let (answers, cut_off) = tokio::join!(futures_util::future::join_all(waiting), stopped);
    for answer in answers {
        assert_eq!(answer.text(), "waited");
    }
    assert_eq!(cut_off, 0, "something was cut off");
}

#[tokio::test]
async fn shutdown_closes_sessions_with_1012() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(
        &laravel.url(),
        "[server]\nlisten = [\"127.0.0.1:0\"]\nclose_spread = \"50ms\"\n",
    );
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(Socket::joined(&edge, "3|ana", 1).await);
    }
    let stopped = edge.stop();
    for socket in &mut sockets {
        assert_eq!(socket.closed().await, (1012, "service restart".to_owned()));
    }
    drop(sockets);
    assert_eq!(stopped.await.unwrap(), 0, "something was cut off");
}

#[tokio::test]
async fn shutdown_aborts_requests_after_its_timeout() {
    let laravel = Laravel::start().await;
    let edge = Edge::configured(
        &laravel.url(),
        "[server]\nlisten = [\"127.0.0.1:0\"]\nshutdown_timeout = \"100ms\"\n",
    );
    let mut client = Client::http1(&edge).await;
    let request = client.send(get("/hang").body(body("")).unwrap());
    let stopping = async {
        while laravel.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        edge.stop().await.unwrap()
    };
    tokio::select! {
        answer = request => panic!("{answer:?}"),
        cut_off = stopping => assert!(cut_off > 0),
    }
}

#[tokio::test]
async fn stopped_edge_leaves_no_socket_file() {
    let laravel = Laravel::start().await;
    let home = Home::new(&laravel.url(), SocketAddr::from(([127, 0, 0, 1], 0)), "");
    let mut command = home.command();
    command.args(["run", "--config", "config.toml"]);
    let program = Program::start(&home, command);
    let socket = home.path("broadcast.sock");
    assert!(socket.exists());
    assert!(program.stop().success());
    assert!(!socket.exists());
}
