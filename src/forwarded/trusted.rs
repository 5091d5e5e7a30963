//! Trusted proxies: the networks of `server.trusted_proxies`, and the client's address
//! behind them.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{HeaderMap, HeaderName};
use serde::Deserialize;

use crate::core::client_ip::{ClientIp, Network};
use crate::core::header_values::single_text;

/// Proxies whose `X-Forwarded-*` headers are trusted, written as networks and the presets
/// `cloudflare` and `private`. None by default.
#[derive(Clone, Debug, PartialEq, Default, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct TrustedProxies {
    networks: Vec<Network>,
    /// The networks of Cloudflare, whose `CF-Connecting-IP` is trusted as well.
    cloudflare: Vec<Network>,
}

impl TrustedProxies {
    /// Returns whether no proxy is trusted.
    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.cloudflare.is_empty()
    }

    /// Returns whether `peer` is a trusted proxy.
    pub(crate) fn trusts(&self, peer: ClientIp) -> bool {
        let mut networks = self.networks.iter().chain(&self.cloudflare);
        networks.any(|network| network.contains(peer))
    }

    /// Returns whether `peer` is trusted as a proxy of Cloudflare.
    pub(super) fn is_cloudflare(&self, peer: ClientIp) -> bool {
        self.cloudflare.iter().any(|network| network.contains(peer))
    }

    /// Returns whether proxies other than those of Cloudflare are trusted.
    pub(crate) fn has_non_cloudflare(&self) -> bool {
        !self.networks.is_empty()
    }

    /// Returns the client behind `peer`, which is `peer` itself unless it is trusted.
    ///
    /// With `use_hops` this reads `X-Forwarded-For` from the right and skips trusted
    /// proxies. The first other address is the client; anything left of it could be
    /// spoofed. An address that cannot be parsed ends the search at the last one before it.
    pub(crate) fn find_client(
        &self,
        peer: ClientIp,
        headers: &HeaderMap,
        use_hops: bool,
    ) -> ClientIp {
        if !self.trusts(peer) {
            return peer;
        }
        if self.is_cloudflare(peer)
            && let Some(client) = single_text(headers, &CF_CONNECTING_IP).and_then(parse_address)
        {
            return client;
        }
        if !use_hops {
            return peer;
        }
        let mut client = peer;
        let lines = headers.get_all(&X_FORWARDED_FOR).iter().rev();
        for line in lines {
            let hops = line.to_str().unwrap_or_default().rsplit(',').map(str::trim);
            // Empty elements of a list mean nothing (RFC 9110 §5.6.1).
            for hop in hops.filter(|hop| !hop.is_empty()) {
                let Some(hop) = parse_address(hop) else {
                    return client;
                };
                client = hop;
                if !self.trusts(hop) {
                    return client;
                }
            }
        }
        client
    }
}

impl TryFrom<Vec<String>> for TrustedProxies {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let mut trusted = Self::default();
        for text in texts {
            match text.as_str() {
                "cloudflare" => {
                    trusted.cloudflare = CLOUDFLARE_NETWORKS.iter().map(preset_network).collect()
                }
                "private" => trusted
                    .networks
                    .extend(PRIVATE_NETWORKS.iter().map(preset_network)),
                _ => trusted.networks.push(parse_network(text)?),
            }
        }
        Ok(trusted)
    }
}

fn parse_network(text: String) -> Result<Network, String> {
    let with_presets = |error| format!("{error}, or \"cloudflare\" or \"private\"");
    let network = Network::try_from(text.clone()).map_err(with_presets)?;
    if network.is_unrestricted() {
        Err(format!(
            "{text:?} is every address: then any client could claim any address"
        ))
    } else {
        Ok(network)
    }
}

fn preset_network(text: &&str) -> Network {
    Network::try_from((*text).to_owned()).expect("the presets are valid networks")
}

