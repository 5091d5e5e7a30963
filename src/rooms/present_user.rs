//! A user as the members of a room see them.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::auth::{Grant, User, UserInfo};
use crate::core::ids::UserId;

/// A user who is present in a room.
#[derive(Clone, Debug)]
pub struct PresentUser {
    user: User,
    info: Option<UserInfo>,
    signed_id: Option<Arc<RawValue>>,
}

impl PresentUser {
    /// Returns the user who enters a room by `grant`, if it names one.
    pub(super) fn new(grant: &Grant) -> Option<Self> {
        Some(Self {
            user: grant.user()?.clone(),
            info: grant.user_info().cloned(),
            signed_id: grant.signed_id().cloned(),
        })
    }

    /// Creates one for tests, without a grant.
    #[cfg(test)]
    pub(crate) fn for_test(user: User, info: Option<UserInfo>) -> Self {
        Self {
            user,
            info,
            signed_id: None,
        }
    }

    /// Creates the member of a presence channel with this `channel_data` for tests.
    #[cfg(test)]
    pub(crate) fn signed(channel_data: &str) -> Self {
        let grant = Grant::signed_for_test("presence-a", channel_data);
        Self::new(&grant).expect("a user")
    }

    /// Returns the user.
    pub(super) fn user(&self) -> &User {
        &self.user
    }

    /// Returns the id in Laravel's users table.
    pub(crate) fn id(&self) -> &UserId {
        self.user.id()
    }

    /// Returns the JSON of the id, with the type that Laravel has signed: `"42"` is not 42 to
    /// pages.
    pub(crate) fn id_json(&self) -> Arc<RawValue> {
        let own = || serde_json::value::to_raw_value(self.id()).expect("ids have a JSON form");
        self.signed_id.clone().unwrap_or_else(|| own().into())
    }

    /// Returns the name that other users see.
    pub(crate) fn name(&self) -> &Arc<str> {
        self.user.name()
    }

    /// Returns what the application tells the members about the user. Only presence channels
    /// have it.
    pub(crate) fn info(&self) -> Option<&UserInfo> {
        self.info.as_ref()
    }
}
