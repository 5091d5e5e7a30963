//! Tests of cached decisions and requests in flight, in paused time.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hyper::header::HeaderValue;

use super::*;
use crate::auth::{ClientContext, Credential, RetryDeadline, Token};
use crate::core::client_ip::ClientIp;

fn cache(entries: u32, concurrency: u32) -> Cache<u32, u32> {
    Cache::new(
        PositiveCount::new(entries),
        PositiveCount::new(concurrency),
        Invalidations::new(),
        Drain::new(),
    )
}

async fn get<F>(cache: &Cache<u32, u32>, key: u32, question: F) -> Result<u32, Error>
where
    F: Future<Output = Result<Verdict<u32>, Error>> + Send + 'static,
{
    let result = cache.get(key, &auth_request(key), sent(question)).await?;
    result.value.ok_or(Error::Denied)
}

/// Returns a query that goes to Laravel at once.
fn sent<F>(question: F) -> impl FnOnce(CancellationToken) -> BoxFuture<'static, F::Output>
where
    F: Future + Send + 'static,
{
    move |started| {
        async move {
            started.cancel();
            question.await
        }
        .boxed()
    }
}

/// Creates a request of another client for each key.
fn auth_request(key: u32) -> AuthRequest {
    let token = Token::new(&key.to_string()).map(Credential::Token).unwrap();
    let client_context = ClientContext {
        client: ClientIp::new(std::net::Ipv4Addr::from_bits(key).into()),
        host: HeaderValue::from_static("desk.example"),
        session: "1.1".parse().unwrap(),
    };
    AuthRequest::new(&token, &client_context)
}

fn yes(value: u32) -> Result<Verdict<u32>, Error> {
    Ok(Verdict {
        value: Some(value),
        ttl: Duration::from_secs(60),
    })
}

#[tokio::test(start_paused = true)]
async fn decision_is_cached_until_its_ttl_ends() {
    let cache = cache(10, 1);
    assert_eq!(get(&cache, 1, async { yes(7) }).await, Ok(7));
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(get(&cache, 1, async { yes(8) }).await, Ok(7));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(get(&cache, 1, async { yes(8) }).await, Ok(8));
}

