//! Tests of the rooms as their members see them, in paused time.

mod delivery;
mod history;
mod model;
mod presence;
mod property;
mod typing;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::auth::User;
use crate::core::ids::{RowId, SessionIds};

/// A registry of rooms.
struct Desk {
    rooms: Arc<Rooms>,
    drain: Drain,
    ids: SessionIds,
}

/// A session: one tab of a user's browser.
struct Tab {
    id: SessionId,
    user: User,
    rooms: Arc<Rooms>,
    outbox: Outbox,
    inbox: Inbox,
    places: HashMap<RoomName, Membership>,
}

impl Desk {
    fn new() -> Self {
        Self::with_history(HistorySettings::default())
    }

    fn with_history(history: HistorySettings) -> Self {
        let drain = Drain::new();
        Self {
            rooms: Arc::new(Rooms::new(Settings::default(), history, drain.clone())),
            drain,
            ids: SessionIds::new(),
        }
    }

    fn tab(&self, user: u64) -> Tab {
        self.tab_with_queue(user, 1024)
    }

    fn tab_with_queue(&self, user: u64, events: usize) -> Tab {
        let (outbox, inbox) = channel(events, 1024 * 1024, None);
        Tab {
            id: self.ids.issue(),
            user: User::for_test(user),
            rooms: Arc::clone(&self.rooms),
            outbox,
            inbox,
            places: HashMap::new(),
        }
    }

    /// A tab that has entered a room.
    fn tab_in(&self, ticket: u64, user: u64) -> Tab {
        let mut tab = self.tab(user);
        tab.enter(ticket);
        tab
    }

    fn publish(&self, ticket: u64, text: &str) -> Delivered {
        self.publish_to(ticket, text, Audience::All)
    }

    fn publish_to(&self, ticket: u64, text: &str, audience: Audience) -> Delivered {
        self.rooms.publish(Broadcast {
            room: room(ticket),
            text: text.to_owned(),
            audience,
            to: None,
        })
    }

    /// Lets time pass, and the timers run.
    async fn pass(&self, time: Duration) {
        tokio::select! {
            biased;
            never = self.rooms.run_timers() => match never {},
            () = tokio::time::sleep(time) => {}
        }
    }
}

impl Tab {
    /// Enters a room; returns the names of the users who are present.
    fn enter(&mut self, ticket: u64) -> Vec<String> {
        let grant = Grant::for_test(room(ticket), self.user.clone());
        let joined = self.rooms.join(&grant, None, self.id, self.outbox.clone());
        self.places.insert(room(ticket), joined.membership);
        names(&joined.users)
    }

    fn place(&self, ticket: u64) -> &Membership {
        &self.places[&room(ticket)]
    }

    fn leave(&mut self, ticket: u64) {
        self.places.remove(&room(ticket)).unwrap().leave();
    }

    /// Loses its connection.
    fn lose(&mut self) {
        let places = self.places.drain();
        places.for_each(|(_, place)| place.disconnect());
    }

    /// Takes everything that has arrived since the last call.
    fn heard(&self) -> Vec<String> {
        match self.inbox.next().now_or_never() {
            None => Vec::new(),
            Some(SessionEvent::Batch(batch)) => batch.iter().map(|said| line(said)).collect(),
            Some(other) => panic!("unexpected: {other:?}"),
        }
    }
}

/// A publication in the form `room: event`.
fn line(said: &Publication) -> String {
    let RoomName::Ticket(room) = said.room() else {
        panic!("no room of a ticket: {said:?}")
    };
    match said.kind() {
        EventKind::Broadcast(text) => format!("{room}: {text}"),
        EventKind::Seen { user, message } => format!("{room}: {user} saw {message}"),
        EventKind::Typing { user, on: true } => format!("{room}: {} types", user.id()),
        EventKind::Typing { user, on: false } => format!("{room}: {} stops", user.id()),
        EventKind::UserJoined(user) => format!("{room}: {} comes", user.id()),
        EventKind::Client { event, .. } => format!("{room}: {event}"),
        EventKind::UserLeft(user) => format!("{room}: {} goes", user.id()),
    }
}

fn names(users: &[PresentUser]) -> Vec<String> {
    users.iter().map(|user| user.name().to_string()).collect()
}

fn room(ticket: u64) -> RoomName {
    RoomName::ticket(RowId::new(ticket).unwrap())
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(8);
