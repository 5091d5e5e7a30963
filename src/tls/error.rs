//! What can be wrong with a certificate or its key: each says the file, the key
//! in `config.toml` that names it, and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A file, and where `config.toml` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOrigin {
    /// The file.
    pub path: PathBuf,
    /// The key, such as `tls.certificate`.
    pub key: String,
}

impl fmt::Display for FileOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "{path} ({} in config.toml)", self.key)
    }
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there, is a directory, or is not readable for us.
    #[error("cannot read {place}; {}", advice(.source))]
    Read {
        /// The file.
        place: FileOrigin,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read and is of no use.
    #[error("{place} {flaw}")]
    Flawed {
        /// The file.
        place: FileOrigin,
        /// What is wrong with it.
        flaw: CertificateFlaw,
    },
    /// Both are well, but not for each other.
    #[error(
        "the private key {key} does not belong to the certificate {certificate}; \
         name the pair that was issued together"
    )]
    Mismatch {
        /// The certificate file.
        certificate: FileOrigin,
        /// The key file.
        key: FileOrigin,
    },
    /// The authorities of client certificates.
    #[error("{place} holds no usable authority; expected certificates of CAs in PEM form")]
    Authorities {
        /// The file.
        place: FileOrigin,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A name that the site is reached by is in no certificate.
    #[error(
        "no certificate is for {host} (tls.hosts in config.toml); there are: {names}; \
         get one that has the name, or correct tls.hosts"
    )]
    Uncovered {
        /// The name.
        host: String,
        /// The names that there are.
        names: String,
    },
}

/// What is wrong inside a file.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFlaw {
    /// Nothing of the kind is in it.
    #[error("holds no {what} in PEM form; expected a line \"-----BEGIN {label}-----\"")]
    Empty {
        /// What was looked for.
        what: &'static str,
        /// Its PEM label.
        label: &'static str,
    },
    /// It is no PEM.
    #[error("is not valid PEM: {0}; copy the file again")]
    Broken(&'static str),
    /// It is PEM, but what is in it is not what the label says.
    #[error("holds a certificate that cannot be parsed (no. {0} in the file); copy the file again")]
    Unreadable(usize),
    /// A key that needs a password.
    #[error(
        "holds a key that is locked with a password, and nobody is there to type it; \
         unlock it with `openssl pkey -in … -out …`"
    )]
    Locked,
    /// A key of a kind that TLS here does not know.
    #[error(
        "holds a key that cannot be used: {0}; expected ECDSA, RSA (2048 bits or more) or Ed25519"
    )]
    UselessKey(String),
    /// The chain has a hole.
    #[error(
        "lacks the intermediate certificate \"{issuer}\", which issued \"{subject}\"; \
         put it behind that one (the CA offers a \"full chain\")"
    )]
    Gap {
        /// The certificate whose issuer is not there.
        subject: String,
        /// The issuer.
        issuer: String,
    },
    /// All is there, but in another order.
    #[error(
        "has its certificates in the wrong order: behind \"{subject}\" its issuer \"{issuer}\" \
         must come; the site's own is the first"
    )]
    Disorder {
        /// The certificate that another one follows.
        subject: String,
        /// The one that should.
        issuer: String,
    },
    /// Too old.
    #[error(
        "expired at {ended}, and it is {now} by this machine's clock; renew it, or set the clock"
    )]
    Expired {
        /// When it ended.
        ended: String,
        /// The clock.
        now: String,
    },
    /// Too new.
    #[error(
        "is valid from {begins} only, and it is {now} by this machine's clock; \
         most likely the clock is wrong: set it"
    )]
    NotYet {
        /// When it begins.
        begins: String,
        /// The clock.
        now: String,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "put it there, or correct the path",
        io::ErrorKind::PermissionDenied => "let the user that runs pwd-edge read it",
        io::ErrorKind::IsADirectory => "name the file in that directory",
        _ => "expected a readable file in PEM form",
    }
}
