//! Events to rooms: the server's CPU for each delivery, and the latency from the moment when
//! the event was due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{self, Instant};

use crate::client::Tickets;
use crate::percentile;
use crate::publisher::{Entrance, Publisher};
use crate::server::TICKS_PER_SECOND;
use crate::target::{Opener, Socket, Target, failure, next_text, open_all};

/// The numbers of events and sessions, and the rate.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    target: Target,
    /// Where events are published: the edge's socket, or `address:port` of nchan
    #[arg(long)]
    publish: Entrance,
    /// Sessions in each room
    #[arg(long, default_value_t = 10)]
    members: u32,
    #[arg(long, default_value_t = 10_000)]
    events: u32,
    /// Events per second [default: as fast as they are delivered]
    #[arg(long)]
    rate: Option<u32>,
    /// Connections that publish
    #[arg(long, default_value_t = 4)]
    publishers: u32,
    /// Without a rate: events in flight
    #[arg(long, default_value_t = 64)]
    window: u64,
}

/// The events that the receivers have got; times count from `start`.
struct Seen {
    start: Instant,
    deliveries: AtomicU64,
    micros: mpsc::UnboundedSender<u32>,
}

pub(crate) async fn measure(plan: Plan) -> anyhow::Result<()> {
    let server = plan.target.server()?;
    let opener = Arc::new(Opener::new(&plan.target, Tickets::Never)?);
    let (micros, mut took_micros) = mpsc::unbounded_channel();
    let seen = Arc::new(Seen {
        start: Instant::now(),
        deliveries: AtomicU64::new(0),
        micros,
    });
    let count = plan.target.rooms * plan.members;
    let live = {
        let seen = Arc::clone(&seen);
        move |socket| receive(socket, Arc::clone(&seen))
    };
    let mut sessions = open_all(&opener, count, live).await?;
    publish(&plan, &seen, plan.events / 10, &mut sessions).await?;

    seen.deliveries.store(0, Relaxed);
    while took_micros.try_recv().is_ok() {}
    let (before, start) = (server.cpu_ticks()?, Instant::now());
    let mut publish_micros = publish(&plan, &seen, plan.events, &mut sessions).await?;
    let took = start.elapsed().as_secs_f64();
    let ticks = server.cpu_ticks()? - before;

    let deliveries = seen.deliveries.load(Relaxed) as f64;
    let cpu = ticks as f64 / TICKS_PER_SECOND / deliveries * 1e6;
    println!("CPU per million deliveries, s\t{cpu:.3}");
    match plan.rate {
        None => println!("deliveries/s\t{:.0}", deliveries / took),
        Some(_) => {
            let mut micros: Vec<u32> = std::iter::from_fn(|| took_micros.try_recv().ok()).collect();
            micros.sort_unstable();
            for (name, part) in [("median", 50), ("99 %", 99)] {
                let latency = percentile(&micros, part);
                println!("latency, {name}, ms\t{:.2}", f64::from(latency) / 1e3);
            }
            publish_micros.sort_unstable();
            let median = percentile(&publish_micros, 50);
            println!("response to the publisher, median, µs\t{median}");
        }
    }
    Ok(())
}

async fn receive(mut socket: Socket, seen: Arc<Seen>) -> anyhow::Error {
    loop {
        let text = match next_text(&mut socket).await {
            Ok(text) => text,
            Err(error) => return error,
        };
        let Some(due) = due(&text) else { continue };
        seen.deliveries.fetch_add(1, Relaxed);
        let now = seen.start.elapsed().as_micros() as u64;
        // The receivers run until the end of the measurement.
        let _ = seen.micros.send(now.saturating_sub(due) as u32);
    }
}

/// Returns the time when an event was due, in microseconds; `None` for other messages.
fn due(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(r#""due":"#)?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}

/// Publishes `events` events and waits until every member has them all. Returns the times until
/// the responses, in microseconds.
async fn publish(
    plan: &Plan,
    seen: &Arc<Seen>,
    events: u32,
    sessions: &mut JoinSet<anyhow::Error>,
) -> anyhow::Result<Vec<u64>> {
    let already = seen.deliveries.load(Relaxed);
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut publishing = JoinSet::new();
    for _ in 0..plan.publishers {
        let (plan, seen, next) = (plan.clone(), Arc::clone(seen), Arc::clone(&next));
        publishing.spawn(async move {
            let mut publisher = Publisher::open(&plan.publish).await?;
            let mut micros = Vec::new();
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= u64::from(events) {
                    return anyhow::Ok(micros);
                }
                let due = turn(&plan, &seen, number, start, already).await;
                let due = due.duration_since(seen.start).as_micros();
                let room = 1 + (number % u64::from(plan.target.rooms)) as u32;
                let rest = format!(r#""due":{due},"filler":"{FILLER}""#);
                let sent = Instant::now();
                publisher.publish(room, &rest).await?;
                micros.push(sent.elapsed().as_micros() as u64);
            }
        });
    }
    let all = already + u64::from(events) * u64::from(plan.members);
    let deadline = Instant::now() + PATIENCE;
    let mut micros = Vec::new();
    while !publishing.is_empty() || seen.deliveries.load(Relaxed) < all {
        tokio::select! {
            Some(ended) = publishing.join_next() => micros.extend(ended??),
            Some(ended) = sessions.join_next() => return Err(failure(ended)),
            () = time::sleep(TICK) => {}
        }
        if Instant::now() > deadline {
            let some = seen.deliveries.load(Relaxed) - already;
            bail!("{some} of {} deliveries within {PATIENCE:?}", all - already);
        }
    }
    Ok(micros)
}

/// Waits until event `number` may be published; returns when it was due.
async fn turn(plan: &Plan, seen: &Seen, number: u64, start: Instant, already: u64) -> Instant {
    if let Some(rate) = plan.rate {
        let due = start + Duration::from_secs_f64(number as f64 / f64::from(rate));
        time::sleep_until(due).await;
        return due;
    }
    loop {
        let done = (seen.deliveries.load(Relaxed) - already) / u64::from(plan.members);
        if number < done + plan.window {
            return Instant::now();
        }
        time::sleep(TICK).await;
    }
}

/// The resolution of tokio's timer.
const TICK: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(120);
/// Returns an event of about 200 bytes.
const FILLER: &str = "01234567890123456789012345678901234567890123456789\
                      01234567890123456789012345678901234567890123456789abcdefgh";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_is_found_in_what_arrives() {
        let text = r#"{"type":"new_message","payload":{"ticket_id":1,"due":1234,"filler":"x"}}"#;
        assert_eq!(due(text), Some(1234));
        assert_eq!(due(r#"{"type":"user_joined"}"#), None);
    }
}
