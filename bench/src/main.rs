//! Measures `pwd-edge` and its peers. `bench/run` calls this program; each
//! subcommand also works alone.
//!
//! Measurements are printed as `metric<TAB>value` lines, so that the script can
//! collect them and `table` can turn them into medians and ratios.

mod client;
mod server;
mod sessions;
mod table;
mod uploads;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

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
    },
    /// Opens wss sessions that join rooms and rest; prints the server's memory for each
    Sessions(sessions::Plan),
    /// How long room events take to a session, at rest and while it uploads
    Uploads(uploads::Plan),
    /// Prints medians and ratios of `work<TAB>metric<TAB>server<TAB>value` files as markdown
    Table { files: Vec<PathBuf> },
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match Arguments::parse().command {
        Command::Upstream { listen } => runtime.block_on(upstream::serve(listen)),
        Command::Sessions(plan) => runtime.block_on(sessions::measure(plan)),
        Command::Uploads(plan) => runtime.block_on(uploads::measure(plan)),
        Command::Table { files } => table::print(&files),
    }
}
