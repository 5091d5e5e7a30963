//! A network between browsers and an edge, which can fail.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// It forwards connections. It ends with the test's runtime.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    faults: Arc<Mutex<Faults>>,
}

/// The faults that the connections of now can have.
#[derive(Clone, Default)]
struct Faults {
    closed: CancellationToken,
    dead: CancellationToken,
}

impl Relay {
    pub(crate) async fn start(edge: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            faults: Arc::default(),
        };
        let faults = Arc::clone(&relay.faults);
        tokio::spawn(async move {
            loop {
                let (browser, _) = listener.accept().await.unwrap();
                let faults = faults.lock().clone();
                tokio::spawn(forward(browser, edge, faults));
            }
        });
        relay
    }

    /// Closes all connections of now.
    pub(crate) fn close_all(&self) {
        std::mem::take(&mut *self.faults.lock()).closed.cancel();
    }

    /// Forwards nothing more on all connections of now, which stay open.
    pub(crate) fn forget_all(&self) {
        std::mem::take(&mut *self.faults.lock()).dead.cancel();
    }
}

async fn forward(mut browser: TcpStream, edge: SocketAddr, faults: Faults) {
    let mut edge = TcpStream::connect(edge).await.unwrap();
    tokio::select! {
        _ = copy_bidirectional(&mut browser, &mut edge) => {}
        () = faults.closed.cancelled() => {}
        () = faults.dead.cancelled() => std::future::pending().await,
    }
}
