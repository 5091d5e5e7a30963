//! Measures `pwd-edge` and its peers. `bench/run` calls this program; each
//! subcommand also works alone.
//!
//! Measurements are printed as `metric<TAB>value` lines, so that the script can
//! collect them and `table` can turn them into medians and ratios.

mod client;
mod connections;
mod fanout;
mod fill;
mod floor;
mod plot;
mod publisher;
mod recovery;
mod server;
mod sessions;
mod table;
mod target;
mod uploads;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

// The allocator of the edge, so that the floors compare.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "pwd-edge-bench", about = "Measures pwd-edge and its peers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A fast loopback application: bytes, identities and tickets
    Upstream {
        #[arg(long)]
        listen: SocketAddr,
        /// Milliseconds that a response about a token or a ticket takes
        #[arg(long, default_value_t = 0)]
        delay: u64,
    },
    /// A floor: responses and rooms with the minimal work
    Floor(floor::Plan),
    /// A floor: the simplest proxy with hyper
    Hyper(floor::ProxyPlan),
    /// TLS handshakes, full and resumed
    Handshakes(connections::Plan),
    /// The server's memory for HTTPS connections that are idle after one request
    Connections(connections::Plan),
    /// The server's memory for idle wss sessions in a room
    Sessions(sessions::Plan),
    /// Sessions that connect, join and leave
    Churn(sessions::Plan),
    /// Sessions that all lose their connection and reconnect
    Storm(sessions::Plan),
    /// Sessions that all return after the edge was killed, and get the events that they missed
    Recovery(recovery::Plan),
    /// Events to rooms: CPU and latency of deliveries
    Fanout(fanout::Plan),
    /// Events that fill the event log of an edge
    Fill(fill::Plan),
    /// The latency of room events to a session, idle and while it uploads
    Uploads(uploads::Plan),
    /// Prints medians and ratios of `work<TAB>metric<TAB>server<TAB>value` files as markdown
    Table { files: Vec<PathBuf> },
    /// Prints curves as an SVG, from `x<TAB>metric<TAB>server<TAB>value` lines
    Plot(plot::Plan),
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match Arguments::parse().command {
        Command::Upstream { listen, delay } => {
            runtime.block_on(upstream::serve(listen, Duration::from_millis(delay)))
        }
        Command::Floor(plan) => runtime.block_on(floor::serve(plan)),
        Command::Hyper(plan) => runtime.block_on(floor::serve_hyper(plan)),
        Command::Handshakes(plan) => runtime.block_on(connections::handshakes(plan)),
        Command::Connections(plan) => runtime.block_on(connections::idle(plan)),
        Command::Sessions(plan) => runtime.block_on(sessions::idle(plan)),
        Command::Churn(plan) => runtime.block_on(sessions::churn(plan)),
        Command::Storm(plan) => runtime.block_on(sessions::storm(plan)),
        Command::Recovery(plan) => runtime.block_on(recovery::measure(plan)),
        Command::Fanout(plan) => runtime.block_on(fanout::measure(plan)),
        Command::Fill(plan) => runtime.block_on(fill::fill(plan)),
        Command::Uploads(plan) => runtime.block_on(uploads::measure(plan)),
        Command::Table { files } => table::print(&files),
        Command::Plot(plan) => plot::print(&plan),
    }
}

/// Returns the value below which `percent` % of `sorted` are, which is not empty.
pub(crate) fn percentile<T: Copy>(sorted: &[T], percent: usize) -> T {
    sorted[(sorted.len() - 1) * percent / 100]
}
