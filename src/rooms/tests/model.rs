//! A slow and simple model of the rooms: it computes every answer from the whole state, in
//! milliseconds, without a timer or a queue.

use std::collections::{BTreeMap, BTreeSet};

/// The whole state at one moment.
pub(super) struct Model {
    now: u64,
    tabs: Vec<Tab>,
    present: BTreeMap<(u64, u64), Present>,
}

/// A tab, the rooms it is in, and the events that it must have got.
struct Tab {
    user: u64,
    rooms: BTreeSet<u64>,
    heard: Vec<String>,
}

/// A user who counts as present in a room.
#[derive(Default)]
struct Present {
    gone_at: Option<u64>,
    typing: Option<Typing>,
    told_at: Option<u64>,
}

struct Typing {
    tab: usize,
    until: u64,
}

impl Model {
    pub(super) fn new(users: impl Iterator<Item = u64>) -> Self {
        let tab = |user| Tab {
            user,
            rooms: BTreeSet::new(),
            heard: Vec::new(),
        };
        Self {
            now: 0,
            tabs: users.map(tab).collect(),
            present: BTreeMap::new(),
        }
    }

    pub(super) fn is_in(&self, tab: usize, room: u64) -> bool {
        self.tabs[tab].rooms.contains(&room)
    }

    pub(super) fn rooms(&self) -> usize {
        let rooms = self.tabs.iter().flat_map(|tab| &tab.rooms);
        rooms.collect::<BTreeSet<_>>().len()
    }

    pub(super) fn users(&self, room: u64) -> Vec<String> {
        let here = self.present.keys().filter(|(there, _)| *there == room);
        here.map(|(_, user)| format!("user{user}")).collect()
    }

    pub(super) fn take_heard(&mut self, tab: usize) -> Vec<String> {
        std::mem::take(&mut self.tabs[tab].heard)
    }

    /// Lets time pass, and runs what is due meanwhile in its order.
    pub(super) fn pass(&mut self, time: u64) {
        let end = self.now + time;
        while let Some((due, room, user)) = self.next_due().filter(|next| next.0 <= end) {
            self.now = due;
            let present = &self.present[&(room, user)];
            if present.gone_at == Some(due) {
                self.depart(room, user);
            } else {
                self.stop_typing(room, user);
            }
        }
        self.now = end;
    }

    fn next_due(&self) -> Option<(u64, u64, u64)> {
        let dues = self.present.iter().flat_map(|((room, user), present)| {
            let until = present.typing.as_ref().map(|typing| typing.until);
            let dues = present.gone_at.into_iter().chain(until);
            dues.map(|due| (due, *room, *user))
        });
        dues.min()
    }

    pub(super) fn join(&mut self, tab: usize, room: u64) {
        let user = self.tabs[tab].user;
        self.tabs[tab].rooms.insert(room);
        match self.present.get_mut(&(room, user)) {
            Some(present) => present.gone_at = None,
            None => {
                self.present.insert((room, user), Present::default());
                self.tell_others(room, user, &format!("{user} comes"));
            }
        }
    }

    /// Removes a tab from a room: it leaves, or its connection is lost.
    pub(super) fn exit(&mut self, tab: usize, room: u64, lost: bool) {
        let user = self.tabs[tab].user;
        self.tabs[tab].rooms.remove(&room);
        let last = !self.is_anybody_in(room, |other| other.user == user);
        let typing = &self.present[&(room, user)].typing;
        if last || typing.as_ref().is_some_and(|typing| typing.tab == tab) {
            self.stop_typing(room, user);
        }
        if last && lost {
            let gone_at = Some(self.now + 8_000);
            self.present.get_mut(&(room, user)).unwrap().gone_at = gone_at;
        } else if last {
            self.depart(room, user);
        }
        if !self.is_anybody_in(room, |_| true) {
            self.present.retain(|(there, _), _| *there != room);
        }
    }

    pub(super) fn lose(&mut self, tab: usize) {
        for room in self.tabs[tab].rooms.clone() {
            self.exit(tab, room, true);
        }
    }

    pub(super) fn type_in(&mut self, tab: usize, room: u64, on: bool) {
        let user = self.tabs[tab].user;
        if !on {
            let typing = &self.present[&(room, user)].typing;
            if typing.as_ref().is_some_and(|typing| typing.tab == tab) {
                self.stop_typing(room, user);
            }
            return;
        }
        let (now, until) = (self.now, self.now + 6_000);
        let present = self.present.get_mut(&(room, user)).unwrap();
        let told_lately = present.told_at.is_some_and(|told| now < told + 1_000);
        if told_lately && present.typing.is_none() {
            return;
        }
        present.typing = Some(Typing { tab, until });
        if !told_lately {
            present.told_at = Some(now);
            self.tell_others(room, user, &format!("{user} types"));
        }
    }

    /// Publishes to all in a room but one tab; returns the number of tabs and the users.
    pub(super) fn say(
        &mut self,
        room: u64,
        text: &str,
        but: Option<usize>,
    ) -> (usize, BTreeSet<String>) {
        let (mut sessions, mut users) = (0, BTreeSet::new());
        for (index, tab) in self.tabs.iter_mut().enumerate() {
            if tab.rooms.contains(&room) && but != Some(index) {
                tab.heard.push(format!("{room}: {text}"));
                sessions += 1;
                users.insert(tab.user.to_string());
            }
        }
        (sessions, users)
    }

    fn stop_typing(&mut self, room: u64, user: u64) {
        let present = self.present.get_mut(&(room, user)).unwrap();
        if present.typing.take().is_some() {
            self.tell_others(room, user, &format!("{user} stops"));
        }
    }

    fn depart(&mut self, room: u64, user: u64) {
        self.present.remove(&(room, user));
        self.tell_others(room, user, &format!("{user} goes"));
    }

    fn tell_others(&mut self, room: u64, user: u64, what: &str) {
        let others = self.tabs.iter_mut().filter(|tab| tab.user != user);
        for tab in others.filter(|tab| tab.rooms.contains(&room)) {
            tab.heard.push(format!("{room}: {what}"));
        }
    }

    fn is_anybody_in(&self, room: u64, whom: impl Fn(&Tab) -> bool) -> bool {
        let here = |tab: &&Tab| tab.rooms.contains(&room);
        self.tabs.iter().filter(here).any(whom)
    }
}
