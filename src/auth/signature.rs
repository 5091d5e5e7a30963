//! The signatures of the Pusher protocol. Laravel signs the right of one socket to be in one
//! channel, with a secret that it shares with the edge. So the edge knows the decision without
//! a request.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use serde::Deserialize;

use super::Grant;
use super::channel::{NotAMember, read_member};
use crate::core::ids::{ChannelKind, ChannelName, SessionId};

/// The public name of an application in the Pusher protocol: 1 to 64 letters, digits, `-` and
/// `_`. It is a part of the URL that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct KeyName(Box<str>);

impl KeyName {
    /// Returns the name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=64).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(Self(text.into()))
        } else {
            Err(format!(
                "{text:?} is no key; expected 1 to 64 letters, digits, \"-\" and \"_\", the same as \
                 REVERB_APP_KEY or PUSHER_APP_KEY of the application"
            ))
        }
    }
}

/// The name of an application and its secret. Its `Debug` output does not contain the secret.
pub(crate) struct AppKey {
    name: KeyName,
    secret: Box<str>,
    hmac_key: hmac::Key,
}

/// The reason why the edge cannot use a file with a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("pusher.secret_file: cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// Every user of the machine may read or change the file.
    #[error(
        "pusher.secret_file: every user of this machine may read or change {path}; run \
         `chmod o= {path}`",
        path = .0.display()
    )]
    Exposed(PathBuf),
    /// The file does not contain a secret.
    #[error(
        "pusher.secret_file: {} must contain the secret alone, 1 to 256 visible ASCII characters in \
         one line, the same as REVERB_APP_SECRET or PUSHER_APP_SECRET of the application",
        .0.display()
    )]
    Invalid(PathBuf),
}

/// The reason why a signature is not accepted. `Display` is for the developer of the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    /// The channel is not public, and there is no signature.
    #[error("this channel needs an auth value of the application")]
    Missing,
    /// The value is no key and signature.
    #[error("auth is not a key, a colon and 64 hexadecimal digits")]
    Malformed,
    /// The value names another key.
    #[error("auth is of another application key")]
    OtherKey,
    /// The signature is of something else, or made with another secret.
    #[error(
        "the signature does not fit this socket, channel and channel_data; or the secrets differ"
    )]
    Wrong,
    /// The user of a presence channel is missing.
    #[error(transparent)]
    Member(#[from] NotAMember),
}

impl SignatureError {
    /// Returns the reason's code, for the log.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Missing => "auth_missing",
            Self::Malformed => "auth_malformed",
            Self::OtherKey => "other_key",
            Self::Wrong => "wrong_signature",
            Self::Member(NotAMember::NoUser) => "no_user",
            Self::Member(NotAMember::TooLong) => "user_info_too_long",
        }
    }
}

/// The right that a client claims to have: what Laravel has signed, and the signature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    /// The socket of the client that Laravel's response was for.
    pub(crate) socket: SessionId,
    /// The channel.
    pub(crate) channel: &'a ChannelName,
    /// The `auth` of Laravel's response.
    pub(crate) auth: Option<&'a str>,
    /// The `channel_data` of Laravel's response, byte for byte.
    pub(crate) channel_data: Option<&'a str>,
}

impl AppKey {
    /// Reads the secret of the application `name` from `file`. Blocks.
    ///
    /// # Errors
    /// `Read` if it is no readable file, `Exposed` if its mode admits every user of the machine,
    /// `Invalid` for other content than a secret.
    pub(crate) fn load(name: KeyName, file: &Path) -> Result<Self, SecretError> {
        let unreadable = |error| SecretError::Read(file.to_owned(), error);
        let metadata = std::fs::metadata(file).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::other("it is no file")));
        }
        if metadata.mode() & OTHERS_MASK != 0 {
            return Err(SecretError::Exposed(file.to_owned()));
        }
        let mut text = String::new();
        File::open(file)
            .and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text))
            .map_err(unreadable)?;
        let secret = text.trim_end_matches(['\r', '\n']);
        let is_valid =
            (1..=256).contains(&secret.len()) && secret.bytes().all(|b| b.is_ascii_graphic());
        if is_valid {
            Ok(Self::new(name, secret))
        } else {
            Err(SecretError::Invalid(file.to_owned()))
        }
    }

    fn new(name: KeyName, secret: &str) -> Self {
        Self {
            name,
            secret: secret.into(),
            hmac_key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
        }
    }

    /// Returns the name of the application.
    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Returns the right that `claim` proves. A public channel needs no proof.
    ///
    /// # Errors
    /// Any variant of [`SignatureError`].
    pub(crate) fn authorize(&self, claim: Claim<'_>) -> Result<Grant, SignatureError> {
        let channel = claim.channel;
        let kind = channel.kind();
        if kind == ChannelKind::Public {
            return Ok(Grant::signed(channel.clone(), None));
        }
        let auth = claim
            .auth
            .filter(|auth| !auth.is_empty())
            .ok_or(SignatureError::Missing)?;
        let socket = claim.socket.to_string();
        // Laravel signs the user of a presence channel, and nothing more of a private one.
        let channel_data = claim.channel_data.filter(|_| kind == ChannelKind::Presence);
        let signed = [&*socket, channel.as_str()];
        self.verify(auth, signed.into_iter().chain(channel_data))?;
        let member = match kind {
            ChannelKind::Presence => Some(read_member(channel_data.unwrap_or_default())?),
            ChannelKind::Private | ChannelKind::Public => None,
        };
        Ok(Grant::signed(channel.clone(), member))
    }

    /// Checks that `auth` is the name of this key and its signature of `parts`, joined by
    /// colons. The comparison takes the same time for every wrong signature.
    fn verify<'a>(
        &self,
        auth: &str,
        parts: impl Iterator<Item = &'a str>,
    ) -> Result<(), SignatureError> {
        let (name, signature) = auth.split_once(':').ok_or(SignatureError::Malformed)?;
        if name != self.name() {
            return Err(SignatureError::OtherKey);
        }
        let signature = decode_hex(signature).ok_or(SignatureError::Malformed)?;
        let signed = parts.collect::<Vec<_>>().join(":");
        hmac::verify(&self.hmac_key, signed.as_bytes(), &signature)
            .map_err(|_| SignatureError::Wrong)
    }
}

