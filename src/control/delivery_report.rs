//! The report about one event in the response to a broadcast.

use std::collections::BTreeMap;

use serde::Serialize;

use super::decode::Target;
use crate::core::ids::{ChannelName, UserId};
use crate::rooms::Delivered;

/// The sessions and users that one event reached. An event of several channels has one report:
/// the sums over its rooms.
#[derive(Debug, Serialize)]
pub(super) struct DeliveryReport<'a> {
    sessions: usize,
    users: Vec<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<Vec<UserId>>,
    /// The position in the room of a ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    /// The position in the room of each channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    positions: Option<BTreeMap<&'a str, String>>,
    /// Whether the event outlives the process; none without a history.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<bool>,
}

impl<'a> DeliveryReport<'a> {
    /// Creates the report about an event that was `delivered` to the rooms of `target`.
    pub(super) fn new(target: &'a Target, delivered: impl Iterator<Item = Delivered>) -> Self {
        let mut report = Self {
            sessions: 0,
            users: Vec::new(),
            absent: None,
            position: None,
            positions: None,
            stored: None,
        };
        match target {
            Target::Ticket => {
                for delivered in delivered {
                    report.position = report.add(delivered);
                }
            }
            Target::Channels(names) => {
                for (name, delivered) in names.iter().zip(delivered) {
                    report.add_channel(name, delivered);
                }
            }
        }
        report
    }

    fn add_channel(&mut self, name: &'a ChannelName, delivered: Delivered) {
        if let Some(position) = self.add(delivered) {
            let positions = self.positions.get_or_insert_default();
            positions.insert(name.as_str(), position);
        }
    }

    /// Adds the delivery to one room; returns the position there.
    fn add(&mut self, delivered: Delivered) -> Option<String> {
        self.sessions += delivered.sessions;
        if self.users.is_empty() {
            self.users = delivered.users;
        } else {
            for user in delivered.users {
                if self.users.len() < Delivered::MAX_USERS && !self.users.contains(&user) {
                    self.users.push(user);
                }
            }
        }
        // Absent is who has a session in none of the rooms.
        self.absent = match (self.absent.take(), delivered.absent) {
            (Some(mut absent), Some(here)) => {
                absent.retain(|user| here.contains(user));
                Some(absent)
            }
            (before, here) => before.or(here),
        };
        let position = delivered.position?;
        self.stored = Some(self.stored.unwrap_or(true) && delivered.is_stored);
        Some(position.to_string())
    }
}
