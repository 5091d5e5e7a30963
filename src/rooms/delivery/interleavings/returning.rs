//! A session that returns while events are published.

use super::*;

#[test]
fn session_that_returns_during_publications_receives_each_once() {
    check_interleavings(ITERATIONS, || {
        let desk = Desk::new(1);
        let since = desk.rooms.history.as_ref().unwrap().position();
        let publisher = desk.publish_all(&["[a 1]", "[a 2]", "[a 3]"]);
        let tab = desk.tab_since(Some(Since::Position(since)), 100, 3, None);
        block_on(publisher).unwrap();
        block_on(tab.got_all.notified());
        tab.outbox.evict(Eviction::Disconnected);
        let (_, frames) = tab.finish();
        assert_eq!(frames, ["[a 1]", "[a 2]", "[a 3]"]);
        desk.finish();
    });
}
