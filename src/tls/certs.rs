//! Certificate and key from PEM files, checked when they are loaded so that a
//! wrong one is found at start and not by the first visitor.

use std::io;
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// What is wrong with a certificate or key: the file, the key in `config.toml`
/// that names it, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there, is a directory, or is not readable for us.
    #[error(
        "cannot read {} (tls.{key} in config.toml): {source}; {}", .path.display(), advice(.source)
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The key in `[tls]`.
        key: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds nothing of the kind.
    #[error(
        "{} (tls.{key} in config.toml) holds no {what} in PEM form; expected a line \
         \"-----BEGIN {label}-----\"", .path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
        /// The key in `[tls]`.
        key: &'static str,
        /// What was looked for.
        what: &'static str,
        /// The PEM label looked for.
        label: &'static str,
    },
    /// The file holds something that is broken.
    #[error(
        "{} (tls.{key} in config.toml) is not valid PEM: {reason}; \
         copy the file again", .path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// The key in `[tls]`.
        key: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// Both are well, but not for each other.
    #[error(
        "the private key {} (tls.key in config.toml) does not belong to the certificate {} \
         (tls.certificate): {reason}; name the pair that was issued together",
        .key.display(), .certificate.display()
    )]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What rustls said.
        reason: rustls::Error,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "put it there, or correct the path",
        io::ErrorKind::PermissionDenied => "let the user that runs pwd-edge read it",
        _ => "expected a readable file",
    }
}

/// Reads a certificate chain and its key, and checks that they match.
pub(super) fn load(
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Error> {
    let chain = read_chain(certificate)?;
    let private = read_key(key)?;
    CertifiedKey::from_der(chain, private, provider).map_err(|reason| Error::Mismatch {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        reason,
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path, CERTIFICATE)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| broken(path, CERTIFICATE, &error))?;
    match chain.is_empty() {
        true => Err(Error::Empty {
            path: path.to_owned(),
            key: CERTIFICATE,
            what: "certificate",
            label: "CERTIFICATE",
        }),
        false => Ok(chain),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let pem = read(path, KEY)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        pem::Error::NoItemsFound => Error::Empty {
            path: path.to_owned(),
            key: KEY,
            what: "private key",
            label: "PRIVATE KEY",
        },
        error => broken(path, KEY, &error),
    })
}

fn read(path: &Path, key: &'static str) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        key,
        source,
    })
}

fn broken(path: &Path, key: &'static str, error: &pem::Error) -> Error {
    // The parser's Debug text may quote the line it stumbled over: of a key
    // file only the kind of error may be told.
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "it ends in the middle",
        pem::Error::IllegalSectionStart { .. } => "a \"-----BEGIN\" line is malformed",
        pem::Error::Base64Decode(_) => "its contents are not base64",
        _ => "it cannot be parsed",
    };
    Error::Broken {
        path: path.to_owned(),
        key,
        reason: reason.to_owned(),
    }
}

const CERTIFICATE: &str = "certificate";
const KEY: &str = "key";

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair {
        dir: tempfile::TempDir,
    }

    impl Pair {
        fn write(certificate: &str, key: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("c.pem"), certificate).unwrap();
            std::fs::write(dir.path().join("k.pem"), key).unwrap();
            Self { dir }
        }

        fn load(&self) -> Result<CertifiedKey, Error> {
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            let path = self.dir.path();
            load(&path.join("c.pem"), &path.join("k.pem"), &provider)
        }
    }

    fn issue() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_loads() {
        let (certificate, key) = issue();
        assert!(Pair::write(&certificate, &key).load().is_ok());
    }

    #[test]
    fn a_key_of_another_certificate_is_named() {
        let error = Pair::write(&issue().0, &issue().1).load().unwrap_err();
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    }

    #[test]
    fn empty_files_say_what_was_expected() {
        let (certificate, key) = issue();
        let error = Pair::write("", &key).load().unwrap_err().to_string();
        assert!(error.contains("tls.certificate") && error.contains("BEGIN CERTIFICATE"));
        let error = Pair::write(&certificate, "")
            .load()
            .unwrap_err()
            .to_string();
        assert!(error.contains("tls.key") && error.contains("BEGIN PRIVATE KEY"));
    }

    #[test]
    fn a_broken_key_is_not_quoted() {
        let (certificate, key) = issue();
        let half = &key[..key.len() / 2];
        let error = Pair::write(&certificate, half)
            .load()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("k.pem") && error.contains("ends in the middle"),
            "{error}"
        );
        assert!(!error.contains(&half[40..60]), "{error}");
    }
}
