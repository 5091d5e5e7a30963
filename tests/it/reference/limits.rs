//! Every limit that goes by a name is in the list of names.

use pwd_edge::config::Config;

use super::{Found, Reference, code_spans};

#[test]
fn name_of_a_limit_is_listed() {
    let unknown = "[limits]\ndry_run = [\"no-such-limit\"]";
    let error = toml::from_str::<Config>(unknown).expect_err("there is no such limit");
    let message = error.message();
    let (_, expected) = message
        .split_once("expected")
        .expect("serde says what it expected");
    let place = || "limits.dry_run".to_owned();
    let names = code_spans(expected).into_iter();
    let names: Vec<_> = names
        .map(|name| Found {
            name,
            place: place(),
        })
        .collect();
    assert!(!names.is_empty(), "{message}");
    let reference = Reference::read("docs/REFERENCE.md", "limit names");
    reference.assert_names(0, &names, "limit");
}
