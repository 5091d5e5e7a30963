//! The channels of a session: which it may join, and what its client learns about it.

use tokio::io::{AsyncRead, AsyncWrite};

use super::super::wire::{Event, SubscribeRequest};
use super::{LoopResult, Session, Subscription};
use crate::auth::{Claim, Grant, NotAMember, SignatureError};
use crate::core::ids::{ChannelKind, ChannelName, RoomName};
use crate::limit::Limit;
use crate::rooms::PresentUser;

/// The reason why a session does not join a channel.
#[derive(Debug, thiserror::Error)]
enum SubscriptionError {
    /// The name is that of no channel.
    #[error("the name of a channel has 1 to 200 letters, digits and characters of -_=@,.;")]
    InvalidName,
    /// Laravel has not signed it.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The session is in too many channels.
    #[error("this connection is in too many channels; leave one first")]
    TooManyChannels,
    /// The channel has too many users.
    #[error("this channel has too many members")]
    ChannelFull,
}

impl SubscriptionError {
    /// Returns the `type` and the `status` of the event.
    fn kind(&self) -> (&'static str, u16) {
        match self {
            Self::InvalidName => ("InvalidChannel", 400),
            Self::Signature(SignatureError::Member(NotAMember::TooLong)) => ("LimitReached", 413),
            Self::Signature(_) => ("AuthError", 403),
            Self::TooManyChannels | Self::ChannelFull => ("LimitReached", 403),
        }
    }

    /// Returns the reason's code, for the log.
    fn reason(&self) -> &'static str {
        match self {
            Self::InvalidName => "invalid_channel",
            Self::Signature(error) => error.code(),
            Self::TooManyChannels => "too_many_channels",
            Self::ChannelFull => "channel_full",
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Joins the channel of `request` if Laravel has signed that, and tells the client. A
    /// session that is in the channel already gets the same response again.
    pub(super) async fn subscribe(&mut self, request: SubscribeRequest) -> LoopResult {
        let joined = self.join(&request);
        let result = if joined.is_ok() { "joined" } else { "denied" };
        self.services.metrics.count_join(result);
        let channel = &*request.channel;
        match joined {
            Ok(users) => {
                let users = users.as_deref();
                self.send_event(&Event::SubscriptionSucceeded { channel, users })
                    .await
            }
            Err(error) => self.reject_subscription(channel, &error).await,
        }
    }

    /// Tells the client why it is not in `channel`.
    async fn reject_subscription(
        &mut self,
        channel: &str,
        error: &SubscriptionError,
    ) -> LoopResult {
        let (session, reason) = (self.id, error.reason());
        // Any text can stand in the place of a name.
        let is_name = !matches!(error, SubscriptionError::InvalidName);
        tracing::info!(
            name: "channel_subscription_rejected",
            %session, client.ip = %self.client, channel = is_name.then_some(channel), reason,
            "channel subscription rejected"
        );
        let (kind, status) = error.kind();
        let message = &error.to_string();
        let event = Event::SubscriptionError {
            channel,
            kind,
            message,
            status,
        };
        self.send_event(&event).await
    }

    /// Joins a channel; returns the users of a presence channel.
    fn join(
        &mut self,
        request: &SubscribeRequest,
    ) -> Result<Option<Vec<PresentUser>>, SubscriptionError> {
        let channel: ChannelName = request
            .channel
            .parse()
            .map_err(|_| SubscriptionError::InvalidName)?;
        let grant = self.authorize(&channel, request)?;
        self.add_user(&channel, &grant);
        if let Some(subscription) = self.channels.get(&channel) {
            let has_presence = channel.kind() == ChannelKind::Presence;
            return Ok(has_presence.then(|| subscription.membership.users()));
        }
        if self.channels.len() >= self.settings.max_rooms.size()
            && self.report_exceeded(Limit::MaxRooms)
        {
            return Err(SubscriptionError::TooManyChannels);
        }
        let rooms = &self.services.rooms;
        let max_members = self.pusher.max_presence_members.size();
        if let Some(user) = grant.user()
            && !rooms.has_space_for(grant.room(), user.id(), max_members)
        {
            return Err(SubscriptionError::ChannelFull);
        }
        let joined = rooms.join(&grant, None, self.id, self.outbox.clone());
        let subscription = Subscription {
            membership: joined.membership,
            user_id: grant.signed_id().cloned(),
        };
        self.channels.insert(channel, subscription);
        Ok(grant.user().map(|_| joined.users))
    }

    /// Records the user whom Laravel's signature names: the member of a presence channel, or
    /// the user whose own channel it is.
    fn add_user(&mut self, channel: &ChannelName, grant: &Grant) {
        let member = grant.user().map(|user| user.id().clone());
        let owner = || self.services.backend.get().access.owner_of(channel);
        if let Some(user) = member.or_else(owner) {
            self.registration.add_user(&user);
            self.user.get_or_insert(user);
        }
    }

    /// Checks the claim of `request` with the key in use.
    fn authorize(
        &self,
        channel: &ChannelName,
        request: &SubscribeRequest,
    ) -> Result<Grant, SubscriptionError> {
        let backend = self.services.backend.get();
        // None after a reload that has switched the protocol off.
        let app = backend.pusher.as_ref().ok_or(SignatureError::OtherKey)?;
        let claim = Claim {
            socket: self.id,
            channel,
            auth: request.auth.as_deref(),
            channel_data: request.channel_data.as_deref(),
        };
        Ok(app.authorize(claim)?)
    }

    /// Leaves a channel for good, if the session is in it. What is queued from it is dropped,
    /// so that it is not sent after a later subscription.
    pub(super) fn unsubscribe(&mut self, channel: &str) {
        let Ok(channel) = channel.parse::<ChannelName>() else {
            return;
        };
        if let Some(subscription) = self.channels.remove(&channel) {
            subscription.membership.leave();
            self.inbox.forget(&RoomName::Channel(channel));
        }
    }
}
