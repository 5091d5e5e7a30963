//! Every metric is in the table of metrics.

use std::collections::BTreeSet;

use super::{Found, Reference, pages};
use crate::support::{Edge, Laravel};

#[tokio::test]
async fn metric_of_a_fresh_edge_has_its_row() {
    let laravel = Laravel::start().await;
    let (edge, _directory) = edge_with_history(&laravel);
    let metrics = metrics(&edge).await;
    let reference = Reference::read("docs/REFERENCE.md", "metrics");
    reference.assert_names(0, &metrics, "metric");
}

#[tokio::test]
async fn label_of_a_metric_is_in_its_row() {
    let laravel = Laravel::start().await;
    let (edge, _directory) = edge_with_history(&laravel);
    let text = edge.get("/metrics").await;
    let reference = Reference::read("docs/REFERENCE.md", "metrics");
    let samples = text.text().lines().filter_map(|line| line.split_once('{'));
    let wrong = samples.filter_map(|(metric, labels)| {
        let mut rows = reference.rows.iter();
        let row = rows.find(|row| row.names(0).iter().any(|name| metric.starts_with(name)))?;
        let names = labels
            .split(['"', '{', '}'])
            .filter_map(|part| part.strip_suffix('='));
        let names = names.map(|name| name.trim_start_matches(','));
        let mut names = names.filter(|name| *name != "le");
        let name = names.find(|name| !row.names(1).iter().any(|known| known == name))?;
        Some(format!(
            "line {}: `{metric}` has a label `{name}`",
            row.line
        ))
    });
    reference.assert_none(wrong);
}

/// Wherever the docs quote one, such as in an alarm.
#[tokio::test]
async fn metric_that_the_docs_quote_exists() {
    let laravel = Laravel::start().await;
    let (edge, _directory) = edge_with_history(&laravel);
    let known: BTreeSet<_> = metrics(&edge)
        .await
        .into_iter()
        .map(|found| found.name)
        .collect();
    // The common beginning, so that the program's own name is none.
    let ours: Vec<_> = known
        .iter()
        .filter(|name| !name.starts_with("process_"))
        .collect();
    let prefix = ours
        .iter()
        .skip(1)
        .fold((*ours[0]).clone(), |prefix, name| {
            let same = prefix.chars().zip(name.chars()).take_while(|(a, b)| a == b);
            same.map(|(a, _)| a).collect()
        });
    assert!(
        prefix.ends_with('_'),
        "metrics have no prefix in common: {prefix:?}"
    );
    let mut wrong = Vec::new();
    for (path, text) in pages() {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let base = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|end| word.strip_suffix(end));
            let names = [Some(word), base];
            let exists = names.iter().flatten().any(|name| known.contains(*name));
            if word.starts_with(&prefix) && word != prefix && !exists {
                wrong.push(format!("{path}: there is no metric {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// All names that `/metrics` announces, with or without samples.
async fn metrics(edge: &Edge) -> Vec<Found> {
    let text = edge.get("/metrics").await;
    let text = text.text();
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let found: Vec<_> = types
        .map(|(name, _)| Found {
            name: name.to_owned(),
            place: "/metrics".to_owned(),
        })
        .collect();
    assert!(!found.is_empty(), "{text}");
    found
}

/// An edge with an event log, which has metrics of its own.
fn edge_with_history(laravel: &Laravel) -> (Edge, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let more = format!("[history]\ndirectory = {:?}\n", directory.path());
    (Edge::configured(&laravel.url(), &more), directory)
}
