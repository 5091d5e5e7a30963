//! By what a client is counted.

use crate::core::client::ClientKey;
use crate::core::units::PositiveCount;

/// The keys that a client is counted by: its own, and over IPv6 that of the site it is
/// in. One customer may have a whole site, and each of its networks would count as
/// a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKeys {
    client: ClientKey,
    site: Option<Site>,
}

/// An IPv6 site, and how many clients' worth it has together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) key: ClientKey,
    multiple: PositiveCount,
}

impl Site {
    pub(super) fn new(key: ClientKey, multiple: PositiveCount) -> Self {
        Self { key, multiple }
    }

    /// What it may have where one client may have `most`.
    pub(super) fn most(self, most: PositiveCount) -> u32 {
        most.times(self.multiple).get()
    }
}

impl ClientKeys {
    pub(super) fn new(client: ClientKey, site: Option<Site>) -> Self {
        Self { client, site }
    }

    /// Its own.
    pub fn client(self) -> ClientKey {
        self.client
    }

    /// That of its site, if it is in one, else its own: for what few clients could use
    /// up, such as processes of an application.
    pub fn widest(self) -> ClientKey {
        self.site.map_or(self.client, |site| site.key)
    }

    pub(super) fn site(self) -> Option<Site> {
        self.site
    }
}

/// Without a site.
impl From<ClientKey> for ClientKeys {
    fn from(client: ClientKey) -> Self {
        Self::new(client, None)
    }
}
