//! Client addresses, the keys under which limits count them, and networks.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;

/// A client's address. An IPv4-mapped IPv6 address is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    /// Creates a client address from one that the kernel or a trusted proxy reported.
    pub fn new(ip: IpAddr) -> Self {
        Self(ip.to_canonical())
    }

    /// Returns the IP address.
    pub(crate) fn ip(self) -> IpAddr {
        self.0
    }

    /// Returns whether the address is of this machine, of a private network or link-local.
    pub(crate) fn is_private(self) -> bool {
        match self.0 {
            IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
            IpAddr::V6(ip) => {
                ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local()
            }
        }
    }

    /// Returns the key under which limits count this client: the whole IPv4 address, or
    /// the first `ipv6_prefix` bits of an IPv6 address.
    ///
    /// # Panics
    /// Panics in debug builds if `ipv6_prefix` is not from 1 to 128.
    pub fn key(self, ipv6_prefix: u32) -> ClientKey {
        match self.0 {
            IpAddr::V4(_) => ClientKey(self.0),
            IpAddr::V6(ip) => {
                let network = ip.to_bits() & (u128::MAX << (128 - ipv6_prefix));
                ClientKey(IpAddr::V6(Ipv6Addr::from_bits(network)))
            }
        }
    }

    /// Calls `read` with the address as text and returns its result.
    ///
    /// Every request needs the text twice, for Laravel and for the log. The standard library
    /// takes 1 400 instructions to format an IPv4 address, a fortieth of a small request, and
    /// this 360.
    pub(crate) fn with_text<T>(self, read: impl FnOnce(&str) -> T) -> T {
        let IpAddr::V4(address) = self.0 else {
            return read(&self.0.to_string());
        };
        let mut text = String::with_capacity("255.255.255.255.".len());
        for octet in address.octets() {
            text.push_str(itoa::Buffer::new().format(octet));
            text.push('.');
        }
        text.pop();
        read(&text)
    }
}

impl fmt::Display for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.pad(text))
    }
}

/// The network that counts as one client: a single IPv4 address, or an IPv6 network,
/// because one subscriber can use every address of a /64 at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(IpAddr);

/// A network of clients, written as `192.0.2.0/24`, `2001:db8::/56`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Network(IpNet);

impl Network {
    /// Returns whether the network contains `client`.
    pub(crate) fn contains(self, client: ClientIp) -> bool {
        self.0.contains(&client.ip())
    }

    /// Returns whether the network contains every address of its family.
    pub(crate) fn is_unrestricted(self) -> bool {
        self.0.prefix_len() == 0
    }
}

/// Rejects a network with host bits such as `10.0.0.1/8`, since it may mean the address or
/// the network.
impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| {
                format!("{text:?} is not a network; expected one such as \"10.0.0.0/8\"")
            })?,
        };
        // `ClientIp` turns an IPv4-mapped address into IPv4; the network must match it.
        let network = match network {
            IpNet::V6(six) if six.prefix_len() >= 96 => match six.addr().to_ipv4_mapped() {
                Some(four) => Ipv4Net::new(four, six.prefix_len() - 96).map_or(network, IpNet::V4),
                None => network,
            },
            _ => network,
        };
        if network.trunc() == network {
            Ok(Self(network))
        } else {
            Err(format!(
                "{text:?} has bits set after its prefix; did you mean \"{}\"?",
                network.trunc()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ip: &str) -> ClientKey {
        ClientIp::new(ip.parse().unwrap()).key(64)
    }

    #[test]
    fn address_is_formatted_as_std_formats_it() {
        for text in ["0.0.0.0", "9.10.99.100", "255.255.255.255", "2001:db8::1"] {
            let address: IpAddr = text.parse().unwrap();
            let client = ClientIp::new(address);
            assert_eq!(client.to_string(), text);
            assert_eq!(format!("{client:>20}"), format!("{address:>20}"));
        }
    }

    #[test]
    fn mapped_ipv4_network_contains_ipv4_clients() {
        let client = ClientIp::new("203.0.113.7".parse().unwrap());
        for text in [
            "203.0.113.7",
            "::ffff:203.0.113.7",
            "::ffff:203.0.113.0/120",
        ] {
            let network = Network::try_from(text.to_owned()).unwrap();
            assert!(network.contains(client), "{text}");
        }
    }

    #[test]
    fn ipv6_addresses_of_one_64_share_a_key() {
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    }

    #[test]
    fn mapped_ipv4_address_has_the_key_of_the_ipv4_address() {
        assert_eq!(key("::ffff:192.0.2.7"), key("192.0.2.7"));
        assert_ne!(key("192.0.2.7"), key("192.0.2.8"));
    }
}
