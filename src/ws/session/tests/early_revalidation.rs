//! Tests of periodic revalidations that are due early: anybody behind the address of a session
//! can cause them.

use hyper::header::{COOKIE, HeaderMap, HeaderValue};

use super::*;
use crate::auth::{CookieName, SessionCookie};

/// Opens a session of a user by a cookie and joins a ticket.
async fn open_with_cookie(edge: &Edge, ticket: u64, user: u64) -> Client {
    let cookie = HeaderValue::try_from(format!("s=secret{user}")).unwrap();
    let headers = HeaderMap::from_iter([(COOKIE, cookie)]);
    let names = [CookieName::try_from("s".to_owned()).unwrap()];
    let origin = HeaderValue::from_static("https://desk.example");
    let cookie = SessionCookie::from_headers(&headers, &names, &origin).unwrap();
    let mut setup = edge.setup(None);
    setup.credential = Some(Credential::Cookie(Arc::new(cookie)));
    let (near, far) = tokio::io::duplex(PIPE);
    let mut client = edge.enter(far, near, setup).await;
    assert_eq!(client.event().await["type"], "connection");
    client.join(ticket).await;
    client
}

/// Does as a logout of an unknown user from this address; returns the number of sessions.
fn revalidate_early(edge: &Edge, address: [u8; 4]) -> usize {
    let client = ClientIp::new(address.into());
    edge.services.sessions.revalidate_cookies_of(client)
}

/// The address of every session.
const ADDRESS: [u8; 4] = [192, 0, 2, 1];

#[tokio::test(start_paused = true)]
async fn early_revalidation_in_an_outage_keeps_the_session() {
    let edge = Edge::new();
    let mut ana = open_with_cookie(&edge, 7, 3).await;
    edge.laravel.change(|app| app.down = true);
    assert_eq!(revalidate_early(&edge, ADDRESS), 1);
    ana.assert_quiet_for(3600 * SECOND).await;
    edge.publish(7, "still here");
    settled().await;
    assert_eq!(ana.arrived(), ["still here"]);
}

#[tokio::test(start_paused = true)]
async fn early_revalidation_of_a_throttled_user_keeps_the_session_until_it_is_confirmed() {
    let edge = Edge::new();
    let mut ana = open_with_cookie(&edge, 7, 3).await;
    edge.laravel.change(|app| app.throttled.extend([(3, 59)]));
    revalidate_early(&edge, ADDRESS);
    ana.assert_quiet_for(120 * SECOND).await;
    edge.laravel.change(|app| app.throttled.clear());
    ana.assert_quiet_for(600 * SECOND).await;
    ana.assert_alive().await;
}

#[tokio::test(start_paused = true)]
async fn early_revalidations_begin_at_most_every_30_seconds_and_none_is_lost() {
    let edge = Edge::new();
    let mut ana = open_with_cookie(&edge, 7, 3).await;
    edge.laravel.take_asked();
    let start = Instant::now();
    for _ in 0..29 {
        revalidate_early(&edge, ADDRESS);
        ana.assert_quiet_for(SECOND).await;
    }
    let asked = edge.laravel.take_asked();
    assert_eq!(asked, ["GET /api/user 3", "HEAD /api/support-tickets/7 3"]);
    edge.laravel.change(|app| app.revoked.extend([3]));
    assert_eq!(ana.closed().await, Closed(4503));
    assert!(start.elapsed() <= 31 * SECOND, "{:?}", start.elapsed());
}

/// Sessions by a token, and those of other addresses, have nothing to do with it.
#[tokio::test(start_paused = true)]
async fn early_revalidation_concerns_the_cookies_of_the_address_alone() {
    let edge = Edge::new();
    let _ana = open_with_cookie(&edge, 7, 3).await;
    let _by_token = edge.open_in(7, 4).await;
    assert_eq!(revalidate_early(&edge, ADDRESS), 1);
    assert_eq!(revalidate_early(&edge, [192, 0, 2, 2]), 0);
}
