//! The cost of sessions: the memory of idle ones, and the CPU of those that come and go, or
//! that all reconnect at once.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::time::Instant;

use crate::client::Tickets;
use crate::server::TICKS_PER_SECOND;
use crate::target::{Opener, Target, failure, open_all, rest};

/// The number of sessions.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    target: Target,
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

/// Measures idle sessions, each with a full handshake.
pub(crate) async fn idle(plan: Plan) -> anyhow::Result<()> {
    let server = plan.target.server()?;
    let opener = Arc::new(Opener::new(&plan.target, Tickets::Never)?);
    drop(open_all(&opener, plan.count.min(WARM_UP), rest).await?);

    let memory_before = server.settled_memory().await?;
    let ticks_before = server.cpu_ticks()?;
    let mut sessions = open_all(&opener, plan.count, rest).await?;
    let ticks = server.cpu_ticks()? - ticks_before;
    let memory = server.settled_memory().await?;
    if let Some(ended) = sessions.try_join_next() {
        return Err(failure(ended).context("a session did not last"));
    }
    drop(sessions);
    let memory_after = server.settled_memory().await?;

    let count = f64::from(plan.count);
    let growth = |now: u64, before: u64| (now as f64 - before as f64) / count;
    let rss = growth(memory.rss, memory_before.rss);
    let pss = growth(memory.pss, memory_before.pss);
    let kept = growth(memory_after.rss, memory_before.rss);
    println!("memory per session (Rss), bytes\t{rss:.0}");
    println!("memory per session (Pss), bytes\t{pss:.0}");
    println!("kept per session after all left (Rss), bytes\t{kept:.0}");
    println!(
        "server CPU to open 1 000 sessions, s\t{:.3}",
        per_thousand(ticks, plan.count)
    );
    Ok(())
}

/// Measures sessions that connect, join and leave, of users that the server has cached.
pub(crate) async fn churn(plan: Plan) -> anyhow::Result<()> {
    let server = plan.target.server()?;
    let opener = Arc::new(Opener::new(&plan.target, Tickets::Never)?);
    come_and_go(&opener, WARM_UP.max(plan.target.rooms)).await?;
    let (before, start) = (server.cpu_ticks()?, Instant::now());
    come_and_go(&opener, plan.count).await?;
    let took = start.elapsed().as_secs_f64();
    // The server's work after the last one has left counts too.
    server.settled_memory().await?;
    let ticks = server.cpu_ticks()? - before;
    println!(
        "server CPU per 1 000 sessions, s\t{:.3}",
        per_thousand(ticks, plan.count)
    );
    println!("sessions/s\t{:.0}", f64::from(plan.count) / took);
    Ok(())
}

async fn come_and_go(opener: &Arc<Opener>, count: u32) -> anyhow::Result<()> {
    let mut visits = tokio::task::JoinSet::new();
    for id in 1..=count {
        let opener = Arc::clone(opener);
        visits.spawn(async move {
            let mut socket = opener.open(id).await?;
            socket.close(None).await.context("cannot say good-bye")?;
            anyhow::Ok(())
        });
    }
    while let Some(ended) = visits.join_next().await {
        ended??;
    }
    Ok(())
}

/// Measures sessions that all lose their connections at once and reconnect, with TLS
/// tickets, as browsers do.
pub(crate) async fn storm(plan: Plan) -> anyhow::Result<()> {
    let server = plan.target.server()?;
    let opener = Arc::new(Opener::new(&plan.target, Tickets::Kept)?);
    drop(open_all(&opener, plan.count, rest).await?);
    let (before, start) = (server.cpu_ticks()?, Instant::now());
    let sessions = open_all(&opener, plan.count, rest).await?;
    let took = start.elapsed().as_secs_f64();
    let ticks = server.cpu_ticks()? - before;
    drop(sessions);
    println!("all back in their rooms after, s\t{took:.2}");
    println!(
        "server CPU per 1 000 sessions, s\t{:.3}",
        per_thousand(ticks, plan.count)
    );
    Ok(())
}

fn per_thousand(ticks: u64, count: u32) -> f64 {
    ticks as f64 / TICKS_PER_SECOND / f64::from(count) * 1_000.0
}

/// Sessions that are opened and closed before the first reading, so that one-time setup of
/// the server does not count.
const WARM_UP: u32 = 50;
