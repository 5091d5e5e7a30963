//! The addresses and protocols of an app's servers, as `config.toml` writes them.

use std::fmt;
use std::path::PathBuf;

use hyper::http::uri::Authority;
use serde::{Deserialize, Deserializer, de};

use crate::core::socket_path;

/// A server of an app, written as `http://host:port`, `unix:/path/to.sock`,
/// `fastcgi://host:port` or `fastcgi+unix:/path/to.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Target {
    /// The protocol that the server speaks.
    pub(crate) protocol: Protocol,
    /// The address on which the server listens.
    pub(crate) address: Address,
}

/// The protocol between the edge and an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1 without TLS.
    Http,
    /// FastCGI, the protocol of php-fpm.
    FastCgi,
}

/// The address on which a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A TCP host name or IP address, always with a port.
    Tcp(Authority),
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
}

impl Target {
    /// Creates the target of an HTTP server on the Unix socket at `path`.
    pub(crate) fn unix(path: PathBuf) -> Self {
        Self {
            protocol: Protocol::Http,
            address: Address::Unix(path),
        }
    }

    /// Returns the `Host` header for the edge's own requests to the server.
    pub(super) fn host(&self) -> &str {
        match &self.address {
            Address::Tcp(authority) => authority.as_str(),
            Address::Unix(_) => "localhost",
        }
    }
}

impl Default for Target {
    fn default() -> Self {
        Self {
            protocol: Protocol::Http,
            address: Address::Tcp(Authority::from_static("127.0.0.1:8000")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.protocol, &self.address) {
            (Protocol::Http, Address::Tcp(authority)) => write!(f, "http://{authority}"),
            (Protocol::Http, Address::Unix(path)) => write!(f, "unix:{}", path.display()),
            (Protocol::FastCgi, Address::Tcp(authority)) => write!(f, "fastcgi://{authority}"),
            (Protocol::FastCgi, Address::Unix(path)) => {
                write!(f, "fastcgi+unix:{}", path.display())
            }
        }
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let scheme = SCHEMES.into_iter().find_map(|(scheme, protocol, is_unix)| {
            let rest = text.strip_prefix(scheme)?;
            Some((rest, protocol, is_unix))
        });
        let Some((rest, protocol, is_unix)) = scheme else {
            let hint = if text.starts_with("https://") {
                "the edge speaks plain HTTP to an app on this machine"
            } else {
                "no scheme that is known here"
            };
            let (http, fastcgi) = (expected(Protocol::Http), expected(Protocol::FastCgi));
            return Err(format!("{text:?}: {hint}; {http}; for php-fpm, {fastcgi}"));
        };
        let wanted = expected(protocol);
        let address = if is_unix {
            Address::Unix(socket(&text, rest, protocol)?)
        } else {
            Address::Tcp(authority(&text, rest, wanted)?)
        };
        Ok(Self { protocol, address })
    }
}

/// Checks the `path` of a Unix socket that speaks `protocol`; `text` is the whole target.
fn socket(text: &str, path: &str, protocol: Protocol) -> Result<PathBuf, String> {
    let wanted = expected(protocol);
    if !path.starts_with('/') {
        return Err(format!("{text:?} has no absolute path; {wanted}"));
    }
    socket_path::check(path.as_ref()).map_err(|problem| format!("{text:?} {problem}"))?;
    // php-fpm closes a connection that speaks HTTP, so that every request would get 502.
    let name = path.rsplit('/').next().unwrap_or_default();
    if protocol == Protocol::Http && name.starts_with("php") && name.contains("fpm") {
        return Err(format!(
            "{text:?} names a socket of php-fpm, which does not speak HTTP; expected \
             \"fastcgi+{text}\""
        ));
    }
    Ok(path.into())
}

fn authority(text: &str, rest: &str, wanted: &str) -> Result<Authority, String> {
    match rest.trim_end_matches('/').parse::<Authority>() {
        Ok(authority) if authority.as_str().contains('@') => {
            Err(format!("user name and password are not sent; {wanted}"))
        }
        Ok(authority) if authority.port_u16().is_none() => {
            Err(format!("{text:?} names no port; {wanted}"))
        }
        Ok(authority) => Ok(authority),
        Err(_) => Err(format!("{text:?} is more than a host and a port; {wanted}")),
    }
}

/// The prefix of each form of a target, its protocol, and whether it names a Unix socket.
const SCHEMES: [(&str, Protocol, bool); 4] = [
    ("http://", Protocol::Http, false),
    ("unix:", Protocol::Http, true),
    ("fastcgi://", Protocol::FastCgi, false),
    ("fastcgi+unix:", Protocol::FastCgi, true),
];

fn expected(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => r#"expected "http://127.0.0.1:8000" or "unix:/run/app.sock""#,
        Protocol::FastCgi => {
            r#"expected "fastcgi+unix:/run/php/php8.2-fpm.sock" or "fastcgi://127.0.0.1:9000""#
        }
    }
}

