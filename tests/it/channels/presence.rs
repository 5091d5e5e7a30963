//! Only the members of a `presence-` channel learn who else is in it.

use serde_json::{Value, json};

use super::{join, leave, member, start};
use crate::support::Socket;

fn user(id: u64, name: &str) -> Value {
    json!({ "user_id": id, "user_name": name, "user_info": { "seat": id } })
}

#[tokio::test]
async fn members_of_a_presence_channel_see_each_other_as_laravel_describes_them() {
    let (laravel, edge) = start("").await;
    for id in [3, 5] {
        laravel.open_channel(id, "presence-office");
    }
    let mut ana = Socket::greeted(&edge, "3|ana").await;
    let joined = join(&mut ana, "presence-office").await;
    assert_eq!(joined["payload"]["users"], json!([user(3, "ana")]));

    let mut desk = Socket::greeted(&edge, "5|desk").await;
    let joined = join(&mut desk, "presence-office").await;
    let both = json!([user(3, "ana"), user(5, "desk")]);
    assert_eq!(joined["payload"]["users"], both);
    let mut expected = user(5, "desk");
    expected["channel"] = json!("presence-office");
    assert_eq!(ana.until("user_joined").await["payload"], expected);

    let report = edge.get("/rooms/channel/presence-office").await.json();
    assert_eq!(
        (&report["room"], report["users"].as_array().unwrap().len()),
        (&json!("channel/presence-office"), 2)
    );
    leave(&mut desk, "presence-office").await;
    assert_eq!(
        ana.until("user_left").await["payload"],
        json!({ "user_id": 5, "channel": "presence-office" })
    );
}

#[tokio::test]
async fn members_of_other_channels_do_not_learn_of_each_other() {
    let (_laravel, edge) = start("").await;
    for channel in ["private-desk", "news"] {
        let mut ana = member(&edge, "3|ana", channel).await;
        let mut desk = Socket::greeted(&edge, "5|desk").await;
        let joined = join(&mut desk, channel).await;
        assert!(joined["payload"].get("users").is_none(), "{joined}");
        leave(&mut desk, channel).await;
        assert_eq!(desk.settle().await, [] as [Value; 0]);
        assert_eq!(ana.settle().await, [] as [Value; 0]);
    }
}