#[tokio::test(start_paused = true)]
async fn denial_is_cached_and_failure_is_not() {
    let cache = cache(10, 1);
    let no = Verdict {
        value: None,
        ttl: Duration::from_secs(10),
    };
    assert_eq!(get(&cache, 1, async { Ok(no) }).await, Err(Error::Denied));
    assert_eq!(get(&cache, 1, async { yes(7) }).await, Err(Error::Denied));
    let down = Error::unavailable("down".into());
    let failed = get(&cache, 2, std::future::ready(Err(down.clone()))).await;
    assert_eq!(failed, Err(down));
    assert_eq!(get(&cache, 2, async { yes(7) }).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_share_one_query() {
    let cache = cache(10, 1);
    let requests = Arc::new(AtomicUsize::new(0));
    let ask = || {
        let requests = Arc::clone(&requests);
        get(&cache, 1, async move {
            requests.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            yes(7)
        })
    };
    let answers = futures_util::future::join_all([ask(), ask(), ask()]).await;
    assert_eq!(answers, [Ok(7), Ok(7), Ok(7)]);
    assert_eq!(requests.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn query_whose_caller_left_still_fills_the_cache() {
    let cache = cache(10, 1);
    let slow = get(&cache, 1, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        yes(7)
    });
    assert!(
        tokio::time::timeout(Duration::from_millis(1), slow)
            .await
            .is_err()
    );
    assert_eq!(get(&cache, 1, async { yes(8) }).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn concurrent_queries_are_bounded() {
    let cache = cache(10, 2);
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let ask = |key| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        get(&cache, key, async move {
            most.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, Relaxed);
            yes(key)
        })
    };
    futures_util::future::join_all((0..6).map(ask)).await;
    assert_eq!(most.load(Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn decision_invalidated_in_flight_is_not_cached() {
    let cache = cache(10, 1);
    let first = get(&cache, 1, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        yes(7)
    });
    let forget = async {
        tokio::task::yield_now().await;
        cache.forget(&1);
    };
    assert_eq!(tokio::join!(first, forget).0, Ok(7));
    assert_eq!(get(&cache, 1, async { yes(8) }).await, Ok(8));
}

#[tokio::test(start_paused = true)]
async fn invalidation_causes_one_query_for_all_callers() {
    let cache = cache(10, 1);
    assert_eq!(get(&cache, 1, async { yes(7) }).await, Ok(7));
    tokio::time::advance(Duration::from_secs(1)).await;
    let since = auth_request(1).since(cache.0.invalidations.next_epoch());
    let requests = Arc::new(AtomicUsize::new(0));
    let ask = || {
        let requests = Arc::clone(&requests);
        let question = async move {
            requests.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            yes(8)
        };
        cache.get(1, &since, sent(question))
    };
    let answers = futures_util::future::join_all([ask(), ask()]).await;
    assert!(
        answers
            .iter()
            .all(|result| result.as_ref().unwrap().value == Some(8))
    );
    assert_eq!(ask().await.unwrap().value, Some(8));
    assert_eq!(requests.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn urgent_query_does_not_wait_for_the_same_routine_query() {
    let cache = cache(10, 2);
    let hour = Duration::from_secs(3600);
    let requests = Arc::new(Mutex::new(Vec::new()));
    let ask = |key, auth_request: AuthRequest, took| {
        let (cache, requests) = (cache.clone(), Arc::clone(&requests));
        async move {
            let urgency = auth_request.urgency;
            let question = async move {
                requests.lock().push((key, urgency));
                tokio::time::sleep(took).await;
                yes(key)
            };
            cache
                .get(key, &auth_request, sent(question))
                .await
                .map(drop)
        }
    };
    let held = auth_request(1);
    let other = AuthRequest {
        secret: held.secret,
        ..auth_request(2)
    };
    let mut first = Box::pin(ask(1, held, hour));
    let mut second = Box::pin(ask(2, other, hour));
    // Both requests have one token, which has its half of the places: the second waits.
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    let urgent = ask(2, auth_request(2).urgent(), Duration::ZERO);
    assert_eq!(urgent.await, Ok(()));
    let (routine, urgent) = ((1, Urgency::Routine), (2, Urgency::Urgent));
    assert_eq!(*requests.lock(), [routine, urgent]);
}

#[tokio::test(start_paused = true)]
async fn retry_timeout_starts_when_the_query_leaves_the_queue() {
    let cache = cache(10, 1);
    let slow = get(&cache, 1, async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        yes(7)
    });
    let wait = |deadline: RetryDeadline| {
        let (cache, auth_request) = (cache.clone(), auth_request(2).with_deadline(deadline));
        async move { cache.get(2, &auth_request, sent(async { yes(8) })).await }
    };
    let waiting = crate::auth::retry_while_unavailable(Duration::from_secs(5), wait);
    let (_, waited) = tokio::join!(slow, waiting);
    assert_eq!(waited.unwrap().value, Some(8));
    let hangs = |deadline: RetryDeadline| {
        let (cache, auth_request) = (cache.clone(), auth_request(3).with_deadline(deadline));
        async move {
            cache
                .get(3, &auth_request, sent(std::future::pending()))
                .await
        }
    };
    let hung = crate::auth::retry_while_unavailable(Duration::from_secs(5), hangs).await;
    assert!(matches!(hung, Err(Error::Unavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn queued_query_without_callers_is_not_sent() {
    let cache = cache(10, 1);
    let slow = get(&cache, 1, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        yes(7)
    });
    let given_up = get(&cache, 2, async { panic!("Laravel got a request") });
    let given_up = tokio::time::timeout(Duration::from_millis(1), given_up);
    let (slow, given_up) = tokio::join!(slow, given_up);
    assert_eq!((slow, given_up.is_err()), (Ok(7), true));
    assert_eq!(get(&cache, 2, async { yes(9) }).await, Ok(9));
    assert!(cache.0.state.lock().in_flight.is_empty());
}

/// A second queue before Laravel, as that of `upstream.max_connections`.
#[tokio::test(start_paused = true)]
async fn retry_timeout_does_not_count_the_queue_of_the_upstream() {
    let cache = cache(10, 1);
    let wait = |deadline: RetryDeadline| {
        let (cache, auth_request) = (cache.clone(), auth_request(1).with_deadline(deadline));
        let query = |started: CancellationToken| async move {
            tokio::time::sleep(Duration::from_secs(7)).await;
            started.cancel();
            yes(8)
        };
        async move { cache.get(1, &auth_request, query).await }
    };
    let waited = crate::auth::retry_while_unavailable(Duration::from_secs(5), wait).await;
    assert_eq!(waited.unwrap().value, Some(8));
}

/// A member who returns does not wait behind requests for tickets that were never granted.
#[tokio::test(start_paused = true)]
async fn query_about_a_right_granted_before_goes_first() {
    let cache = cache(10, 1);
    assert_eq!(get(&cache, 1, async { yes(7) }).await, Ok(7));
    tokio::time::advance(Duration::from_secs(60)).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let ask = |key| {
        let order = Arc::clone(&order);
        get(&cache, key, async move {
            order.lock().push(key);
            tokio::time::sleep(Duration::from_secs(1)).await;
            yes(key)
        })
    };
    let asked = futures_util::future::join_all([ask(2), ask(3), ask(4), ask(1)]).await;
    assert!(asked.iter().all(Result::is_ok));
    assert_eq!(*order.lock(), [2, 1, 3, 4]);
}
