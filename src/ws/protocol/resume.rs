//! The command that joins many tickets at once.

use std::collections::HashSet;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::CommandError;
use super::payload::read;
use crate::core::ids::RowId;
use crate::rooms::Since;

/// A ticket to join, and the client's last position in its room, if the client returns.
pub type TicketJoin = (RowId, Option<Since>);

#[derive(Deserialize)]
struct Resume {
    tickets: Members,
}

/// The members of a JSON object in their order, also those whose name occurs twice.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

/// Decodes the payload of `resume`: all its tickets, or the first mistake.
///
/// # Errors
/// `Payload` if it has no object `tickets`, `NotATicket` or `RepeatedTicket` for the name of a
/// ticket.
pub(super) fn decode(payload: &str) -> Result<Vec<TicketJoin>, CommandError> {
    let Resume { tickets } = read("resume", payload, TICKETS)?;
    let mut named = HashSet::new();
    let join = |(name, position): (String, Value)| {
        let Ok(ticket) = name.parse::<RowId>() else {
            let start = name.chars().take(MAX_QUOTED_CHARS).collect();
            return Err(CommandError::NotATicket(start));
        };
        if named.insert(ticket) {
            Ok((ticket, since(&position)))
        } else {
            Err(CommandError::RepeatedTicket(ticket))
        }
    };
    tickets.0.into_iter().map(join).collect()
}

/// Returns the position in `value`, none if it is null. A client with a broken position joins
/// all the same.
pub(super) fn since(value: &Value) -> Option<Since> {
    if value.is_null() {
        return None;
    }
    let position = value.as_str().and_then(|text| text.parse().ok());
    Some(position.map_or(Since::Invalid, Since::Position))
}

const TICKETS: &str = "\"tickets\", an object such as {\"1\":\"kQzVbTfa.57\",\"9\":null}";
/// The characters of a client's text that an error repeats.
const MAX_QUOTED_CHARS: usize = 40;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::core::position::{Epoch, Position};

    fn id(id: u64) -> RowId {
        RowId::new(id).unwrap()
    }

    #[test]
    fn tickets_are_decoded_in_their_order_with_their_positions() {
        let text = r#"{"tickets":{"9":"kQzVbTfa.57","1":null,"4":"nonsense","3":7},"more":1}"#;
        let position = "kQzVbTfa.57".parse().unwrap();
        let joins = vec![
            (id(9), Some(Since::Position(position))),
            (id(1), None),
            (id(4), Some(Since::Invalid)),
            (id(3), Some(Since::Invalid)),
        ];
        assert_eq!(decode(text), Ok(joins));
        assert_eq!(decode(r#"{"tickets":{}}"#), Ok(Vec::new()));
    }

    #[test]
    fn payload_without_tickets_is_rejected() {
        for text in [
            "null",
            "[]",
            "{}",
            r#"{"tickets":null}"#,
            r#"{"tickets":[1,9]}"#,
            r#"{"tickets":"1"}"#,
            r#"{"tickets":{},"tickets":{}}"#,
        ] {
            let error = decode(text).unwrap_err();
            assert!(error.to_string().contains("\"tickets\""), "{text}: {error}");
        }
    }

    #[test]
    fn mistake_in_one_ticket_names_it() {
        let long = "1".repeat(5000);
        for (name, named) in [
            ("07", "\"07\""),
            ("0", "\"0\""),
            ("", "\"\""),
            ("1;2", "\"1;2\""),
            ("ticket.1", "\"ticket.1\""),
            (&long, &format!("\"{}\"", "1".repeat(40))),
        ] {
            let payload = json!({ "tickets": { "1": null, name: null } }).to_string();
            let error = decode(&payload).unwrap_err();
            assert_eq!(error.code(), "invalid_payload");
            assert!(error.to_string().contains(named), "{error}");
        }
        let twice = r#"{"tickets":{"12":null,"3":null,"12":"kQzVbTfa.57"}}"#;
        let error = decode(twice).unwrap_err();
        assert_eq!(error, CommandError::RepeatedTicket(id(12)));
        assert!(error.to_string().contains("12"), "{error}");
    }

    fn position() -> impl Strategy<Value = Option<Position>> {
        let position = any::<u64>().prop_map(|offset| Position {
            epoch: Epoch::random(),
            offset,
        });
        prop::option::of(position)
    }

    proptest! {
        #[test]
        fn tickets_survive_a_round_trip(
            tickets in prop::collection::hash_map(1..=9_999_999_999_999_999_999u64, position(), 0..200),
        ) {
            let members = tickets.iter().map(|(ticket, position)| {
                let position = position.map(|position| position.to_string());
                format!("{:?}:{}", ticket.to_string(), json!(position))
            });
            let members: Vec<_> = members.collect();
            let joins = tickets
                .iter()
                .map(|(ticket, position)| (id(*ticket), position.map(Since::Position)));
            let payload = format!(r#"{{"tickets":{{{}}}}}"#, members.join(","));
            prop_assert_eq!(decode(&payload), Ok(joins.collect()));
        }

        /// One ticket that the rest of the protocol would not accept rejects the message.
        #[test]
        fn only_names_of_tickets_are_accepted(name in "[0-9]{0,21}|.{0,6}") {
            let payload = json!({ "tickets": { &name: null } }).to_string();
            let expected = name.parse::<RowId>().map(|ticket| vec![(ticket, None)]);
            prop_assert_eq!(decode(&payload).ok(), expected.ok());
        }
    }
}
