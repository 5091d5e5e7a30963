//! Certificate and key files: reads a chain and its private key from PEM, and checks both, so
//! that a mistake shows at start or reload and not in a client's handshake.

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
use super::error::{Error, FileOrigin, PemProblem};
use crate::core::error_chain::error_chain;

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub(super) struct KeyPairFiles {
    certificate: FileOrigin,
    key: FileOrigin,
    presence: Presence,
}

/// Whether the files must exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// The configuration names them.
    Required,
    /// The ACME client creates them later.
    Later,
}

/// A certificate and key that have been read and checked.
#[derive(Debug)]
pub(super) struct LoadedKeyPair {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) info: CertificateInfo,
    /// The path of the certificate file.
    pub(super) path: PathBuf,
}

impl KeyPairFiles {
    /// Returns the pair that `config.toml` names by two keys with the given `prefix`.
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

    /// Returns the pair in the single file that the ACME client writes.
    pub(super) fn from_acme(path: &Path) -> Self {
        Self {
            presence: Presence::Later,
            ..Self::new(path, path, "tls.acme.storage: ")
        }
    }

    /// Loads the pair like [`Self::load`], but returns `None` if the ACME client has not
    /// written it yet.
    ///
    /// # Errors
    /// Returns the errors of [`Self::load`].
    pub(super) fn load_if_there(
        &self,
        provider: &CryptoProvider,
    ) -> Result<Option<LoadedKeyPair>, Error> {
        if self.presence == Presence::Later && !self.certificate.path.exists() {
            return Ok(None);
        }
        self.load(provider).map(Some)
    }

    /// Loads the pair at start. A broken file of the ACME client counts as missing, since the
    /// client will request another certificate.
    ///
    /// # Errors
    /// Returns the errors of [`Self::load`] for files that the configuration names.
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

    /// Returns the paths of the certificate and the key.
    pub(super) fn paths(&self) -> [&Path; 2] {
        [&self.certificate.path, &self.key.path]
    }

    /// Returns the error for a `problem` of the certificate.
    pub(super) fn invalid(&self, problem: PemProblem) -> Error {
        invalid(&self.certificate, problem)
    }

    /// Reads both files, and checks that they match and that the chain is in order. Does not
    /// check the dates. Blocks.
    ///
    /// # Errors
    /// Returns [`Error::Read`] if a file cannot be read, [`Error::Mismatch`] if certificate
    /// and key do not match, and [`Error::Invalid`] if one of them is unusable.
    pub(super) fn load(&self, provider: &CryptoProvider) -> Result<LoadedKeyPair, Error> {
        let chain = read_chain(&self.certificate)?;
        let key = read_key(&self.key)?;
        let mut infos = chain
            .iter()
            .enumerate()
            .map(|(at, certificate)| {
                CertificateInfo::parse(certificate)
                    .ok_or_else(|| self.invalid(PemProblem::Unreadable(at + 1)))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if infos.first().is_some_and(|site| !site.is_version_3) {
            return Err(self.invalid(PemProblem::OldVersion));
        }
        let certified =
            CertifiedKey::from_der(chain, key, provider).map_err(|reason| match reason {
                rustls::Error::InconsistentKeys(_) => Error::Mismatch {
                    certificate: self.certificate.clone(),
                    key: self.key.clone(),
                },
                rustls::Error::InvalidCertificate(reason) => {
                    self.invalid(PemProblem::UselessCertificate(reason.to_string()))
                }
                reason => invalid(&self.key, PemProblem::UselessKey(reason.to_string())),
            })?;
        check_chain(&infos).map_err(|problem| self.invalid(problem))?;
        Ok(LoadedKeyPair {
            certified: Arc::new(certified),
            info: infos.swap_remove(0),
            path: self.certificate.path.clone(),
        })
    }

    /// Returns warnings about what works but is probably a mistake.
    pub(super) fn warnings(&self, loaded: &LoadedKeyPair) -> Vec<String> {
        let mut warnings = Vec::new();
        let LoadedKeyPair {
            certified, info, ..
        } = loaded;
        if std::fs::metadata(&self.key.path).is_ok_and(|file| file.mode() & 0o077 != 0) {
            let (key, path) = (&self.key, self.key.path.display());
            warnings.push(format!(
                "the private key {key} can be read by others than its owner; `chmod 600 {path}`"
            ));
        }
        if certified.cert.len() == 1 && !info.is_self_signed() {
            warnings.push(format!(
                "{} has no intermediate certificate; clients that do not trust \"{}\" itself \
                 will refuse it: use the CA's \"full chain\"",
                self.certificate, info.issuer
            ));
        }
        if info.names.is_empty() {
            warnings.push(format!(
                "{} has no DNS name in it (subjectAltName); no browser will accept it",
                self.certificate
            ));
        }
        warnings
    }
}

/// Reads all certificates of a PEM file. Blocks.
///
/// # Errors
/// Returns [`Error::Read`] if the file cannot be read, and [`Error::Invalid`] if it is not PEM
/// or holds no certificate.
pub(super) fn read_chain(place: &FileOrigin) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(place)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(place, broken(&error)))?;
    if chain.is_empty() {
        Err(invalid(
            place,
            PemProblem::Empty {
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
        let is_encrypted = contains(&pem, b"BEGIN ENCRYPTED PRIVATE KEY");
        let problem = match error {
            pem::Error::NoItemsFound if is_encrypted => PemProblem::Locked,
            pem::Error::NoItemsFound => PemProblem::Empty {
                what: "private key",
                label: "PRIVATE KEY",
            },
            _ if contains(&pem, b"Proc-Type: 4,ENCRYPTED") => PemProblem::Locked,
            error => broken(&error),
        };
        invalid(place, problem)
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Reads a regular file of at most 1 MiB. Rejects pipes and devices, which may block forever.
/// Blocks.
///
/// # Errors
/// Returns [`Error::Read`] if the file cannot be read, is not a regular file, or is too large.
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

fn invalid(place: &FileOrigin, problem: PemProblem) -> Error {
    Error::Invalid {
        place: place.clone(),
        problem,
    }
}

/// Describes a PEM error by its kind alone. The parser's own text may quote the line at
/// fault, which may be a part of a private key.
fn broken(error: &pem::Error) -> PemProblem {
    PemProblem::Broken(match error {
        pem::Error::MissingSectionEnd { .. } => "it ends in the middle",
        pem::Error::IllegalSectionStart { .. } => "a \"-----BEGIN\" line is malformed",
        pem::Error::Base64Decode(_) => "its contents are not base64",
        _ => "it cannot be parsed",
    })
}

const MAX_FILE_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests;
