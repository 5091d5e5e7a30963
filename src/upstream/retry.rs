//! Retries of one request: finds a server that accepts a connection, and repeats the request
//! only where a server cannot have executed it, or may do so twice.

use std::time::Duration;

use hyper::{Request, Response, body::Body as _};
use tokio::time::Instant;

use super::balance::{Choice, ServerSet};
use super::pool::{ExchangeError, PooledConn};
use super::{Error, Shared, framing};
use crate::core::body::{self, Body};
use crate::core::client_ip::ClientKey;
use crate::runtime::activity::{ActivityBody, ActivityTracker};
use crate::runtime::fair_semaphore::FairPermit;

/// One request on its way to the app, through all its attempts.
pub(super) struct RetryingRequest<'a> {
    upstream: &'a Shared,
    /// Records the bytes of the request body: the response timeout counts from the last one.
    activity: ActivityTracker,
    /// The copy to send if the connection is lost; taken by the only repetition.
    replayable: Option<Box<Request<()>>>,
    /// The servers that failed since the last pause.
    tried: ServerSet,
    /// The error of the last failed server; always set if `tried` is not empty.
    last: Option<Error>,
    /// The time of the first failure to connect in this outage.
    unavailable_since: Option<Instant>,
    pause: Duration,
    /// Held until the response has ended; see [`super::pool::Pool::checkin`].
    permit: Option<FairPermit<ClientKey>>,
}

/// A connection for one attempt.
struct Checkout<'a> {
    choice: Choice<'a>,
    conn: PooledConn,
    /// The connection comes from the pool, so the server may have closed it meanwhile.
    was_idle: bool,
}

/// The decision about a request after a failed attempt.
enum RetryDecision {
    Retry(Box<Request<Body>>),
    Fail(Error),
}

impl<'a> RetryingRequest<'a> {
    /// Creates the state for `request`; keeps a copy of its head if it may be repeated.
    pub(super) fn new(
        upstream: &'a Shared,
        request: &Request<Body>,
        permit: Option<FairPermit<ClientKey>>,
    ) -> Self {
        Self {
            upstream,
            activity: ActivityTracker::new(),
            replayable: replayable_head(request),
            tried: ServerSet::default(),
            last: None,
            unavailable_since: None,
            pause: FIRST_PAUSE,
            permit,
        }
    }

    /// Sends the request until a server responds or an error is final.
    ///
    /// Dropping the future closes the connection of the current attempt.
    ///
    /// # Errors
    /// Returns the error of the last attempt, of a kind that [`super::Upstream::send`] names.
    pub(super) async fn run(
        &mut self,
        mut request: Box<Request<Body>>,
    ) -> Result<Response<Body>, Error> {
        if !request.body().is_end_stream() {
            let body = std::mem::take(request.body_mut());
            *request.body_mut() = Body::new(ActivityBody::new(body, self.activity.clone()));
        }
        let mut may_reuse = true;
        loop {
            let checkout = self.checkout(may_reuse).await?;
            match self.exchange(checkout, request).await {
                Ok(response) => return Ok(response),
                Err(RetryDecision::Fail(error)) => return Err(error),
                Err(RetryDecision::Retry(again)) => request = again,
            }
            // If one idle connection was closed, the others probably are, too: the server
            // has restarted.
            may_reuse = false;
        }
    }

