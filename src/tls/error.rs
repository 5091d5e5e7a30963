//! Errors of certificates and keys. Each names the file, its key in `config.toml`, and a
//! cure.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A file, and the key in `config.toml` that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOrigin {
    /// The path of the file.
    pub path: PathBuf,
    /// The key, such as `tls.certificate`.
    pub key: String,
}

impl fmt::Display for FileOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "{path} ({})", self.key)
    }
}

/// The reason why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is missing, is a directory, or is not readable for the edge's user.
    #[error("cannot read {place}; {}", advice(.source))]
    Read {
        /// The file, and the key that names it.
        place: FileOrigin,
        /// The system's error.
        source: io::Error,
    },
    /// The file was read, but its contents are unusable.
    #[error("{place} {problem}")]
    Invalid {
        /// The file, and the key that names it.
        place: FileOrigin,
        /// The problem of its contents.
        problem: PemProblem,
    },
    /// Certificate and key are both valid, but do not belong together.
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
    /// The CAs of client certificates are unusable.
    #[error("{place} holds no usable authority; expected certificates of CAs in PEM form")]
    Authorities {
        /// The file, and the key that names it.
        place: FileOrigin,
        /// The error of the parser or of rustls.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No certificate covers a name of `tls.hosts`.
    #[error(
        "no certificate is for {host} (tls.hosts); there are: {names}; \
         get one that has the name, or correct tls.hosts"
    )]
    Uncovered {
        /// The name of `tls.hosts` that is missing.
        host: String,
        /// The names in the certificates.
        names: String,
    },
}

/// A problem of the contents of a file, in a form that follows the file's name.
#[derive(Debug, thiserror::Error)]
pub enum PemProblem {
    /// The file holds no item of the expected kind.
    #[error("holds no {what} in PEM form; expected a line \"-----BEGIN {label}-----\"")]
    Empty {
        /// The expected kind of item.
        what: &'static str,
        /// The PEM label of that kind.
        label: &'static str,
    },
    /// The file is not valid PEM.
    #[error("is not valid PEM: {0}; copy the file again")]
    Broken(&'static str),
    /// A certificate in the file is malformed; counted from 1.
    #[error("holds a certificate that cannot be parsed (no. {0} in the file); copy the file again")]
    Unreadable(usize),
    /// The certificate has X.509 version 1 or 2.
    #[error(
        "holds a certificate of an old X.509 version; version 3 is needed: issue it again with \
         the extension subjectAltName, which names the site"
    )]
    OldVersion,
    /// The certificate is not fit for TLS.
    #[error("holds a certificate that cannot be used: {0}; get another from the CA")]
    UselessCertificate(String),
    /// The key is encrypted with a password.
    #[error(
        "holds a key that is locked with a password, which the edge cannot ask for; \
         unlock it with `openssl pkey -in … -out …`"
    )]
    Locked,
    /// The key has a type or size that TLS does not support.
    #[error(
        "holds a key that cannot be used: {0}; expected ECDSA, RSA (2048 bits or more) or Ed25519"
    )]
    UselessKey(String),
    /// An intermediate certificate is missing in the chain.
    #[error(
        "lacks the intermediate certificate \"{issuer}\", which issued \"{subject}\"; \
         put it behind that one (the CA offers a \"full chain\")"
    )]
    Gap {
        /// The certificate whose issuer is missing.
        subject: String,
        /// The subject of the missing certificate.
        issuer: String,
    },
    /// The chain is complete, but in the wrong order.
    #[error(
        "has its certificates in the wrong order: behind \"{subject}\" its issuer \"{issuer}\" \
         must come; the site's own is the first"
    )]
    Disorder {
        /// The certificate that is not followed by its issuer.
        subject: String,
        /// The issuer that should follow.
        issuer: String,
    },
    /// The certificate has expired.
    #[error(
        "expired at {ended}, and it is {now} by this machine's clock; renew it, or set the clock"
    )]
    Expired {
        /// The end of its validity.
        ended: String,
        /// The current time.
        now: String,
    },
    /// The certificate is not valid yet.
    #[error(
        "is valid from {begins} only, and it is {now} by this machine's clock; \
         most likely the clock is wrong: set it"
    )]
    NotYet {
        /// The start of its validity.
        begins: String,
        /// The current time.
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
