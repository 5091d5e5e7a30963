//! Clients under load: publishers that retry each request with its key until it is
//! acknowledged, and members that return with their last position whenever a connection ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::StatusCode;
use serde_json::json;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::http::{Client, body, post};
use crate::support::laravel::CROWDED;
use crate::support::program::{Home, Program};

/// Settings for clients that come from one address, and queues that hold what members miss
/// while they are away. The log is short, so that a start reads it fast and retention works.
pub(super) const SETTINGS: &str = "[history]\ndirectory = \"history\"\n\
    max_events_per_room = 1000000\nmax_disk = \"4 MiB\"\n\
    [limits]\nexempt = [\"127.0.0.0/8\"]\n\
    [websocket]\nmax_queued_events = 32768\nmax_queued_size = \"64 MiB\"\n";

/// The number of events in a request.
const BATCH: u64 = 50;
const PUBLISHERS: usize = 4;
/// Event number `n` goes to room `n % ROOMS`.
const ROOMS: u64 = 2;
/// The members of all rooms.
const MEMBERS: u64 = 4;

/// What the clients do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    /// The number of events, at least.
    pub(super) events: u64,
    /// The time for which a publisher rests after each request, so that the load lasts.
    pub(super) pause: Duration,
    /// Whether members cut their connections themselves, again and again.
    pub(super) cuts: bool,
}

/// An edge that its test restarts, and the clients of it.
pub(super) struct Load {
    site: Arc<Site>,
    publishers: Vec<JoinHandle<()>>,
    members: Vec<JoinHandle<Member>>,
}

/// The state that all clients share.
struct Site {
    home: Arc<Home>,
    /// The edge's address, while it runs.
    address: watch::Sender<Option<SocketAddr>>,
    /// The number of acknowledged events.
    acknowledged: watch::Sender<u64>,
    next_request: AtomicU64,
    requests: u64,
    pause: Duration,
    retries: AtomicU64,
}

/// What the clients saw, once every event was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) events: u64,
    /// The attempts to send a request that were not acknowledged.
    pub(super) retries: u64,
    /// The connections of all members.
    pub(super) visits: usize,
    /// The close codes that members got.
    pub(super) codes: Vec<u16>,
    /// The deliveries that a member did not get, and those that it got again.
    pub(super) lost: usize,
    pub(super) twice: usize,
}

impl Load {
    /// Starts the clients of `program`.
    pub(super) fn start(home: &Arc<Home>, program: &Program, plan: Plan) -> Self {
        let site = Arc::new(Site {
            home: Arc::clone(home),
            address: watch::Sender::new(Some(program.address)),
            acknowledged: watch::Sender::new(0),
            next_request: AtomicU64::new(0),
            requests: plan.events.div_ceil(BATCH),
            pause: plan.pause,
            retries: AtomicU64::new(0),
        });
        let members: Vec<_> = (0..MEMBERS)
            .map(|number| Member::new(number, plan.cuts))
            .collect();
        // The events before a member's first join are none of its business.
        let joined: Vec<_> = members
            .iter()
            .map(|member| member.joined.subscribe())
            .collect();
        let members = members.into_iter().map(|member| {
            let site = Arc::clone(&site);
            tokio::spawn(async move { member.run(&site).await })
        });
        let members = members.collect();
        let publishers = (0..PUBLISHERS).map(|_| {
            let (site, joined) = (Arc::clone(&site), joined.clone());
            tokio::spawn(async move {
                for mut joined in joined {
                    joined.wait_for(|joined| *joined).await.unwrap();
                }
                site.publish_all().await;
            })
        });
        Self {
            publishers: publishers.collect(),
            members,
            site,
        }
    }

    /// Waits until `events` events are acknowledged.
    pub(super) async fn acknowledged(&self, events: u64) {
        let mut acknowledged = self.site.acknowledged.subscribe();
        acknowledged.wait_for(|now| *now >= events).await.unwrap();
    }

    /// Lets the clients wait for [`Load::resume`] once their connections end.
    pub(super) fn pause(&self) {
        self.site.address.send_replace(None);
    }

    /// Lets the clients use `program` from now on.
    pub(super) fn resume(&self, program: &Program) {
        self.site.address.send_replace(Some(program.address));
    }

    /// Waits until every event is acknowledged, and every member has got all that comes.
    pub(super) async fn finish(self, program: &Program) -> Outcome {
        for publisher in self.publishers {
            publisher.await.unwrap();
        }
        for room in 0..ROOMS {
            let event = json!({ "type": "end", "payload": { "ticket_id": CROWDED + room } });
            let request = post("/broadcast").body(body(event.to_string())).unwrap();
            let answer = program.laravel().await.fetch(request).await;
            assert_eq!(answer.status, StatusCode::OK);
        }
        let events = self.site.requests * BATCH;
        let mut outcome = Outcome {
            events,
            retries: self.site.retries.load(Relaxed),
            ..Outcome::default()
        };
        for member in join_all(self.members).await {
            member.unwrap().add_to(&mut outcome);
        }
        outcome
    }
}

impl Site {
    /// Waits for an edge that runs.
    async fn address(&self) -> SocketAddr {
        let mut address = self.address.subscribe();
        let running = address.wait_for(Option::is_some).await;
        running.unwrap().unwrap()
    }

