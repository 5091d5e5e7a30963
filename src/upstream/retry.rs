//! One request on its way to whichever server takes it.

use std::time::Duration;

use hyper::{Request, Response, body::Body as _};
use tokio::time::Instant;

use super::balance::{Choice, ServerSet};
use super::pool::{ExchangeError, PooledConn};
use super::{Error, Shared};
use crate::core::body::{self, Body};
use crate::core::client::ClientKey;
use crate::runtime::activity::{ActivityBody, ActivityTracker};
use crate::runtime::fair::FairPermit;

pub(super) struct RetryingRequest<'a> {
    upstream: &'a Shared,
    activity: ActivityTracker,
    /// What to send again if the first is lost; taken when it is.
    replayable: Option<Box<Request<()>>>,
    /// Servers that failed since the last pause.
    tried: ServerSet,
    /// Why the last of them did; there if `tried` is not empty.
    last: Option<Error>,
    /// Since when no server takes the request.
    refused: Option<Instant>,
    pause: Duration,
    /// Held until the answer has ended.
    place: Option<FairPermit<ClientKey>>,
}

/// A connection for the request.
struct Checkout<'a> {
    choice: Choice<'a>,
    conn: PooledConn,
    /// Whether it has carried a request before, and may have been closed since.
    was_idle: bool,
}

/// What becomes of a request that was not answered.
enum RetryDecision {
    Retry(Box<Request<Body>>),
    Fail(Error),
}

impl<'a> RetryingRequest<'a> {
    pub(super) fn new(
        upstream: &'a Shared,
        request: &Request<Body>,
        place: Option<FairPermit<ClientKey>>,
    ) -> Self {
        Self {
            upstream,
            activity: ActivityTracker::new(),
            replayable: replayable_head(request),
            tried: ServerSet::default(),
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
            let reached = self.checkout(rested).await?;
            match self.exchange(reached, request).await {
                Ok(answer) => return Ok(answer),
                Err(RetryDecision::Fail(error)) => return Err(error),
                Err(RetryDecision::Retry(again)) => request = again,
            }
            // Once one connection turned out to be lost, others may be, too.
            rested = false;
        }
    }

    /// Finds a server that has or accepts a connection, and waits for one if
    /// there is none. Nothing is sent by this, so it is the same for any method.
    async fn checkout(&mut self, rested: bool) -> Result<Checkout<'a>, Error> {
        let upstream = self.upstream;
        loop {
            let Some(choice) = upstream.servers.choose(self.tried) else {
                Box::pin(self.pause_between_rounds()).await?;
                continue;
            };
            let pool = &choice.server.pool;
            if let Some(line) = rested.then(|| pool.checkout_idle()).flatten() {
                return Ok(Checkout {
                    choice,
                    conn: line,
                    was_idle: rested,
                });
            }
            // In a box: most requests find a connection, and need no room for this.
            match Box::pin(pool.connect()).await {
                Ok(line) => {
                    return Ok(Checkout {
                        choice,
                        conn: line,
                        was_idle: false,
                    });
                }
                Err(source) => {
                    let error = Error::from_connect(&choice.server.target, source);
                    self.on_connect_error(&choice, error);
                    if Instant::now() >= self.deadline()
                        && let Some(error) = self.last.take()
                    {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// A server did not take the request, of which nothing was sent.
    fn on_connect_error(&mut self, choice: &Choice<'_>, error: Error) {
        choice
            .server
            .record_failure(&error, self.upstream.servers.is_single());
        self.refused.get_or_insert_with(Instant::now);
        self.tried.add(choice.place);
        self.last = Some(error);
    }

    /// After a round in which each server failed: a pause, and all may be tried
    /// again; until the time is up.
    async fn pause_between_rounds(&mut self) -> Result<(), Error> {
        self.tried = ServerSet::default();
        let left = self.deadline().saturating_duration_since(Instant::now());
        if left.is_zero()
            && let Some(error) = self.last.take()
        {
            return Err(error);
        }
        tokio::time::sleep(left.clamp(MIN_PAUSE, self.pause)).await;
        self.pause = (self.pause * 3 / 2).min(MAX_PAUSE);
        Ok(())
    }

    /// Until when it waits: counted from the first refusal, so that servers that
    /// do not even refuse are not all waited for.
    fn deadline(&mut self) -> Instant {
        *self.refused.get_or_insert_with(Instant::now) + self.upstream.wait
    }

    async fn exchange(
        &mut self,
        reached: Checkout<'a>,
        request: Box<Request<Body>>,
    ) -> Result<Response<Body>, RetryDecision> {
        let Checkout {
            choice,
            conn: mut line,
            was_idle: rested,
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
                    server.record_response(alone);
                    line.put_timer(timer);
                    server.pool.checkin(line, (busy, self.place.take()));
                    return Ok(answer);
                }
                Err(failed) => failed,
            },
            // It may be at work on it: never sent again.
            () = self.activity.idle_for_with(&mut timer, waited) => {
                let target = server.target.clone();
                let error = Error::ResponseTimeout { target, waited };
                server.record_failure(&error, alone);
                return Err(RetryDecision::Fail(error));
            }
        };
        match failed {
            ExchangeError::Unsent(request, source) => {
                if !rested {
                    let target = server.target.clone();
                    self.on_connect_error(&choice, Error::Closed { target, source });
                }
                Err(RetryDecision::Retry(request))
            }
            ExchangeError::Sent {
                error,
                response_started,
            } => Err(self.on_exchange_error(
                &choice,
                Error::from_exchange(&server.target, error),
                response_started,
                rested,
            )),
        }
    }

    /// The connection broke when some of the request may have been read. A
    /// resting connection that the server closes meanwhile is nobody's fault, and
    /// neither is a restart; so what may be done twice and can be sent whole is,
    /// once, on a new connection and if possible to another server.
    fn on_exchange_error(
        &mut self,
        choice: &Choice<'_>,
        error: Error,
        response_started: bool,
        rested: bool,
    ) -> RetryDecision {
        let alone = self.upstream.servers.is_single();
        let spare = if response_started || error.is_client_error() {
            None
        } else {
            self.replayable.take()
        };
        let Some(spare) = spare else {
            choice.server.record_failure(&error, alone);
            return RetryDecision::Fail(error);
        };
        if !rested {
            choice.server.record_failure(&error, alone);
        }
        // If nobody takes it now, that is another outage.
        (self.refused, self.pause) = (None, FIRST_PAUSE);
        if !alone {
            self.tried.add(choice.place);
            self.last = Some(error);
        }
        RetryDecision::Retry(Box::new(spare.map(|()| body::empty())))
    }
}

/// The head again, if the whole request can be repeated by it: of an idempotent
/// method (RFC 9110 §9.2.2) and without a body.
fn replayable_head(request: &Request<Body>) -> Option<Box<Request<()>>> {
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

const MIN_PAUSE: Duration = Duration::from_millis(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_millis(250);
