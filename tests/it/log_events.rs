//! Events of the log, as a program reads them.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::Laravel;
use crate::support::program::Program;

#[tokio::test]
async fn failed_handshake_is_logged_with_its_cause() {
    let laravel = Laravel::start().await;
    let program = Program::before(&laravel.url(), "[log]\nlevel = \"debug\"\n");
    let mut plain = TcpStream::connect(program.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let line = program.logged(|line| line["message"] == "no TLS").await;
    let error = line["error"].as_str().unwrap();
    assert!(
        error.starts_with("the handshake failed: ") && error.contains("corrupt message"),
        "{line}"
    );
}