    /// Takes an idle connection if `may_reuse`, or opens one at the first server that
    /// accepts it, and waits if there is none. This sends nothing, so it is safe for every
    /// method.
    async fn checkout(&mut self, may_reuse: bool) -> Result<Checkout<'a>, Error> {
        let upstream = self.upstream;
        loop {
            let Some(choice) = upstream.servers.choose(self.tried) else {
                Box::pin(self.pause_between_rounds()).await?;
                continue;
            };
            let pool = &choice.server.pool;
            if let Some(conn) = may_reuse.then(|| pool.checkout_idle()).flatten() {
                return Ok(Checkout {
                    choice,
                    conn,
                    was_idle: true,
                });
            }
            // Boxed: most requests find an idle connection, and their futures need no room
            // for a connection attempt.
            match Box::pin(pool.connect()).await {
                Ok(conn) => {
                    return Ok(Checkout {
                        choice,
                        conn,
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

    /// Records that a server did not accept the request, of which nothing was sent.
    fn on_connect_error(&mut self, choice: &Choice<'_>, error: Error) {
        choice
            .server
            .record_failure(&error, self.upstream.servers.is_single());
        self.unavailable_since.get_or_insert_with(Instant::now);
        self.tried.add(choice.index);
        self.last = Some(error);
    }

    /// Pauses after a round in which every server failed, and starts another round.
    ///
    /// # Errors
    /// Returns the last server's error if the deadline has passed.
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

    /// Returns the time at which the request gives up connecting. It counts from the first
    /// failure, so that a request does not wait for `connect_timeout` of every server that
    /// is silent.
    fn deadline(&mut self) -> Instant {
        *self.unavailable_since.get_or_insert_with(Instant::now) + self.upstream.wait
    }

    /// Sends `request` on the connection and waits for the head of the response, for at most
    /// the response timeout. Decides what to do after a failure.
    async fn exchange(
        &mut self,
        checkout: Checkout<'a>,
        request: Box<Request<Body>>,
    ) -> Result<Response<Body>, RetryDecision> {
        let Checkout {
            choice,
            mut conn,
            was_idle,
        } = checkout;
        let (server, waited) = (choice.server, self.upstream.response_timeout);
        let is_single = self.upstream.servers.is_single();
        let active = server.begin();
        self.activity.record();
        let mut timer = conn.take_timer();
        let failed = tokio::select! {
            // In this order, so that the timer is looked at only while no response is there.
            biased;
            response = conn.exchange(request) => match response {
                Ok(mut response) => {
                    if let Err(invalid) = framing::normalize_response(&mut response) {
                        let error = Error::from_exchange(&server.target, invalid.into());
                        server.record_failure(&error, is_single);
                        return Err(RetryDecision::Fail(error));
                    }
                    server.record_response(is_single);
                    conn.put_timer(timer);
                    server.pool.checkin(conn, (active, self.permit.take()));
                    return Ok(response);
                }
                Err(failed) => failed,
            },
            // The server may be executing the request, so it is never repeated.
            () = self.activity.idle_for_with(&mut timer, waited) => {
                let target = server.target.clone();
                let error = Error::ResponseTimeout { target, waited };
                server.record_failure(&error, is_single);
                return Err(RetryDecision::Fail(error));
            }
        };
        match failed {
            ExchangeError::Unsent(request, source) => {
                // An idle connection that the server has closed is no failure. A new one
                // that it closes at once is.
                if !was_idle {
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
                was_idle,
            )),
        }
    }

    /// Decides about a request whose connection was lost after a server may have read some
    /// of it. The request is repeated once, on a new connection and if possible at another
    /// server, if it is idempotent, has no body, no byte of a response has arrived, and the
    /// server has probably not run it (RFC 9110 §9.2.2): the connection was idle before, and
    /// servers close idle connections; or it was reset, as the system does if a server ends
    /// before it has read the request. A server that reads a request on a new connection and
    /// then closes it has crashed, and the repetition would crash the next one.
    fn on_exchange_error(
        &mut self,
        choice: &Choice<'_>,
        error: Error,
        response_started: bool,
        was_idle: bool,
    ) -> RetryDecision {
        let is_single = self.upstream.servers.is_single();
        let has_not_run = !response_started && (was_idle || error.is_reset());
        let head = if has_not_run && !error.is_client_error() {
            self.replayable.take()
        } else {
            None
        };
        let Some(head) = head else {
            choice.server.record_failure(&error, is_single);
            return RetryDecision::Fail(error);
        };
        if !was_idle {
            choice.server.record_failure(&error, is_single);
        }
        // A failure to connect after this counts as another outage, with its own deadline.
        (self.unavailable_since, self.pause) = (None, FIRST_PAUSE);
        if !is_single {
            self.tried.add(choice.index);
            self.last = Some(error);
        }
        RetryDecision::Retry(Box::new(head.map(|()| body::empty())))
    }
}

/// Returns a copy of the head, if it is all that a repetition needs: the method is idempotent
/// (RFC 9110 §9.2.2) and there is no body.
fn replayable_head(request: &Request<Body>) -> Option<Box<Request<()>>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut head = Box::new(Request::new(()));
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();
    *head.extensions_mut() = request.extensions().clone();
    Some(head)
}

const MIN_PAUSE: Duration = Duration::from_millis(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_millis(250);
