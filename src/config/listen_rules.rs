//! The rule that no two listeners have the same address and port.

use std::net::SocketAddr;

use super::Config;
use super::reader::RuleViolation;
use crate::core::bind_conflict::is_conflict;

/// An address of the file: its list, its number there from 0, and its value.
type Listed = (&'static str, usize, SocketAddr);

/// Returns a violation for each address that cannot be bound beside an earlier one.
pub(super) fn rules(config: &Config) -> Vec<RuleViolation> {
    let lists = [
        ("server.listen", &config.server.listen),
        ("server.redirect_listen", &config.server.redirect_listen),
        ("admin.listen", &config.admin.listen),
    ];
    let all: Vec<Listed> = lists
        .into_iter()
        .flat_map(|(key, list)| {
            let numbered = list.iter().enumerate();
            numbered.map(move |(number, address)| (key, number, *address))
        })
        .collect();
    let conflicts = all.iter().enumerate().filter_map(|(at, later)| {
        let mut earlier = all[..at].iter();
        let earlier = earlier.find(|earlier| is_conflict(earlier.2, later.2))?;
        Some(violation(earlier, later))
    });
    conflicts.collect()
}

fn violation(earlier: &Listed, later: &Listed) -> RuleViolation {
    let ((earlier_key, earlier_number, first), (key, number, second)) = (earlier, later);
    let message = if first == second {
        format!("{second} is already in {earlier_key}; name each address once")
    } else {
        format!(
            "{second} conflicts with {first} of {earlier_key}: [::] includes all addresses of its \
             port, and 0.0.0.0 all of IPv4; remove one of the two"
        )
    };
    RuleViolation {
        keys: vec![
            format!("{key}.{number}"),
            format!("{earlier_key}.{earlier_number}"),
            (*key).to_owned(),
            (*earlier_key).to_owned(),
        ],
        message,
    }
}
