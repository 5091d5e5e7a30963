//! The first events of a session: `connection`, and those of the user's own channel.

use tokio::io::{AsyncRead, AsyncWrite};

use super::super::protocol::Event;
use super::{LoopResult, Session};
use crate::rooms::Since;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Sends `connection`. Then enters the user's own channel, if the configuration gives them
    /// one, with what the client has missed there `since` a position.
    pub(super) async fn greet(&mut self, since: Option<Box<Since>>) -> LoopResult {
        let greeting = self.frame(&Event::Connection {
            status: "connected",
            user_id: self.user.id(),
            session_id: self.id(),
            message: "WebSocket connection established",
        });
        let ping = self.begin_resumption();
        self.write([greeting].into_iter().chain(ping)).await?;
        let backend = self.services.backend.get();
        let own = backend
            .access
            .grant_own_channel(&self.user, self.credential.hash());
        match own {
            Some(grant) => {
                if since.is_some() {
                    self.prepare_join(grant.room(), true);
                }
                self.enter_room(&grant, since.map(|since| *since)).await
            }
            None => Ok(()),
        }
    }
}
