//! Sessions that all return after the edge was killed, and get the events that they missed: the
//! time that this takes, and the questions that the application gets.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{self, Instant};

use crate::client::Tickets;
use crate::percentile;
use crate::publisher::{Entrance, Publisher};
use crate::target::{Opener, Socket, Target, expect};
use crate::upstream;

/// The sessions, what they miss, and the edge.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    target: Target,
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Events that each room misses
    #[arg(long, default_value_t = 5)]
    events: u32,
    /// The edge's broadcast socket
    #[arg(long)]
    publish: Entrance,
    /// The application behind the edge
    #[arg(long)]
    upstream: SocketAddr,
    /// The command that runs the edge
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// A running edge, which is killed when this is dropped.
struct Edge(Child);

/// A session that is back, and the times from the restart until it had joined and until it had
/// all events.
struct Returned {
    joined: Duration,
    replayed: Duration,
    _socket: Socket,
}

pub(crate) async fn measure(plan: Plan) -> anyhow::Result<()> {
    let opener = Arc::new(Opener::new(&plan.target, Tickets::Kept)?);
    let edge = Edge::start(&plan).await?;
    let positions = positions(&opener, plan.count).await?;
    drop(edge);
    let _edge = Edge::start(&plan).await?;
    publish(&plan).await?;
    upstream::questions(plan.upstream).await?;

    let start = Instant::now();
    let mut returning = JoinSet::new();
    for (id, position) in (1..).zip(positions) {
        let (opener, events) = (Arc::clone(&opener), plan.events);
        returning.spawn(async move {
            let (mut socket, joined) = opener.open_since(id, Some(&position)).await?;
            let joined_at = start.elapsed();
            ensure!(
                joined["recovered"] == true && joined["missed"] == events,
                "session {id} is not recovered: {joined}"
            );
            for _ in 0..events {
                expect(&mut socket, "new_message").await?;
            }
            anyhow::Ok(Returned {
                joined: joined_at,
                replayed: start.elapsed(),
                _socket: socket,
            })
        });
    }
    let mut returned = Vec::new();
    while let Some(session) = returning.join_next().await {
        returned.push(session??);
    }
    report(&returned, &upstream::questions(plan.upstream).await?);
    Ok(())
}

fn report(returned: &[Returned], questions: &Value) {
    let seconds = |times: &dyn Fn(&Returned) -> Duration| {
        let mut times: Vec<_> = returned.iter().map(times).collect();
        times.sort_unstable();
        times
    };
    let replayed = seconds(&|session| session.replayed);
    let replay = seconds(&|session| session.replayed - session.joined);
    for (name, times, part) in [
        ("half are back with all events after, s", &replayed, 50),
        ("all are back with all events after, s", &replayed, 100),
        ("events after the join, median, s", &replay, 50),
        ("events after the join, 99 %, s", &replay, 99),
    ] {
        println!("{name}\t{:.3}", percentile(times, part).as_secs_f64());
    }
    println!("questions to the application\t{}", questions["total"]);
    println!(
        "questions at once about tokens\t{}",
        questions["most_users"]
    );
    println!(
        "questions at once about tickets\t{}",
        questions["most_tickets"]
    );
}

impl Edge {
    async fn start(plan: &Plan) -> anyhow::Result<Self> {
        let (program, arguments) = plan.command.split_first().context("no command")?;
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null());
        let mut edge = Self(command.spawn().with_context(|| program.clone())?);
        let (address, deadline) = (plan.target.address()?, Instant::now() + START_TIMEOUT);
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = edge.0.try_wait()? {
                bail!("the edge has ended: {status}");
            }
            ensure!(
                Instant::now() < deadline,
                "the edge does not listen on {address}"
            );
            time::sleep(Duration::from_millis(10)).await;
        }
        Ok(edge)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // It has ended by itself otherwise.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens all sessions; returns the position that each of them hears.
async fn positions(opener: &Arc<Opener>, count: u32) -> anyhow::Result<Vec<String>> {
    let mut sessions = JoinSet::new();
    for id in 1..=count {
        let opener = Arc::clone(opener);
        sessions.spawn(async move { anyhow::Ok((id, opener.open_since(id, None).await?)) });
    }
    let mut open = Vec::new();
    while let Some(session) = sessions.join_next().await {
        open.push(session??);
    }
    open.sort_unstable_by_key(|(id, _)| *id);
    let positions = open.iter().map(|(_, (_, joined))| {
        let position = joined["position"].as_str();
        position
            .map(str::to_owned)
            .context("the edge has no history")
    });
    positions.collect()
}

/// Publishes to every room what its sessions miss.
async fn publish(plan: &Plan) -> anyhow::Result<()> {
    let mut publisher = Publisher::open(&plan.publish).await?;
    for number in 0..plan.events {
        for room in 1..=plan.target.rooms {
            publisher
                .publish(room, &format!(r#""number":{number}"#))
                .await?;
        }
    }
    Ok(())
}

const START_TIMEOUT: Duration = Duration::from_secs(10);
