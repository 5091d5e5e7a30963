//! Hostile clients, against the binary: their cost is bounded, the edge reports their
//! mistake where that is possible, it serves others meanwhile, and frees everything after.
//!
//! Attackers come from addresses of their own, 127.1.0.0/16, for which the limits
//! hold.

mod connections;
pub(crate) mod http2;
mod many_addresses;
mod slow;
mod stalled;
mod tls;
mod vanished;
mod websocket;

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::StatusCode;
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::support::http::{Client, body, get};
use crate::support::program::{Home, Program};
use crate::support::{Laravel, Socket};

const MIB: u64 = 1024 * 1024;

/// The first address that attackers have.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);

type Stream = TlsStream<TcpStream>;

/// The edge under attack, and a bystander whose requests must not slow down.
struct AttackHarness {
    program: Arc<Program>,
    laravel: Laravel,
    bystander: Bystander,
    /// What there was before the attack.
    before: OpenResources,
}

/// A session and a connection that have no limits of their own.
struct Bystander {
    socket: Socket,
    client: Client,
    /// The time of the last response.
    answered: Instant,
    /// The time between the last two responses.
    pause: Duration,
}

/// What the edge holds.
#[derive(Debug)]
struct OpenResources {
    connections: u64,
    sessions: u64,
    rooms: u64,
    open_files: u64,
}

impl AttackHarness {
    /// An edge configured by more TOML; first comes what belongs to `[limits]`.
    async fn start(more: &str) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST, "[tls]", more).await
    }

    /// The same on another address of this machine, with `tls` in place of the line `[tls]`.
    async fn start_on(address: Ipv4Addr, tls: &str, more: &str) -> Self {
        let laravel = Laravel::start().await;
        // It must be below stream_idle_timeout, which some of these tests shorten.
        let response_timeout = if more.contains("stream_idle_timeout") {
            format!("response_timeout = \"{}s\"\n", RESPONSE_TIMEOUT.as_secs())
        } else {
            String::new()
        };
        let more = format!(
            "idle_timeout = \"500ms\"\n{response_timeout}\
             [limits]\nexempt = [\"{address}\"]\n{more}"
        );
        let home = Home::new(&laravel.url(), (address, 0).into(), &more);
        home.configure("[tls]", tls);
        let mut command = home.command();
        command.args(["run", "--config", "config.toml"]);
        let program = Arc::new(Program::start(&home, command));
        let session = program.connect("http/1.1").await;
        let mut socket = Socket::over(session, "3|ana").await;
        socket.join(1).await;
        let client = program.http2().await;
        let mut bystander = Bystander {
            socket,
            client,
            answered: Instant::now(),
            pause: Duration::ZERO,
        };
        bystander.served(&program).await;
        Self {
            before: OpenResources::of(&program).await,
            program,
            laravel,
            bystander,
        }
    }

    /// Lets `attack` happen while the bystander is served, and says how much
    /// slower that was; then waits until all that it held is freed.
    async fn run<T>(&mut self, name: &str, attack: impl Future<Output = T>) -> T {
        let (program, bystander) = (&self.program, &mut self.bystander);
        let mut calm = Vec::new();
        for _ in 0..10 {
            calm.push(bystander.served(program).await);
        }
        let over = Cell::new(false);
        let attack = async {
            let seen = attack.await;
            over.set(true);
            seen
        };
        let serving = async {
            let mut took = Vec::new();
            while !over.get() {
                took.push(bystander.served(program).await);
            }
            took
        };
        let (seen, under) = tokio::join!(attack, serving);
        let (calm, times, under) = (median(calm), under.len(), median(under));
        println!("{name}: a bystander took {calm:?} before, {under:?} meanwhile ({times} times)");
        while !OpenResources::of(program)
            .await
            .is_no_more_than(&self.before)
        {}
        bystander.served(program).await;
        seen
    }
}

impl Bystander {
    /// Waits for an event on the session and for a response; returns the time of both.
    async fn served(&mut self, program: &Program) -> Duration {
        let start = Instant::now();
        program.publish(1, json!({ "message": "here" })).await;
        self.socket.until("new_message").await;
        // On a slow machine the connection may reach its idle timeout, and the response its own.
        loop {
            let asked = Instant::now();
            match self.ask().await {
                Ok(StatusCode::OK) => break,
                Ok(status) => {
                    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
                    assert!(asked.elapsed() >= RESPONSE_TIMEOUT);
                }
                // The edge still serves a request that is on its way at the idle timeout, and
                // closes after that.
                Err(error) => {
                    let pause = self.pause.max(self.answered.elapsed());
                    assert!(pause > HALF_IDLE_TIMEOUT, "{error}");
                    self.reconnect(program).await;
                }
            }
        }
        self.pause = self.answered.elapsed();
        self.answered = Instant::now();
        start.elapsed()
    }

    /// Sends a request; returns its status after the whole response.
    async fn ask(&mut self) -> Result<StatusCode, hyper::Error> {
        let request = get("/").body(body("")).unwrap();
        let response = self.client.send(request).await?;
        let status = response.status();
        response.into_body().collect().await?;
        Ok(status)
    }

    /// Opens a new connection; a handshake may reach its timeout as well.
    async fn reconnect(&mut self, program: &Program) {
        let stream = loop {
            let stream = TcpStream::connect(program.address).await.unwrap();
            if let Ok(stream) = program.secure(stream, "h2").await {
                break stream;
            }
        };
        self.client = Client::over_http2(stream).await;
    }
}

impl OpenResources {
    async fn of(program: &Program) -> Self {
        let status = program.status().await;
        let count = |name: &str| status[name].as_u64().unwrap();
        Self {
            connections: count("connections"),
            sessions: count("sessions"),
            rooms: count("rooms"),
            open_files: count("open_files"),
        }
    }

    fn is_no_more_than(&self, before: &Self) -> bool {
        let alive = [self.connections, self.sessions, self.rooms];
        // Connections to Laravel rest a while, and count as files.
        alive == [before.connections, before.sessions, before.rooms]
            && self.open_files <= before.open_files
    }
}

/// `upstream.response_timeout` of the tests that shorten `http.stream_idle_timeout`.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Half of the shortest `http.idle_timeout` of these tests.
const HALF_IDLE_TIMEOUT: Duration = Duration::from_millis(500);

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took.get(took.len() / 2).copied().unwrap_or_default()
}

/// A connection to the edge that comes from `from`.
async fn connect(from: Ipv4Addr, program: &Program) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(program.address).await
}

/// The same with TLS on it.
async fn connect_tls(from: Ipv4Addr, program: &Program, alpn: &str) -> std::io::Result<Stream> {
    program.secure(connect(from, program).await?, alpn).await
}
