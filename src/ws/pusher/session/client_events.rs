//! The events that a client publishes to the other members of a channel; Echo calls them
//! whispers.

use tokio::io::{AsyncRead, AsyncWrite};

use super::super::wire::{ClientEvent, Event};
use super::{LoopResult, Session};
use crate::core::ids::{ChannelKind, ChannelName};
use crate::limit::SessionRate;
use crate::rooms::{Audience, EventKind};

/// The reason why a client event is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum ClientEventError {
    /// The configuration allows none.
    #[error("client events are off on this server")]
    Off,
    /// The channel is public, or the session is not in it.
    #[error("client events need a private or presence channel that this connection is in")]
    NotAMember,
    /// The session is over its rate.
    #[error("too many client events; this one was dropped")]
    TooMany,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Publishes `event` to the other members of its channel, or tells the client why not.
    pub(super) async fn publish_client_event(&mut self, event: ClientEvent) -> LoopResult {
        match self.try_publish(event) {
            Ok(()) => Ok(()),
            Err(error) => {
                let (code, message) = (Some(CLIENT_EVENT_REJECTED), &*error.to_string());
                self.send_event(&Event::Error { code, message }).await
            }
        }
    }

    fn try_publish(&mut self, event: ClientEvent) -> Result<(), ClientEventError> {
        if !self.pusher.client_events {
            return Err(ClientEventError::Off);
        }
        let name: Option<ChannelName> = event.channel.parse().ok();
        let subscription = name
            .filter(|name| name.kind() != ChannelKind::Public)
            .and_then(|name| self.channels.get(&name))
            .ok_or(ClientEventError::NotAMember)?;
        let per_second = self.pusher.client_events_per_second;
        let rate = self
            .client_events
            .get_or_insert_with(|| Box::new(SessionRate::per_second(per_second, per_second)));
        if rate.check(1, per_second).is_err() {
            return Err(ClientEventError::TooMany);
        }
        self.services.rooms.published().client_event.inc();
        let kind = EventKind::Client {
            event: event.event,
            data: event.data,
            user: subscription.user_id.clone(),
        };
        subscription
            .membership
            .publish(kind, Audience::AllBut(self.id));
        Ok(())
    }
}

/// The code of the protocol. pusher-js hands it to the page and stays connected.
const CLIENT_EVENT_REJECTED: u16 = 4301;
