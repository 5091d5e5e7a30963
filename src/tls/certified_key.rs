//! A certificate with its key, read from PEM files and checked so that a wrong
//! one is found when it is put there and not by the first visitor.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate_info::{CertificateInfo, check_chain};
use super::error::{CertificateFlaw, Error, FileOrigin};
use crate::core::error_chain::error_chain;

/// Where a certificate and its key are.
#[derive(Clone, Debug)]
pub(super) struct KeyPairFiles {
    certificate: FileOrigin,
    key: FileOrigin,
    presence: Presence,
}

/// Whether the files must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Required,
    /// They are ours to make.
    Later,
}

/// What was read from a pair.
#[derive(Debug)]
pub(super) struct LoadedKeyPair {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) info: CertificateInfo,
    /// The file that the certificate came from.
    pub(super) path: PathBuf,
}

impl KeyPairFiles {
    /// A pair that `config.toml` names with keys that begin with `prefix`.
    pub(super) fn new(certificate: &Path, key: &Path, prefix: &str) -> Self {
        let place = |path: &Path, key| FileOrigin {
            path: path.to_owned(),
            key: format!("{prefix}{key}"),
        };
        Self {
            certificate: place(certificate, "certificate"),
            key: place(key, "key"),
            presence: Presence::Required,
        }
    }

    /// The pair in one file that ACME writes.
    pub(super) fn from_acme(path: &Path) -> Self {
        Self {
            presence: Presence::Later,
            ..Self::new(path, path, "tls.acme.state: ")
        }
    }

    /// The same as [`Self::load`], but none if the files need not be there and
    /// are not.
    pub(super) fn load_if_there(
        &self,
        provider: &CryptoProvider,
    ) -> Result<Option<LoadedKeyPair>, Error> {
        if self.presence == Presence::Later && !self.certificate.path.exists() {
            return Ok(None);
        }
        self.load(provider).map(Some)
    }

    /// The same at a start. What ACME wrote and is broken now is as good as not
    /// there: it will be asked for again.
    pub(super) fn load_at_start(
        &self,
        provider: &CryptoProvider,
    ) -> Result<Option<LoadedKeyPair>, Error> {
        match self.load_if_there(provider) {
            Err(error) if self.presence == Presence::Later => {
                tracing::warn!(
                    name: "stored_certificate_unusable",
                    error = error_chain(&error),
                    "stored certificate unusable"
                );
                Ok(None)
            }
            loaded => loaded,
        }
    }

    /// Both files.
    pub(super) fn paths(&self) -> [&Path; 2] {
        [&self.certificate.path, &self.key.path]
    }

    /// The error that `flaw` of the certificate is.
    pub(super) fn flawed(&self, flaw: CertificateFlaw) -> Error {
        flawed(&self.certificate, flaw)
    }

    /// Reads both, and checks that they match and that the chain is one.
    pub(super) fn load(&self, provider: &CryptoProvider) -> Result<LoadedKeyPair, Error> {
        let chain = read_chain(&self.certificate)?;
        let key = read_key(&self.key)?;
        let info = chain.iter().enumerate().map(|(at, certificate)| {
            CertificateInfo::parse(certificate)
                .ok_or_else(|| self.flawed(CertificateFlaw::Unreadable(at + 1)))
        });
        let mut info = info.collect::<Result<Vec<_>, _>>()?;
        let certified =
            CertifiedKey::from_der(chain, key, provider).map_err(|reason| match reason {
                rustls::Error::InconsistentKeys(_) => Error::Mismatch {
                    certificate: self.certificate.clone(),
                    key: self.key.clone(),
                },
                reason => flawed(&self.key, CertificateFlaw::UselessKey(reason.to_string())),
            })?;
        check_chain(&info).map_err(|flaw| self.flawed(flaw))?;
        Ok(LoadedKeyPair {
            certified: Arc::new(certified),
            info: info.swap_remove(0),
            path: self.certificate.path.clone(),
        })
    }

    /// What is not wrong, but seldom meant.
    pub(super) fn warnings(&self, loaded: &LoadedKeyPair) -> Vec<String> {
        let mut doubts = Vec::new();
        let LoadedKeyPair {
            certified, info, ..
        } = loaded;
        if std::fs::metadata(&self.key.path).is_ok_and(|file| file.mode() & 0o077 != 0) {
            let (key, path) = (&self.key, self.key.path.display());
            doubts.push(format!(
                "the private key {key} can be read by others than its owner; `chmod 600 {path}`"
            ));
        }
        if certified.cert.len() == 1 && !info.is_self_signed() {
            doubts.push(format!(
                "{} has no intermediate certificate; clients that do not trust \"{}\" itself \
                 will refuse it: use the CA's \"full chain\"",
                self.certificate, info.issuer
            ));
        }
        if info.names.is_empty() {
            doubts.push(format!(
                "{} has no DNS name in it (subjectAltName); no browser will accept it",
                self.certificate
            ));
        }
        doubts
    }
}

pub(super) fn read_chain(place: &FileOrigin) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(place)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| flawed(place, broken(&error)))?;
    if chain.is_empty() {
        Err(flawed(
            place,
            CertificateFlaw::Empty {
                what: "certificate",
                label: "CERTIFICATE",
            },
        ))
    } else {
        Ok(chain)
    }
}

fn read_key(place: &FileOrigin) -> Result<PrivateKeyDer<'static>, Error> {
    let pem = read(place)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let locked = contains(&pem, b"BEGIN ENCRYPTED PRIVATE KEY");
        let flaw = match error {
            pem::Error::NoItemsFound if locked => CertificateFlaw::Locked,
            pem::Error::NoItemsFound => CertificateFlaw::Empty {
                what: "private key",
                label: "PRIVATE KEY",
            },
            _ if contains(&pem, b"Proc-Type: 4,ENCRYPTED") => CertificateFlaw::Locked,
            error => broken(&error),
        };
        flawed(place, flaw)
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Reads a file whole, if it is one and no larger than such files are: a pipe
/// would never end, and nobody waits for it.
pub(super) fn read(place: &FileOrigin) -> Result<Vec<u8>, Error> {
    let read = || {
        let kind = std::fs::metadata(&place.path)?.file_type();
        if !kind.is_file() && !kind.is_dir() {
            return Err(io::Error::other("it is no file, but a pipe or a device"));
        }
        let mut text = Vec::new();
        File::open(&place.path)?
            .take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut text)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            Err(io::Error::other("it is larger than 1 MiB"))
        } else {
            Ok(text)
        }
    };
    read().map_err(|source| Error::Read {
        place: place.clone(),
        source,
    })
}

fn flawed(place: &FileOrigin, flaw: CertificateFlaw) -> Error {
    Error::Flawed {
        place: place.clone(),
        flaw,
    }
}

/// The parser's Debug text may quote the line it stumbled over: of a key file
/// only the kind of error may be told.
fn broken(error: &pem::Error) -> CertificateFlaw {
    CertificateFlaw::Broken(match error {
        pem::Error::MissingSectionEnd { .. } => "it ends in the middle",
        pem::Error::IllegalSectionStart { .. } => "a \"-----BEGIN\" line is malformed",
        pem::Error::Base64Decode(_) => "its contents are not base64",
        _ => "it cannot be parsed",
    })
}

const MAX_FILE_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests;
