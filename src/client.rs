//! Who is at the other end of a connection, and under which key its use is counted.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A client's address. An IPv4-mapped IPv6 address is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    /// The address as the kernel or a trusted proxy gave it.
    pub fn new(ip: IpAddr) -> Self {
        Self(ip.to_canonical())
    }

    /// The address itself.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// The key that limits count by.
    pub fn key(self) -> ClientKey {
        match self.0 {
            IpAddr::V4(_) => ClientKey(self.0),
            IpAddr::V6(ip) => {
                let network = ip.to_bits() & (u128::MAX << (128 - V6_PREFIX));
                ClientKey(IpAddr::V6(Ipv6Addr::from_bits(network)))
            }
        }
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The network that one client is taken to own: a single IPv4 address, or an
/// IPv6 /64, because one subscriber can use every address of its /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(IpAddr);

const V6_PREFIX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ip: &str) -> ClientKey {
        ClientIp::new(ip.parse().unwrap()).key()
    }

    #[test]
    fn addresses_of_one_64_share_a_key() {
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    }

    #[test]
    fn a_mapped_ipv4_address_is_the_ipv4_address() {
        assert_eq!(key("::ffff:192.0.2.7"), key("192.0.2.7"));
        assert_ne!(key("192.0.2.7"), key("192.0.2.8"));
    }
}