/// The servers of one app: 1 to [`Targets::MAX_SERVERS`], without duplicates, all of one
/// protocol. Written as one string or a list of strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Targets(Vec<Target>);

impl Targets {
    /// The maximum number of servers of one app.
    pub(crate) const MAX_SERVERS: usize = 64;

    /// Returns the protocol of all servers.
    pub(crate) fn protocol(&self) -> Protocol {
        self.0.first().map_or(Protocol::Http, |one| one.protocol)
    }

    /// Returns the servers in the order of the configuration.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Target> {
        self.0.iter()
    }
}

impl Default for Targets {
    fn default() -> Self {
        Target::default().into()
    }
}

impl From<Target> for Targets {
    fn from(target: Target) -> Self {
        Self(vec![target])
    }
}

impl TryFrom<Vec<Target>> for Targets {
    type Error = String;

    fn try_from(targets: Vec<Target>) -> Result<Self, String> {
        let mut earlier = targets.iter().enumerate();
        if let Some((_, twice)) = earlier.find(|(at, one)| targets[..*at].contains(one)) {
            return Err(format!("{twice} is named twice"));
        }
        let mut protocols = targets.iter().map(|target| target.protocol);
        let first = protocols.next();
        if protocols.any(|protocol| Some(protocol) != first) {
            return Err("some of these servers speak HTTP and some FastCGI; \
                        the servers of one app speak the same"
                .to_owned());
        }
        match targets.len() {
            1..=Self::MAX_SERVERS => Ok(Self(targets)),
            0 => Err(format!("no server is named; {}", expected(Protocol::Http))),
            _ => Err(format!("more than {} servers are named", Self::MAX_SERVERS)),
        }
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, target) in self.0.iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{target}")?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMore)
    }
}

struct OneOrMore;

impl<'de> de::Visitor<'de> for OneOrMore {
    type Value = Targets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"text such as "http://127.0.0.1:8000", or a list of such"#)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Targets, E> {
        let target = Target::try_from(text.to_owned()).map_err(E::custom)?;
        Ok(target.into())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Targets, A::Error> {
        let mut targets = Vec::new();
        while let Some(target) = list.next_element()? {
            targets.push(target);
        }
        Targets::try_from(targets).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_url_survives_a_round_trip() {
        for text in [
            "http://127.0.0.1:8000",
            "http://[::1]:80",
            "unix:/run/app.sock",
            "fastcgi://127.0.0.1:9000",
            "fastcgi+unix:/run/php/php8.2-fpm.sock",
            "unix:/run/nginx-php-fpm.sock",
            &format!("unix:/{}", "a".repeat(106)),
        ] {
            assert_eq!(Target::try_from(text.to_owned()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn unsupported_target_url_is_rejected() {
        for wrong in [
            "",
            "127.0.0.1:8000",
            "https://127.0.0.1",
            "http://127.0.0.1",
            "http://host:80/path",
            "http://u:p@host:80",
            "unix:app.sock",
            "unix:/run/php/php8.2-fpm.sock",
            &format!("unix:/{}", "a".repeat(107)),
            &format!("fastcgi+unix:/{}", "a".repeat(107)),
            "fastcgi:/run/php/php8.2-fpm.sock",
            "fastcgi+unix:php8.2-fpm.sock",
            "fastcgi://127.0.0.1",
            "http://host:99999",
        ] {
            assert!(Target::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn targets_are_one_url_or_a_list_without_duplicates() {
        let read = |json: &str| serde_json::from_str::<Targets>(json).map(|all| all.to_string());
        assert_eq!(read(r#""unix:/a""#).unwrap(), "unix:/a");
        let two = read(r#"["unix:/a", "http://b:1"]"#).unwrap();
        assert_eq!(two, "unix:/a, http://b:1");
        let mixed = r#"["unix:/a", "fastcgi+unix:/b"]"#;
        for wrong in ["[]", "7", r#"["unix:/a", "unix:/a"]"#, r#"["b:1"]"#, mixed] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let many: Vec<_> = (0..65).map(|n| format!("unix:/{n}")).collect();
        assert!(read(&serde_json::to_string(&many).unwrap()).is_err());
    }
}
