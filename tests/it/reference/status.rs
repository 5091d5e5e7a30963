//! Every field of the status JSON has its row.

use super::{Found, Reference};
use crate::support::{Edge, Laravel};

#[tokio::test]
async fn field_of_the_status_has_its_row() {
    let laravel = Laravel::start().await;
    let edge = Edge::before(&laravel);
    let status = edge.get("/status").await.json();
    let fields = status.as_object().expect("an object").keys();
    let fields: Vec<_> = fields
        .map(|name| Found {
            name: name.clone(),
            place: "GET /status".to_owned(),
        })
        .collect();
    let reference = Reference::read("docs/REFERENCE.md", "status fields");
    reference.assert_names(0, &fields, "field");
}
