//! The keys under which limits count a client.

use crate::core::client_ip::ClientKey;
use crate::core::units::PositiveCount;

/// The keys of one client: its own, and over IPv6 also that of its site. A site is a network
/// such as a /48 that one customer may own; without its own limit, each of its networks
/// would count as a separate client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientKeys {
    client: ClientKey,
    site: Option<Site>,
}

/// An IPv6 site. All its clients together may use `multiple` times the limit of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) key: ClientKey,
    multiple: PositiveCount,
}

impl Site {
    /// Creates a site with its key.
    pub(super) fn new(key: ClientKey, multiple: PositiveCount) -> Self {
        Self { key, multiple }
    }

    /// Returns the limit of the site where that of one client is `most`.
    pub(super) fn most(self, most: PositiveCount) -> u32 {
        most.times(self.multiple).get()
    }
}

impl ClientKeys {
    /// Creates the keys of a client.
    pub(super) fn new(client: ClientKey, site: Option<Site>) -> Self {
        Self { client, site }
    }

    /// Returns the client's own key.
    pub(crate) fn client(self) -> ClientKey {
        self.client
    }

    /// Returns the key of the site, or the client's own without one. It serves resources
    /// that a few clients could exhaust, such as the processes of an application.
    pub(crate) fn widest(self) -> ClientKey {
        self.site.map_or(self.client, |site| site.key)
    }

    /// Returns the site, if the client is counted by one.
    pub(super) fn site(self) -> Option<Site> {
        self.site
    }
}

/// Returns keys without a site.
impl From<ClientKey> for ClientKeys {
    fn from(client: ClientKey) -> Self {
        Self::new(client, None)
    }
}
