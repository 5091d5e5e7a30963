//! Addresses that cannot be bound beside each other.

use std::net::{IpAddr, SocketAddr};

/// Returns whether two sockets of the edge cannot listen on both addresses: they have the same
/// port, and one IP address includes the other.
///
/// `[::]` includes every IPv4 address, because the edge opens it without `IPV6_V6ONLY`. Port 0
/// conflicts with nothing, because the kernel chooses a free port for it.
pub(crate) fn is_conflict(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.port() != 0 && (includes(a, b) || includes(b, a))
}

/// Returns whether a socket on `wide` receives the connections to the IP address of `narrow`.
fn includes(wide: SocketAddr, narrow: SocketAddr) -> bool {
    match wide.ip().to_canonical() {
        IpAddr::V6(ip) if ip.is_unspecified() => true,
        IpAddr::V4(ip) if ip.is_unspecified() => narrow.ip().to_canonical().is_ipv4(),
        ip => ip == narrow.ip().to_canonical() && scope(wide) == scope(narrow),
    }
}

/// Returns the interface of a link-local address, or 0.
fn scope(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_conflicts_with_one_that_includes_it_on_the_same_port() {
        let conflict = |a: &str, b: &str| {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(is_conflict(a, b), is_conflict(b, a), "{a} {b}");
            is_conflict(a, b)
        };
        for (a, b) in [
            ("[::]:443", "[::]:443"),
            ("[::]:443", "0.0.0.0:443"),
            ("[::]:443", "192.0.2.1:443"),
            ("[::]:443", "[2001:db8::1]:443"),
            ("0.0.0.0:443", "127.0.0.1:443"),
            ("127.0.0.1:443", "[::ffff:127.0.0.1]:443"),
            ("[fe80::1%2]:443", "[fe80::1%2]:443"),
        ] {
            assert!(conflict(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("[::]:443", "0.0.0.0:80"),
            ("0.0.0.0:443", "[::1]:443"),
            ("127.0.0.1:443", "127.0.0.2:443"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[fe80::1%2]:443", "[fe80::1%3]:443"),
        ] {
            assert!(!conflict(a, b), "{a} {b}");
        }
    }
}
