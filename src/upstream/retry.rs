//! One request on its way to whichever server takes it.

use std::time::Duration;

use hyper::{Request, Response, body::Body as _};
use tokio::time::Instant;

use super::balance::{Choice, Places};
use super::pool::{Failed, Line};
use super::{Error, Shared};
use crate::activity::{ActivityBody, ActivityTracker};
use crate::body::{self, Body};
use crate::client::ClientKey;
use crate::fair::FairPermit;

pub(super) struct Errand<'a> {
    upstream: &'a Shared,
    activity: ActivityTracker,
    /// What to send again if the first is lost; taken when it is.
    spare: Option<Box<Request<()>>>,
    /// Servers that failed since the last pause.
    tried: Places,
    /// Why the last of them did; there if `tried` is not empty.
    last: Option<Error>,
    /// Since when no server takes the request.
    refused: Option<Instant>,
    pause: Duration,
    /// Held until the answer has ended.
    place: Option<FairPermit<ClientKey>>,
}

/// A connection for the request.
struct Reached<'a> {
    choice: Choice<'a>,
    line: Line,
    /// Whether it has carried a request before, and may have been closed since.
    rested: bool,
}

/// What becomes of a request that was not answered.
enum Next {
    Again(Box<Request<Body>>),
    Fail(Error),
}

impl<'a> Errand<'a> {
    pub(super) fn new(
        upstream: &'a Shared,
        request: &Request<Body>,
        place: Option<FairPermit<ClientKey>>,
    ) -> Self {
        Self {
            upstream,
            activity: ActivityTracker::new(),
            spare: spare(request),
            tried: Places::default(),
            last: None,
            refused: None,
            pause: FIRST_PAUSE,
            place,
        }
    }

    pub(super) async fn run(
        &mut self,
        mut request: Box<Request<Body>>,
    ) -> Result<Response<Body>, Error> {
        if !request.body().is_end_stream() {
            let body = std::mem::take(request.body_mut());
            *request.body_mut() = Body::new(ActivityBody::new(body, self.activity.clone()));
        }
        let mut rested = true;
        loop {
            let reached = self.reach(rested).await?;
            match self.exchange(reached, request).await {
                Ok(answer) => return Ok(answer),
                Err(Next::Fail(error)) => return Err(error),
                Err(Next::Again(again)) => request = again,
            }
            // Once one connection turned out to be lost, others may be, too.
            rested = false;
        }
    }

    /// Finds a server that has or accepts a connection, and waits for one if
    /// there is none. Nothing is sent by this, so it is the same for any method.
    async fn reach(&mut self, rested: bool) -> Result<Reached<'a>, Error> {
        let upstream = self.upstream;
        loop {
            let Some(choice) = upstream.servers.choose(self.tried) else {
                Box::pin(self.rest()).await?;
                continue;
            };
            let pool = &choice.server.pool;
            if let Some(line) = rested.then(|| pool.rested()).flatten() {
                return Ok(Reached {
                    choice,
                    line,
                    rested,
                });
            }
            // In a box: most requests find a connection, and need no room for this.
            match Box::pin(pool.connect()).await {
                Ok(line) => {
                    return Ok(Reached {
                        choice,
                        line,
                        rested: false,
                    });
                }
                Err(source) => {
                    let error = Error::connecting(&choice.server.target, source);
                    self.refused(&choice, error);
                    if Instant::now() >= self.end()
                        && let Some(error) = self.last.take()
                    {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// A server did not take the request, of which nothing was sent.
    fn refused(&mut self, choice: &Choice<'_>, error: Error) {
        choice
            .server
            .failed(&error, self.upstream.servers.is_single());
        self.refused.get_or_insert_with(Instant::now);
        self.tried.add(choice.place);
        self.last = Some(error);
    }

    /// After a round in which each server failed: a pause, and all may be tried
    /// again; until the time is up.
    async fn rest(&mut self) -> Result<(), Error> {
        self.tried = Places::default();
        let left = self.end().saturating_duration_since(Instant::now());
        if left.is_zero()
            && let Some(error) = self.last.take()
        {
            return Err(error);
        }
        tokio::time::sleep(left.clamp(SHORTEST_PAUSE, self.pause)).await;
        self.pause = (self.pause * 3 / 2).min(LONGEST_PAUSE);
        Ok(())
    }

    /// Until when it waits: counted from the first refusal, so that servers that
    /// do not even refuse are not all waited for.
    fn end(&mut self) -> Instant {
        *self.refused.get_or_insert_with(Instant::now) + self.upstream.wait
    }

    async fn exchange(
        &mut self,
        reached: Reached<'a>,
        request: Box<Request<Body>>,
    ) -> Result<Response<Body>, Next> {
        let Reached {
            choice,
            mut line,
            rested,
        } = reached;
        let (server, waited) = (choice.server, self.upstream.response_timeout);
        let alone = self.upstream.servers.is_single();
        let busy = server.begin();
        self.activity.record();
        let mut timer = line.take_timer();
        let failed = tokio::select! {
            // The clock is there for answers that do not come.
            biased;
            answer = line.exchange(request) => match answer {
                Ok(answer) => {
                    server.answered(alone);
                    line.put_timer(timer);
                    server.pool.give_back(line, (busy, self.place.take()));
                    return Ok(answer);
                }
                Err(failed) => failed,
            },
            // It may be at work on it: never sent again.
            () = self.activity.idle_for_with(&mut timer, waited) => {
                let target = server.target.clone();
                let error = Error::ResponseTimeout { target, waited };
                server.failed(&error, alone);
                return Err(Next::Fail(error));
            }
        };
        match failed {
            Failed::Unsent(request, source) => {
                if !rested {
                    let target = server.target.clone();
                    self.refused(&choice, Error::Closed { target, source });
                }
                Err(Next::Again(request))
            }
            Failed::Sent { error, heard } => Err(self.broken(
                &choice,
                Error::on_the_way(&server.target, error),
                heard,
                rested,
            )),
        }
    }

    /// The connection broke when some of the request may have been read. A
    /// resting connection that the server closes meanwhile is nobody's fault, and
    /// neither is a restart; so what may be done twice and can be sent whole is,
    /// once, on a new connection and if possible to another server.
    fn broken(&mut self, choice: &Choice<'_>, error: Error, heard: bool, rested: bool) -> Next {
        let alone = self.upstream.servers.is_single();
        let spare = match heard || error.is_the_clients() {
            true => None,
            false => self.spare.take(),
        };
        let Some(spare) = spare else {
            choice.server.failed(&error, alone);
            return Next::Fail(error);
        };
        if !rested {
            choice.server.failed(&error, alone);
        }
        // If nobody takes it now, that is another outage.
        (self.refused, self.pause) = (None, FIRST_PAUSE);
        if !alone {
            self.tried.add(choice.place);
            self.last = Some(error);
        }
        Next::Again(Box::new(spare.map(|()| body::empty())))
    }
}

/// The head again, if the whole request can be repeated by it: of an idempotent
/// method (RFC 9110 §9.2.2) and without a body.
fn spare(request: &Request<Body>) -> Option<Box<Request<()>>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut spare = Box::new(Request::new(()));
    *spare.method_mut() = request.method().clone();
    *spare.uri_mut() = request.uri().clone();
    *spare.headers_mut() = request.headers().clone();
    *spare.extensions_mut() = request.extensions().clone();
    Some(spare)
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