    /// Publishes one request after the other, until all are taken.
    async fn publish_all(&self) {
        let mut connection = None;
        loop {
            let request = self.next_request.fetch_add(1, Relaxed);
            if request >= self.requests {
                return;
            }
            while self.publish(&mut connection, request).await.is_none() {
                connection = None;
                self.retries.fetch_add(1, Relaxed);
            }
            self.acknowledged.send_modify(|events| *events += BATCH);
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
        }
    }

    /// Sends a request; returns `None` unless it is acknowledged.
    async fn publish(&self, connection: &mut Option<Client>, request: u64) -> Option<()> {
        self.address().await;
        if connection.is_none() {
            let stream = UnixStream::connect(self.home.path("broadcast.sock")).await;
            *connection = Some(Client::over_http1(stream.ok()?).await);
        }
        let events = (request * BATCH..(request + 1) * BATCH).map(event);
        let batch = format!("[{}]", events.collect::<Vec<_>>().join(","));
        let sent = post("/broadcast")
            .header("idempotency-key", format!("request-{request}"))
            .body(body(batch))
            .unwrap();
        let response = connection.as_mut()?.send(sent).await.ok()?;
        let status = response.status();
        let reports = response.into_body().collect().await.ok()?.to_bytes();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        let reports = std::str::from_utf8(&reports).unwrap();
        assert_eq!(status, StatusCode::OK, "{reports}");
        let stored = reports.matches(r#""stored":true"#).count() as u64;
        assert_eq!(stored, BATCH, "{reports}");
        Some(())
    }
}

fn event(number: u64) -> String {
    let room = CROWDED + number % ROOMS;
    format!(r#"{{"type":"new_message","payload":{{"ticket_id":{room},"n":{number}}}}}"#)
}

/// A client in one room.
struct Member {
    number: u64,
    cuts: bool,
    joined: watch::Sender<bool>,
    /// The last position, as a text and as its offset.
    since: Option<(String, u64)>,
    got: Vec<u64>,
    visits: usize,
    codes: Vec<u16>,
}

impl Member {
    fn new(number: u64, cuts: bool) -> Self {
        Self {
            number,
            cuts,
            joined: watch::Sender::new(false),
            since: None,
            got: Vec::new(),
            visits: 0,
            codes: Vec::new(),
        }
    }

    fn ticket(&self) -> u64 {
        CROWDED + self.number % ROOMS
    }

    async fn run(mut self, site: &Site) -> Self {
        while self.visit(site).await.is_none() {}
        self
    }

    /// Joins the room and reads until the connection ends; returns `Some` after the last event.
    async fn visit(&mut self, site: &Site) -> Option<()> {
        let address = site.address().await;
        let stream = site.home.connect(address, "http/1.1").await.ok()?;
        let user = CROWDED + self.number;
        let url = format!("wss://localhost/ws?token={user}%7Ccrowd{user}");
        let (mut socket, _) = client_async(url, stream).await.ok()?;
        self.visits += 1;
        let since = self.since.as_ref().map(|(text, _)| text);
        let payload = json!({ "ticket_id": self.ticket(), "since": since });
        let join = json!({ "type": "join_ticket", "payload": payload });
        socket.send(Message::text(join.to_string())).await.ok()?;
        let cut_at = self.got.len() + fastrand::usize(0..MAX_EVENTS_BEFORE_CUT);
        while !self.cuts || self.got.len() < cut_at {
            match socket.next().await?.ok()? {
                Message::Text(text) if self.take(&text) => return Some(()),
                Message::Close(Some(frame)) => self.codes.push(frame.code.into()),
                _ => {}
            }
        }
        None
    }

    /// Takes what the edge sent; returns whether it was the last event.
    fn take(&mut self, text: &str) -> bool {
        match field(text, "type") {
            Some("ticket_joined") => {
                if self.since.is_some() {
                    assert!(text.contains(r#""recovered":true"#), "{text}");
                } else {
                    self.since = Some(position(text));
                    self.joined.send_replace(true);
                }
                false
            }
            Some("new_message") => {
                let (position, offset) = position(text);
                let (last, last_offset) = self.since.as_ref().unwrap();
                assert!(
                    position[..8] == last[..8] && offset > *last_offset,
                    "{position} after {last}"
                );
                self.since = Some((position, offset));
                self.got.push(field(text, "n").unwrap().parse().unwrap());
                false
            }
            // The edge keeps trying.
            Some("error") if text.contains(r#""unavailable""#) => false,
            Some("error") => panic!("{text}"),
            kind => kind == Some("end"),
        }
    }

    fn add_to(mut self, outcome: &mut Outcome) {
        self.got.sort_unstable();
        let received = self.got.len();
        self.got.dedup();
        let room = self.ticket() - CROWDED;
        let published = (0..outcome.events).filter(|number| number % ROOMS == room);
        let lost = published.filter(|number| self.got.binary_search(number).is_err());
        outcome.lost += lost.count();
        outcome.twice += received - self.got.len();
        outcome.visits += self.visits;
        outcome.codes.extend(self.codes);
    }
}

/// Returns the value of a member of a JSON object as its text, without quotes. Much faster than
/// a parser in a debug build, and these events have each name once.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = text.split_once(&format!(r#""{name}":"#))?;
    let value = value.trim_start_matches('"');
    value.split(['"', ',', '}']).next()
}

fn position(text: &str) -> (String, u64) {
    let position = field(text, "position").unwrap();
    let (_, offset) = position.split_once('.').unwrap();
    (position.to_owned(), offset.parse().unwrap())
}

const MAX_EVENTS_BEFORE_CUT: usize = 200;
