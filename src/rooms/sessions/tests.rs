//! Tests of the registry of sessions.

use futures_util::FutureExt;

use super::*;
use crate::auth::{AgentHash, Token};
use crate::core::ids::SessionIds;

/// A session of a user with the token `3|ana`.
pub(super) fn entry(session: SessionId, user: u64, outbox: Outbox) -> SessionEntry {
    SessionEntry {
        client: ClientIp::new([127, 0, 0, 1].into()),
        since: Instant::now(),
        user: UserId::Number(user),
        browser: Browser {
            token: Token::new("3|ana").unwrap().hash(),
            agent: AgentHash::from_headers(&hyper::HeaderMap::new()),
        },
        outbox,
        receipts: Some(Arc::new(Receipts::new(session, Arc::default()))),
    }
}

#[tokio::test(start_paused = true)]
async fn session_registered_with_a_revoked_token_is_evicted() {
    let (sessions, ids) = (Sessions::default(), SessionIds::new());
    let token = Token::new("3|ana").map(|token| token.hash()).unwrap();
    let enter = || {
        let (outbox, inbox) = super::super::channel(1, 1, None);
        let id = ids.issue();
        (sessions.register(id, entry(id, 3, outbox)), inbox)
    };
    let before = enter();
    assert_eq!(sessions.revoke(&token), 1);
    let after = enter();
    for (_, inbox) in [&before, &after] {
        assert_eq!(inbox.evicted().now_or_never(), Some(Eviction::Revoked));
    }
    drop((before, after));
    assert_eq!(sessions.count(), 0);
}

#[tokio::test]
async fn user_over_the_session_limit_loses_only_the_oldest() {
    let (sessions, ids) = (Sessions::default(), SessionIds::new());
    let enter = |user| {
        let (outbox, inbox) = super::super::channel(1, 1, None);
        let id = ids.issue();
        let entered = sessions.register(id, entry(id, user, outbox));
        if entered.exceeds(PositiveCount::new(2)) {
            entered.evict_oldest(PositiveCount::new(2));
        }
        (entered, inbox)
    };
    let (first, second, other) = (enter(3), enter(3), enter(4));
    let third = enter(3);
    let ended = |one: &(Registration, crate::rooms::Inbox)| one.1.evicted().now_or_never();
    assert_eq!(ended(&first), Some(Eviction::Superseded));
    assert_eq!([ended(&second), ended(&third), ended(&other)], [None; 3]);
    drop(second);
    let fourth = enter(3);
    assert_eq!([ended(&third), ended(&fourth)], [None; 2]);
    // A reload may allow fewer.
    fourth.0.evict_oldest(PositiveCount::new(1));
    assert_eq!(ended(&third), Some(Eviction::Superseded));
    assert_eq!([ended(&fourth), ended(&other)], [None; 2]);
    drop((first, third, fourth, other));
    assert!(sessions.0.lock().users.is_empty());
}