/// Tells whether a reload has changed it.
impl PartialEq for AppKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.secret) == (&other.name, &other.secret)
    }
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppKey")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Returns the 32 bytes in 64 hexadecimal digits.
fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|n| u8::try_from(n).ok())
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// The mode bits of users that are neither the owner nor in the group of a file.
const OTHERS_MASK: u32 = 0o007;
/// More than any secret has.
const MAX_FILE_BYTES: u64 = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn app() -> AppKey {
        AppKey::new(KeyName("key".into()), "secret")
    }

    fn authorize(
        socket: &str,
        channel: &str,
        auth: &str,
        channel_data: Option<&str>,
    ) -> Result<Grant, SignatureError> {
        let channel: ChannelName = channel.parse().unwrap();
        app().authorize(Claim {
            socket: socket.parse().unwrap(),
            channel: &channel,
            auth: Some(auth),
            channel_data,
        })
    }

    fn sign(text: &str) -> String {
        let tag = hmac::sign(&app().hmac_key, text.as_bytes());
        let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        format!("key:{hex}")
    }

    /// The value is Laravel's own, of `PusherBroadcaster::validAuthenticationResponse`.
    const LARAVEL: &str = "key:7b6fb3b9dc5a644f541bf0b5ac76e8f901588db4141826a9d796431271cbe876";

    #[test]
    fn signature_of_laravel_grants_its_socket_and_channel_only() {
        let granted = |socket, channel, auth| authorize(socket, channel, auth, None).map(drop);
        assert_eq!(granted("1.2", "private-ticket.1", LARAVEL), Ok(()));
        let wrong = Err(SignatureError::Wrong);
        assert_eq!(granted("1.3", "private-ticket.1", LARAVEL), wrong);
        assert_eq!(granted("1.2", "private-ticket.2", LARAVEL), wrong);
        let longer = sign("1.2:private-ticket.1:{}");
        let with_data = authorize("1.2", "private-ticket.1", &longer, Some("{}"));
        assert_eq!(with_data.map(drop), wrong);
        let other_key = LARAVEL.replacen("key", "kex", 1);
        assert_eq!(
            granted("1.2", "private-ticket.1", &other_key),
            Err(SignatureError::OtherKey)
        );
        for malformed in ["x", "key", "key:", &LARAVEL[..LARAVEL.len() - 1], "key:é"] {
            assert_eq!(
                granted("1.2", "private-ticket.1", malformed),
                Err(SignatureError::Malformed),
                "{malformed}"
            );
        }
        assert_eq!(
            granted("1.2", "private-ticket.1", ""),
            Err(SignatureError::Missing)
        );
        assert_eq!(granted("1.2", "news", ""), Ok(()));
    }

    #[test]
    fn presence_channel_needs_a_signed_user() {
        let granted = |data: &str| {
            let auth = sign(&format!("1.2:presence-a:{data}"));
            authorize("1.2", "presence-a", &auth, Some(data))
        };
        let grant = granted(r#"{"user_id":42,"user_info":{"name":"Ana ñ€😀"}}"#).unwrap();
        assert_eq!(grant.user().unwrap().id().to_string(), "42");
        assert_eq!(grant.signed_id().unwrap().get(), "42");
        let info = grant.user_info().unwrap();
        assert_eq!(info.get(), r#"{"name":"Ana ñ€😀"}"#);
        let no_user = Err(SignatureError::Member(NotAMember::NoUser));
        for wrong in [
            "{}",
            "[]",
            "x",
            "",
            r#"{"user_id":null}"#,
            r#"{"user_id":1.5}"#,
        ] {
            assert_eq!(granted(wrong).map(drop), no_user, "{wrong}");
        }
        let without = authorize("1.2", "presence-a", &sign("1.2:presence-a"), None);
        assert_eq!(without.map(drop), no_user);
        let long = format!(r#"{{"user_id":1,"user_info":"{}"}}"#, "x".repeat(2047));
        let too_long = Err(SignatureError::Member(NotAMember::TooLong));
        assert_eq!(granted(&long).map(drop), too_long);
    }

    #[test]
    fn secret_file_that_others_may_read_is_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        let load = |text: &str, mode| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            AppKey::load(KeyName("key".into()), &file)
        };
        assert!(load("secret\n", 0o640).is_ok());
        assert!(matches!(
            load("secret\n", 0o644),
            Err(SecretError::Exposed(_))
        ));
        for text in ["", "\n", "a b", "a\nb\n", &"x".repeat(257)] {
            assert!(
                matches!(load(text, 0o600), Err(SecretError::Invalid(_))),
                "{text:?}"
            );
        }
        let none = AppKey::load(KeyName("key".into()), directory.path());
        assert!(matches!(none, Err(SecretError::Read(..))));
    }

    #[test]
    fn secret_is_not_in_the_debug_output() {
        assert!(!format!("{:?}", app()).contains("secret\""));
    }
}
