//! Which certificate is shown, and what happens when it changes.

use std::path::Path;

use crate::support::tls::{Issued, shown};
use crate::support::{Edge, Laravel};

/// `[[tls.certificates]]` for pairs written to `directory`.
fn listed(directory: &Path, names: &[&str]) -> String {
    let directory = directory.display();
    let tables = names.iter().map(|name| {
        format!(
            "[[tls.certificates]]\ncertificate = \"{directory}/{name}.crt\"\n\
             key = \"{directory}/{name}.key\"\n"
        )
    });
    tables.collect()
}

#[tokio::test]
async fn certificates_are_chosen_by_the_names_in_them() {
    let directory = tempfile::tempdir().unwrap();
    let exact = Issued::to(&["desk.example"]);
    let wild = Issued::to(&["*.example", "example"]);
    exact.write(directory.path(), "exact");
    wild.write(directory.path(), "wild");
    let laravel = Laravel::start().await;
    let more = listed(directory.path(), &["wild", "exact"]);
    let edge = Edge::configured(&laravel.url(), &more).await;
    for (name, expected) in [
        (Some("desk.example"), &exact.der),
        (Some("DESK.example"), &exact.der),
        (Some("shop.example"), &wild.der),
        (Some("example"), &wild.der),
        (Some("a.desk.example"), &edge.certificate),
        (Some("localhost"), &edge.certificate),
        (Some("stranger.test"), &edge.certificate),
        (None, &edge.certificate),
    ] {
        assert!(shown(&edge, name).await == *expected, "{name:?}");
    }
}
