//! Small apps: one that records what it receives and can be killed and started
//! again, and one that speaks raw bytes by a script.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where the app listens.
#[derive(Clone)]
pub(crate) enum Place {
    Port(u16),
    Socket(PathBuf),
}

/// An app that answers `name: body`, once its gate is open; clones are one.
#[derive(Clone)]
pub(crate) struct App(Arc<State>);

struct State {
    name: &'static str,
    place: Place,
    /// How often each "method target" came.
    received: Mutex<HashMap<String, usize>>,
    gate: watch::Sender<bool>,
    /// What `/up` says.
    well: AtomicBool,
    life: Mutex<(CancellationToken, TaskTracker)>,
}

impl App {
    /// An app that does not run yet.
    pub(crate) fn new(name: &'static str, place: Place) -> Self {
        Self(Arc::new(State {
            name,
            place,
            received: Mutex::default(),
            gate: watch::Sender::new(true),
            well: AtomicBool::new(true),
            life: Mutex::default(),
        }))
    }

    /// One on a free port, running.
    pub(crate) async fn started(name: &'static str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let app = Self::new(name, Place::Port(port));
        app.start().await;
        app
    }

    pub(crate) fn url(&self) -> String {
        match &self.0.place {
            Place::Port(port) => format!("http://127.0.0.1:{port}"),
            Place::Socket(path) => format!("unix:{}", path.display()),
        }
    }

    pub(crate) async fn start(&self) {
        let life = (CancellationToken::new(), TaskTracker::new());
        *self.0.life.lock() = life.clone();
        let (app, (stop, tasks)) = (self.clone(), life);
        match &self.0.place {
            Place::Port(port) => {
                let listener = TcpListener::bind(("127.0.0.1", *port)).await.unwrap();
                let serving = tasks.clone();
                tasks.spawn(stop.run_until_cancelled_owned(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        app.serve(stream, &serving);
                    }
                }));
            }
            Place::Socket(path) => {
                let _ = std::fs::remove_file(path);
                let listener = UnixListener::bind(path).unwrap();
                let serving = tasks.clone();
                tasks.spawn(stop.run_until_cancelled_owned(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        app.serve(stream, &serving);
                    }
                }));
            }
        }
    }

    /// Ends it as SIGKILL would: whatever it is doing is lost.
    pub(crate) async fn kill(&self) {
        let (stop, tasks) = self.0.life.lock().clone();
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }

    fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        on: &TaskTracker,
    ) {
        let stop = self.0.life.lock().0.clone();
        let app = self.clone();
        on.spawn(stop.run_until_cancelled_owned(async move {
            let service = service_fn(move |request| {
                let app = app.clone();
                async move { app.answer(request).await }
            });
            let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = serving.await;
        }));
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let mut answer = Response::default();
        if request.uri().path() == "/up" {
            if !self.0.well.load(SeqCst) {
                *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            return Ok(answer);
        }
        let what = format!("{} {}", request.method(), request.uri());
        *self.0.received.lock().entry(what).or_default() += 1;
        let body = request.into_body().collect().await?.to_bytes();
        let mut gate = self.0.gate.subscribe();
        gate.wait_for(|open| *open).await.unwrap();
        let text = format!("{}: {}", self.0.name, String::from_utf8_lossy(&body));
        *answer.body_mut() = Full::new(Bytes::from(text));
        Ok(answer)
    }

    /// Whether answers are given.
    pub(crate) fn set_open(&self, open: bool) {
        self.0.gate.send_replace(open);
    }

    pub(crate) fn set_healthy(&self, well: bool) {
        self.0.well.store(well, SeqCst);
    }

    /// How often each "method target" came.
    pub(crate) fn received(&self) -> HashMap<String, usize> {
        self.0.received.lock().clone()
    }

    /// Completes when at least `count` different requests have come.
    pub(crate) async fn wait_until_received(&self, count: usize) {
        while self.0.received.lock().len() < count {
            tokio::task::yield_now().await;
        }
    }
}

/// An app that does with its connections, counted from 0, what a script says. It begins when
/// the first byte has come: the edge's connection at start, which sends nothing, does not count.
/// Returns its URL.
pub(crate) async fn scripted<F, Fut>(script: F) -> String
where
    F: Fn(usize, TcpStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (count, script) = (Arc::new(AtomicUsize::new(0)), Arc::new(script));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (count, script) = (Arc::clone(&count), Arc::clone(&script));
            tokio::spawn(async move {
                if stream.peek(&mut [0]).await.is_ok_and(|bytes| bytes > 0) {
                    script(count.fetch_add(1, SeqCst), stream).await;
                }
            });
        }
    });
    url
}

/// Reads a request's head, and whatever came with it.
pub(crate) async fn head(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.windows(4).any(|four| four == b"\r\n\r\n") {
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}
