//! Where the app listens, as `config.toml` writes it.

use std::fmt;
use std::path::PathBuf;

use hyper::http::uri::Authority;
use serde::{Deserialize, Deserializer, de};

/// `http://host:port` or `unix:/path/to.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Target {
    /// A TCP peer by name or address; the port is always there.
    Tcp(Authority),
    /// A Unix socket by absolute path.
    Unix(PathBuf),
}

impl Target {
    /// The `Host` of what the edge asks for itself.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Tcp(authority) => authority.as_str(),
            Self::Unix(_) => "localhost",
        }
    }
}

impl Default for Target {
    fn default() -> Self {
        Self::Tcp(Authority::from_static("127.0.0.1:8000"))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err(format!("{text:?} has no absolute path; {WANTED}")),
            };
        }
        let Some(rest) = text.strip_prefix("http://") else {
            let hint = match text.starts_with("https://") {
                true => "the edge speaks plain HTTP to an app on this machine",
                false => "no scheme that is known here",
            };
            return Err(format!("{text:?}: {hint}; {WANTED}"));
        };
        match rest.trim_end_matches('/').parse::<Authority>() {
            Ok(authority) if authority.as_str().contains('@') => {
                Err(format!("user name and password are not sent; {WANTED}"))
            }
            Ok(authority) if authority.port_u16().is_none() => {
                Err(format!("{text:?} names no port; {WANTED}"))
            }
            Ok(authority) => Ok(Self::Tcp(authority)),
            Err(_) => Err(format!("{text:?} is more than a host and a port; {WANTED}")),
        }
    }
}

/// The servers of one app: 1 to [`Targets::MOST`], each once. Written as one text
/// or as a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets(Vec<Target>);

impl Targets {
    /// The most servers that one app may have.
    pub const MOST: usize = 64;

    /// The servers, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Target> {
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
        match targets.len() {
            1..=Self::MOST => Ok(Self(targets)),
            0 => Err(format!("no server is named; {WANTED}")),
            _ => Err(format!("more than {} servers are named", Self::MOST)),
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

const WANTED: &str = r#"expected "http://127.0.0.1:8000" or "unix:/run/app.sock""#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_back() {
        for text in [
            "http://127.0.0.1:8000",
            "http://[::1]:80",
            "unix:/run/app.sock",
        ] {
            assert_eq!(Target::try_from(text.to_owned()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in [
            "",
            "127.0.0.1:8000",
            "https://127.0.0.1",
            "http://127.0.0.1",
            "http://host:80/path",
            "http://u:p@host:80",
            "unix:app.sock",
            "http://host:99999",
        ] {
            assert!(Target::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn servers_are_one_text_or_a_list_without_doubles() {
        let read = |json: &str| serde_json::from_str::<Targets>(json).map(|all| all.to_string());
        assert_eq!(read(r#""unix:/a""#).unwrap(), "unix:/a");
        let two = read(r#"["unix:/a", "http://b:1"]"#).unwrap();
        assert_eq!(two, "unix:/a, http://b:1");
        for wrong in ["[]", "7", r#"["unix:/a", "unix:/a"]"#, r#"["b:1"]"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let many: Vec<_> = (0..65).map(|n| format!("unix:/{n}")).collect();
        assert!(read(&serde_json::to_string(&many).unwrap()).is_err());
    }
}
