//! Fills the event log of an edge, so that its start can be measured.

use clap::Args;
use tokio::task::JoinSet;

use crate::publisher::{Entrance, Publisher};

/// The events to publish.
#[derive(Clone, Debug, Args)]
pub(crate) struct Plan {
    /// The broadcast socket of the edge
    #[arg(long)]
    publish: Entrance,
    #[arg(long)]
    events: u32,
    /// The length of the text in an event
    #[arg(long, default_value_t = 400)]
    text: usize,
    #[arg(long, default_value_t = 500)]
    rooms: u32,
    /// Connections that publish
    #[arg(long, default_value_t = 32)]
    publishers: u32,
}

/// Publishes events to all rooms in turn.
pub(crate) async fn fill(plan: Plan) -> anyhow::Result<()> {
    let rest = format!(r#""text":"{}""#, "x".repeat(plan.text));
    let mut publishers = JoinSet::new();
    for first in 0..plan.publishers {
        let (plan, rest) = (plan.clone(), rest.clone());
        publishers.spawn(async move {
            let mut publisher = Publisher::open(&plan.publish).await?;
            for number in (first..plan.events).step_by(plan.publishers as usize) {
                publisher.publish(1 + number % plan.rooms, &rest).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(published) = publishers.join_next().await {
        published??;
    }
    Ok(())
}
