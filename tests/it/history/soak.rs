//! A soak: an edge that is killed again and again under load.
//!
//! It is short by default. `.ci/run` sets `SOAK_KILLS=100` and `SOAK_EVENTS=1000000`.

use std::time::Duration;

use super::load::{Load, Plan, SETTINGS};
use super::log::start;
use crate::support::Laravel;
use crate::support::program::Home;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edge_killed_again_and_again_under_load_loses_and_repeats_no_event() {
    let kills = amount("SOAK_KILLS", 5);
    let each = amount("SOAK_EVENTS", 5_000) / kills;
    let laravel = Laravel::start().await;
    let home = Home::new(&laravel.url(), ([127, 0, 0, 1], 0).into(), SETTINGS);
    let mut program = start(&home);
    let plan = Plan {
        events: kills * each,
        ..Plan::default()
    };
    let load = Load::start(&home, &program, plan);
    for kill in 0..kills {
        load.acknowledged(kill * each + fastrand::u64(0..each))
            .await;
        // At any moment, and not only just after a response.
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..3_000))).await;
        load.pause();
        program = tokio::task::block_in_place(|| {
            program.kill();
            start(&home)
        });
        load.resume(&program);
    }
    let outcome = load.finish(&program).await;
    println!(
        "soak: {} events acknowledged, {kills} kills, {} requests retried, {} returns: \
         {} deliveries lost, {} twice",
        outcome.events, outcome.retries, outcome.visits, outcome.lost, outcome.twice
    );
    assert_eq!((outcome.lost, outcome.twice), (0, 0));
    assert!(outcome.visits as u64 > kills, "{outcome:?}");
}

fn amount(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}
