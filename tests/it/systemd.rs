//! What systemd does with the binary, done by hand: sockets that are open before
//! it begins, and the watchdog.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use tokio::net::UnixStream;

use crate::support::http::{Client, body, get};
use crate::support::program::{Home, Program};
use crate::support::{Answer, Edge, Laravel};

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn sockets_passed_by_systemd_are_used() {
    let laravel = Laravel::start().await;
    let (site, address) = listener();
    let home = Home::new(&laravel.url(), address, "");
    let broadcasts = UnixListener::bind(home.path("broadcast.sock")).unwrap();
    let command = home.command_with(site.into(), Some(broadcasts.into()));
    let program = Program::start(&home, command);
    assert_eq!(program.address, address);
    let mut client = program.http1().await;
    let answer = client.fetch(get("/x").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let socket = UnixStream::connect(home.path("broadcast.sock")).await;
    let mut client = Client::over_http1(socket.unwrap()).await;
    let answer = client.fetch(get("/status").body(body("")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(program.events("systemd_socket_unused").is_empty());
}

#[tokio::test]
async fn passed_socket_not_in_the_config_is_reported() {
    let laravel = Laravel::start().await;
    let (stray, address) = listener();
    let home = Home::new(&laravel.url(), SocketAddr::from(([127, 0, 0, 1], 0)), "");
    let program = Program::start(&home, home.command_with(stray.into(), None));
    assert_ne!(program.address, address);
    let events = program.events("systemd_socket_unused");
    assert_eq!(events[0]["socket"], address.to_string());
}

#[tokio::test]
async fn passed_socket_of_the_same_port_in_another_spelling_is_reported() {
    let laravel = Laravel::start().await;
    let (site, address) = listener();
    let spelled = SocketAddr::from(([0, 0, 0, 0], address.port()));
    let home = Home::new(&laravel.url(), spelled, "");
    let output = home.command_with(site.into(), None).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    let cure = format!("the socket unit has {address} for this port: write the same address");
    assert!(error.contains(&cure), "{error}");
    assert!(!error.contains("another program"), "{error}");
}

#[tokio::test]
async fn passed_file_that_is_no_socket_is_reported() {
    let laravel = Laravel::start().await;
    let home = Home::new(&laravel.url(), SocketAddr::from(([127, 0, 0, 1], 0)), "");
    let file = std::fs::File::open(home.path("config.toml")).unwrap();
    let program = Program::start(&home, home.command_with(file.into(), None));
    let events = program.events("systemd_socket_unused");
    let socket = events[0]["socket"].as_str().unwrap();
    assert!(
        socket.starts_with("no. 1: ") && socket.contains("not a socket"),
        "{socket}"
    );
}

/// Clients that come, ask once and leave, again and again.
struct Load {
    answered: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    async fn client(&self, home: &Home, address: SocketAddr) -> Result<(), String> {
        while !self.is_over.load(Ordering::Relaxed) {
            let stream = home.connect(address, "http/1.1").await;
            let stream = stream.map_err(|error| format!("not let in: {error}"))?;
            let mut client = Client::over_http1(stream).await;
            let answer = client.send(get("/x").body(body("")).unwrap()).await;
            let answer = answer.map_err(|error| format!("not answered: {error}"))?;
            let answer = Answer::read(answer).await;
            if answer.status != StatusCode::OK {
                return Err(format!("answered {}", answer.status));
            }
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits for `more` responses.
    async fn wait_for_responses(&self, more: usize) {
        let wanted = self.answered.load(Ordering::Relaxed) + more;
        while self.answered.load(Ordering::Relaxed) < wanted {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn restart_with_a_passed_socket_loses_no_request() {
    let laravel = Laravel::start().await;
    // The test stands for systemd, which keeps the socket.
    let (kept, address) = listener();
    let home = Home::new(&laravel.url(), address, "");
    let start = || {
        let socket = kept.try_clone().unwrap();
        Program::start(&home, home.command_with(socket.into(), None))
    };
    let load = Arc::new(Load {
        answered: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
    });
    let mut program = start();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (load, home) = (Arc::clone(&load), Arc::clone(&home));
            tokio::spawn(async move { load.client(&home, address).await })
        })
        .collect();
    for _ in 0..3 {
        load.wait_for_responses(50).await;
        assert!(tokio::task::block_in_place(|| program.stop()).success());
        program = tokio::task::block_in_place(start);
    }
    load.wait_for_responses(50).await;
    load.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        assert_eq!(client.await.unwrap(), Ok(()));
    }
}

/// The socket of sd_notify(3).
struct NotifySocket(UnixDatagram);

impl NotifySocket {
    fn bind(home: &Home) -> Self {
        let socket = UnixDatagram::bind(home.path("notify.sock")).unwrap();
        Self(socket)
    }

    fn next(&self) -> String {
        let mut text = [0; 256];
        let length = self.0.recv(&mut text).expect("it tells systemd something");
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    fn until(&self, wanted: &str) {
        while self.next().trim() != wanted {}
    }

    /// Waits until nothing at all comes for ten times the watchdog's patience.
    fn wait_for_silence(&self) {
        let patience = Duration::from_micros(10 * WATCHDOG_USEC);
        self.0.set_read_timeout(Some(patience)).unwrap();
        // Earlier messages still wait in the socket.
        let events = (0..20).find(|_| self.0.recv(&mut [0; 256]).is_err());
        assert!(events.is_some(), "the edge still sends messages");
        self.0.set_read_timeout(None).unwrap();
    }
}

const WATCHDOG_USEC: u64 = 100_000;

/// The binary under a watchdog.
fn start_with_watchdog(laravel: &Laravel) -> (Arc<Home>, NotifySocket, Program) {
    let home = Home::new(&laravel.url(), SocketAddr::from(([127, 0, 0, 1], 0)), "");
    let systemd = NotifySocket::bind(&home);
    let mut command = home.command();
    command.args(["run", "--config", "config.toml"]);
    command.env("NOTIFY_SOCKET", home.path("notify.sock"));
    command.env("WATCHDOG_USEC", WATCHDOG_USEC.to_string());
    let program = Program::start(&home, command);
    systemd.until("READY=1");
    (home, systemd, program)
}

#[tokio::test(flavor = "multi_thread")]
async fn watchdog_is_notified_until_the_process_is_stopped() {
    let laravel = Laravel::start().await;
    let (_home, systemd, program) = start_with_watchdog(&laravel);
    for _ in 0..5 {
        systemd.until("WATCHDOG=1");
    }
    program.signal("-STOP");
    systemd.wait_for_silence();
    program.signal("-CONT");
    systemd.until("WATCHDOG=1");
}

/// A pipe without a writer stands for a disk that does not respond.
#[tokio::test(flavor = "multi_thread")]
async fn reload_from_a_hanging_disk_blocks_nothing_else() {
    let laravel = Laravel::start().await;
    let (home, systemd, program) = start_with_watchdog(&laravel);
    let config = home.path("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::remove_file(&config).unwrap();
    let made = Command::new("mkfifo").arg(&config).status().unwrap();
    assert!(made.success());
    program.send_sighup();
    systemd.until("RELOADING=1");
    for _ in 0..5 {
        systemd.until("WATCHDOG=1");
    }
    let status = async |path: &str| {
        let request = get(path).body(body("")).unwrap();
        program.http1().await.fetch(request).await.status
    };
    assert_eq!(status("/hidden").await, StatusCode::OK);
    let hidden = "[[routes]]\npath = \"/hidden\"\nstatus = 404\n";
    std::fs::write(&config, text + hidden).unwrap();
    systemd.until("READY=1");
    assert_eq!(status("/hidden").await, StatusCode::NOT_FOUND);
}

#[test]
fn watchdog_reports_loops_without_a_worker() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let edge = runtime.block_on(async {
        let laravel = Laravel::start().await;
        let edge = Edge::before(&laravel);
        edge.watchdog().check().await;
        edge
    });
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (tell, stuck) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        tell.send(()).unwrap();
        released.recv().unwrap_err();
    });
    stuck.recv().unwrap();
    // With its only worker the edge's runtime has lost its clock as well.
    let mut outside = tokio::runtime::Builder::new_current_thread();
    outside.enable_all().build().unwrap().block_on(async {
        let watchdog = edge.watchdog();
        let mut asking = std::pin::pin!(watchdog.check());
        let soon = Duration::from_millis(300);
        assert!(tokio::time::timeout(soon, asking.as_mut()).await.is_err());
        assert!(watchdog.unresponsive().contains(&edge.address.to_string()));
        drop(release);
        asking.await;
    });
}
