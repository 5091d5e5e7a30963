//! Errors of certificates and keys. Each names the file, its key in `config.toml`, and a
//! cure.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use super::certificate_info::format_date;

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
    #[error("is not valid PEM: line {line}: {problem}")]
    Broken {
        /// The line at fault, from 1.
        line: usize,
        /// The problem, and its cure.
        problem: &'static str,
    },
    /// The file has a block of a kind that the edge would have to skip.
    #[error("has a block \"{label}\" in line {line}, which the edge does not read; {cure}")]
    UnknownBlock {
        /// The label of the block.
        label: String,
        /// The line in which it begins, from 1.
        line: usize,
        /// The cure.
        cure: &'static str,
    },
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
    /// None of the other certificates issued the site's own.
    #[error(
        "lacks \"{issuer}\", which issued \"{subject}\"; put it behind that one (the CA offers a \
         \"full chain\"), or remove the others if clients know it"
    )]
    Gap {
        /// The site's own certificate.
        subject: String,
        /// The subject of the missing certificate.
        issuer: String,
    },
    /// Another certificate than the first belongs to the key.
    #[error("has the site's own certificate as no. {number} in the file; it must be the first")]
    SiteNotFirst {
        /// The position of the certificate that belongs to the key, from 1.
        number: usize,
    },
    /// A certificate has expired.
    #[error(
        "{}expired at {}, and it is {} by this machine's clock; renew it, or set the clock",
        part_of_chain(.issuer.as_deref()), format_date(*.ended), format_date(*.now)
    )]
    Expired {
        /// The subject of the certificate, unless it is the site's own.
        issuer: Option<String>,
        /// The end of its validity.
        ended: SystemTime,
        /// The current time.
        now: SystemTime,
    },
    /// A certificate is not valid yet.
    #[error(
        "{}is valid from {} only, and it is {} by this machine's clock; \
         most likely the clock is wrong: set it",
        part_of_chain(.issuer.as_deref()), format_date(*.begins), format_date(*.now)
    )]
    NotYet {
        /// The subject of the certificate, unless it is the site's own.
        issuer: Option<String>,
        /// The start of its validity.
        begins: SystemTime,
        /// The current time.
        now: SystemTime,
    },
}

/// Returns the begin of a sentence about another certificate than the site's own.
fn part_of_chain(issuer: Option<&str>) -> String {
    issuer.map_or_else(String::new, |issuer| {
        format!("has \"{issuer}\" in its chain, which ")
    })
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "put it there, or correct the path",
        io::ErrorKind::PermissionDenied => "let the user that runs pwd-edge read it",
        io::ErrorKind::IsADirectory => "name the file in that directory",
        _ => "expected a readable file in PEM form",
    }
}
