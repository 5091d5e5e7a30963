//! Property test: in any order of steps, every tab gets what the model says.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tokio::runtime;

use super::model::Model;
use super::*;
use crate::core::ids::UserId;

/// A step of a script. A step whose tab or room does not fit is skipped.
#[derive(Clone, Copy, Debug)]
enum Step {
    Join(usize, u64),
    Leave(usize, u64),
    Lose(usize),
    Publish(u64, Option<usize>),
    Seen(usize, u64),
    Typing(usize, u64, bool),
    Wait(u64),
}

/// The rooms and the model side by side.
struct Both {
    desk: Desk,
    tabs: Vec<Tab>,
    /// The users that each tab knows of, by room.
    known: Vec<HashMap<u64, BTreeSet<String>>>,
    model: Model,
}

impl Both {
    fn new() -> Self {
        let desk = Desk::new();
        let user = |tab: usize| (tab / TABS_EACH) as u64 + 1;
        Self {
            tabs: (0..TABS).map(|tab| desk.tab(user(tab))).collect(),
            known: vec![HashMap::new(); TABS],
            model: Model::new((0..TABS).map(user)),
            desk,
        }
    }

    /// Runs a script. Each step is a millisecond after the one before and waits
    /// are long multiples of that, so no two things are ever due at once.
    async fn run(&mut self, script: &[Step]) {
        for (number, step) in script.iter().enumerate() {
            self.pass(1).await;
            self.take(*step, number).await;
            self.compare();
        }
        self.pass(20_000).await;
        self.compare();
        for tab in 0..TABS {
            self.take(Step::Lose(tab), 0).await;
        }
        assert_eq!(self.desk.rooms.count(), 0);
    }

    async fn take(&mut self, step: Step, number: usize) {
        match step {
            Step::Join(tab, room) if !self.model.is_in(tab, room) => self.join(tab, room),
            Step::Leave(tab, room) if self.model.is_in(tab, room) => {
                self.tabs[tab].leave(room);
                self.model.exit(tab, room, false);
            }
            Step::Lose(tab) => {
                let user = self.tabs[tab].user.clone();
                self.model.lose(tab);
                self.tabs[tab].lose();
                let UserId::Number(user) = *user.id() else {
                    panic!("users are numbered here");
                };
                self.tabs[tab] = self.desk.tab(user);
            }
            Step::Publish(room, but) => self.publish(room, but, number),
            Step::Seen(tab, room) if self.model.is_in(tab, room) => self.see(tab, room, number),
            Step::Typing(tab, room, on) if self.model.is_in(tab, room) => {
                self.tabs[tab].place(room).typing(on);
                self.model.type_in(tab, room, on);
            }
            Step::Wait(quarters) => self.pass(quarters * 250).await,
            Step::Join(..) | Step::Leave(..) | Step::Seen(..) | Step::Typing(..) => {}
        }
    }

    fn join(&mut self, tab: usize, room: u64) {
        let users = self.tabs[tab].enter(room);
        self.model.join(tab, room);
        assert_eq!(users, self.model.users(room));
        self.known[tab].insert(room, users.into_iter().collect());
    }

    fn publish(&mut self, room: u64, but: Option<usize>, number: usize) {
        let audience = match but {
            Some(tab) => Audience::AllBut(self.tabs[tab].id),
            None => Audience::All,
        };
        let text = format!("message {number}");
        let delivered = self.desk.publish_to(room, &text, audience);
        let users = delivered.users.iter().map(UserId::to_string).collect();
        assert_eq!(
            (delivered.sessions, users),
            self.model.say(room, &text, but)
        );
        assert_eq!(delivered.missed, 0);
    }

    fn see(&mut self, tab: usize, room: u64, number: usize) {
        let message = RowId::new(number as u64 + 1).unwrap();
        let user = self.tabs[tab].user.id().clone();
        let text = format!("{user} saw {message}");
        let what = EventKind::Seen { user, message };
        let audience = Audience::AllBut(self.tabs[tab].id);
        self.tabs[tab].place(room).publish(what, audience);
        self.model.say(room, &text, Some(tab));
    }

    async fn pass(&mut self, ms: u64) {
        self.desk.pass(Duration::from_millis(ms)).await;
        self.model.pass(ms);
    }

    /// Checks that every tab has got exactly what the model says, in that order. Between
    /// two rooms no order is promised.
    fn compare(&mut self) {
        for tab in 0..TABS {
            let heard = by_room(self.tabs[tab].heard());
            assert_eq!(heard, by_room(self.model.take_heard(tab)), "tab {tab}");
            for line in &heard {
                self.follow(tab, line);
            }
        }
        assert_eq!(self.desk.rooms.count(), self.model.rooms());
        for room in ROOMS {
            let users = names(&self.desk.rooms.occupants(&super::room(room)).0);
            assert_eq!(users, self.model.users(room));
        }
    }

    /// Checks what holds without the model: joins and leaves alternate, users get no events
    /// about themselves, and a tab gets nothing from a room that it is not in.
    fn follow(&mut self, tab: usize, line: &str) {
        let (room, what) = line.split_once(": ").unwrap();
        let room = room.parse().unwrap();
        assert!(self.model.is_in(tab, room), "tab {tab} heard {line:?}");
        let known = self.known[tab].get_mut(&room).unwrap();
        let Some((user, verb)) = what.split_once(' ') else {
            return;
        };
        let changed = match verb {
            "comes" => known.insert(format!("user{user}")),
            "goes" => known.remove(&format!("user{user}")),
            _ => return,
        };
        assert!(changed, "tab {tab} heard {line:?} twice");
        assert_ne!(user, self.tabs[tab].user.id().to_string(), "{line:?}");
    }
}

fn by_room(mut heard: Vec<String>) -> Vec<String> {
    heard.sort_by_key(|line| line.split(':').next().map(str::to_owned));
    heard
}

fn step() -> impl Strategy<Value = Step> {
    let (tab, room) = (0..TABS, ROOMS);
    let place = (tab.clone(), room.clone());
    prop_oneof![
        5 => place.clone().prop_map(|(tab, room)| Step::Join(tab, room)),
        4 => place.clone().prop_map(|(tab, room)| Step::Leave(tab, room)),
        4 => tab.clone().prop_map(Step::Lose),
        3 => (room, proptest::option::of(tab)).prop_map(|(room, but)| Step::Publish(room, but)),
        1 => place.clone().prop_map(|(tab, room)| Step::Seen(tab, room)),
        4 => (place, any::<bool>()).prop_map(|((tab, room), on)| Step::Typing(tab, room, on)),
        3 => (0..8u64).prop_map(Step::Wait),
        1 => (8..40u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tabs_receive_what_the_model_predicts(script in proptest::collection::vec(step(), 1..120)) {
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(Both::new().run(&script));
    }
}

const TABS_EACH: usize = 2;
const TABS: usize = 3 * TABS_EACH;
const ROOMS: std::ops::RangeInclusive<u64> = 1..=2;
