//! Text messages of a client on its WebSocket.

#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use pwd_edge::core::ids::RoomName;
use pwd_edge::ws::protocol::{Command, UploadCommand, decode};
use serde::de::IgnoredAny;

fuzz_target!(|text: &str| {
    match decode(text) {
        Ok(command) => {
            serde_json::from_str::<IgnoredAny>(text).expect("a command is JSON");
            assert!(ids(&command).into_iter().all(is_row_id), "{command:?}");
        }
        Err(mistake) => {
            assert!(CODES.contains(&mistake.code()), "{mistake:?}");
            assert!(!mistake.to_string().is_empty());
        }
    }
});

fn ids(command: &Command) -> Vec<u64> {
    match command {
        Command::Join { room, .. } | Command::Leave(room) => match room {
            RoomName::Ticket(ticket) => vec![ticket.get()],
            RoomName::Channel(name) => {
                assert!((1..=200).contains(&name.as_str().len()), "{command:?}");
                Vec::new()
            }
        },
        Command::Typing { ticket, .. } => vec![ticket.get()],
        Command::Resume(joins) => {
            let tickets: Vec<_> = joins.iter().map(|(ticket, _)| ticket.get()).collect();
            let distinct: HashSet<_> = tickets.iter().collect();
            assert_eq!(distinct.len(), tickets.len(), "{command:?}");
            tickets
        }
        Command::Seen { message, ticket } => {
            let ids = [Some(*message), *ticket];
            ids.into_iter().flatten().map(|id| id.get()).collect()
        }
        Command::Upload(UploadCommand::Start(start)) => {
            assert!(is_upload_id(start.upload_id.as_str()));
            vec![start.ticket_id.get()]
        }
        Command::Upload(UploadCommand::Resume(id) | UploadCommand::Cancel(id)) => {
            assert!(is_upload_id(id.as_str()));
            Vec::new()
        }
        Command::Ping => Vec::new(),
    }
}

/// Returns whether the id has no character that could forge a line of a log.
fn is_upload_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && !id.contains(|c: char| c.is_whitespace() || !c.is_ascii())
}

/// Returns whether the id has at most 19 digits, so that it fits into the app's database.
fn is_row_id(id: u64) -> bool {
    (1..=9_999_999_999_999_999_999).contains(&id)
}

const CODES: [&str; 4] = [
    "invalid_json",
    "missing_type",
    "unknown_type",
    "invalid_payload",
];