/// Parses an address, with or without a port or brackets.
fn parse_address(text: &str) -> Option<ClientIp> {
    let without_brackets = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    without_brackets
        .unwrap_or(text)
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .map(ClientIp::new)
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const CF_CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");

/// Loopback, private and link-local networks (RFC 1918, RFC 3927, RFC 4193, RFC 4291).
const PRIVATE_NETWORKS: [&str; 8] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// The list of <https://www.cloudflare.com/ips/>, which has not changed since 2023.
const CLOUDFLARE_NETWORKS: [&str; 22] = [
    "173.245.48.0/20",
    "103.21.244.0/22",
    "103.22.200.0/22",
    "103.31.4.0/22",
    "141.101.64.0/18",
    "108.162.192.0/18",
    "190.93.240.0/20",
    "188.114.96.0/20",
    "197.234.240.0/22",
    "198.41.128.0/17",
    "162.158.0.0/15",
    "104.16.0.0/13",
    "104.24.0.0/14",
    "172.64.0.0/13",
    "131.0.72.0/22",
    "2400:cb00::/32",
    "2606:4700::/32",
    "2803:f800::/32",
    "2405:b500::/32",
    "2405:8100::/32",
    "2a06:98c0::/29",
    "2c0f:f248::/32",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(texts: &[&str]) -> TrustedProxies {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        TrustedProxies::try_from(texts).unwrap()
    }

    fn client(proxies: &[&str], peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, hyper::header::HeaderValue::from_static(value));
        }
        let peer = ClientIp::new(peer.parse().unwrap());
        trusted(proxies).find_client(peer, &map, true).to_string()
    }

    #[test]
    fn untrusted_peer_is_the_client_itself() {
        let headers = [
            ("x-forwarded-for", "1.2.3.4"),
            ("cf-connecting-ip", "1.2.3.4"),
        ];
        assert_eq!(client(&[], "192.0.2.1", &headers), "192.0.2.1");
        assert_eq!(client(&["private"], "192.0.2.1", &headers), "192.0.2.1");
        assert_eq!(client(&["cloudflare"], "192.0.2.1", &headers), "192.0.2.1");
    }

    #[test]
    fn client_is_the_rightmost_untrusted_address() {
        let find = |headers| client(&["10.0.0.0/8"], "10.0.0.1", &[("x-forwarded-for", headers)]);
        assert_eq!(find("6.6.6.6, 192.0.2.9, 10.0.0.7"), "192.0.2.9");
        assert_eq!(find("6.6.6.6,192.0.2.9:4711"), "192.0.2.9");
        assert_eq!(find("[2001:db8::1]:4711, 10.0.0.7"), "2001:db8::1");
        assert_eq!(find("::ffff:192.0.2.9"), "192.0.2.9");
        // Only proxies, as for the health checks of a proxy itself.
        assert_eq!(find("10.0.0.8, 10.0.0.7"), "10.0.0.8");
        assert_eq!(find("192.0.2.9, unknown, 10.0.0.7"), "10.0.0.7");
        assert_eq!(find(""), "10.0.0.1");
        assert_eq!(find("6.6.6.6, 192.0.2.9, , 10.0.0.7,"), "192.0.2.9");
        let lines = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "192.0.2.9"),
        ];
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &lines), "192.0.2.9");
        let lines = [("x-forwarded-for", "192.0.2.9"), ("x-forwarded-for", "")];
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &lines), "192.0.2.9");
    }

    #[test]
    fn cloudflare_peer_names_the_client_in_cf_connecting_ip() {
        let headers = [
            ("cf-connecting-ip", "192.0.2.9"),
            ("x-forwarded-for", "6.6.6.6"),
        ];
        assert_eq!(
            client(&["cloudflare"], "173.245.48.5", &headers),
            "192.0.2.9"
        );
        // Another proxy of ours is not Cloudflare.
        assert_eq!(
            client(&["cloudflare", "private"], "10.0.0.1", &headers),
            "6.6.6.6"
        );
        let twice = [
            ("cf-connecting-ip", "1.1.1.1"),
            ("cf-connecting-ip", "192.0.2.9"),
        ];
        assert_eq!(
            client(&["cloudflare"], "173.245.48.5", &twice),
            "173.245.48.5"
        );
    }

    #[test]
    fn invalid_trusted_proxy_is_rejected() {
        for wrong in [
            "",
            "10.0.0.1/8",
            "0.0.0.0/0",
            "::/0",
            "cloudfare",
            "10.0.0.0/33",
        ] {
            let texts = vec![wrong.to_owned()];
            assert!(TrustedProxies::try_from(texts).is_err(), "{wrong}");
        }
        assert!(!trusted(&["2001:db8::1"]).is_empty());
    }
}
