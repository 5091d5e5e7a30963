//! A user as the members of a room see them.

use std::sync::Arc;

use crate::auth::{Grant, User, UserInfo};
use crate::core::ids::UserId;

/// A user who is present in a room.
#[derive(Clone, Debug)]
pub struct PresentUser {
    user: User,
    info: Option<UserInfo>,
}

impl PresentUser {
    /// Returns the user who enters a room by `grant`.
    pub(super) fn new(grant: &Grant) -> Self {
        Self {
            user: grant.user().clone(),
            info: grant.user_info().cloned(),
        }
    }

    /// Creates one for tests, without a grant.
    #[cfg(test)]
    pub(crate) fn for_test(user: User, info: Option<UserInfo>) -> Self {
        Self { user, info }
    }

    /// Returns the user.
    pub(super) fn user(&self) -> &User {
        &self.user
    }

    /// Returns the id in Laravel's users table.
    pub(crate) fn id(&self) -> &UserId {
        self.user.id()
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
