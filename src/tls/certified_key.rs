//! Certificates with their keys: loads a chain and its private key, and checks both, so that a
//! mistake shows at start or reload and not in a client's handshake.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};

use super::certificate_info::CertificateInfo;
use super::chain::order_chain;
use super::error::{Error, FileOrigin, PemProblem};
use super::pem_files::{invalid, read_chain, read_key};

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
    /// The facts of the other certificates that the edge sends with it.
    pub(super) issuers: Vec<CertificateInfo>,
    /// What works but is probably a mistake, in a form that follows the file's name.
    pub(super) doubts: Vec<String>,
    /// The path of the certificate file.
    pub(super) path: PathBuf,
    /// Whether the edge has made it, for the time until ACME obtains one.
    pub(super) is_fallback: bool,
}

impl LoadedKeyPair {
    /// Returns the certificate that ends first of those that the edge sends, and whether it is
    /// the site's own.
    pub(super) fn first_to_end(&self) -> (&CertificateInfo, bool) {
        let first = self.issuers.iter().min_by_key(|issuer| issuer.not_after);
        match first {
            Some(issuer) if issuer.not_after < self.info.not_after => (issuer, false),
            _ => (&self.info, true),
        }
    }

    /// Checks that all certificates that the edge sends are valid at `now`.
    ///
    /// # Errors
    /// Returns [`PemProblem::Expired`] or [`PemProblem::NotYet`] if one is not.
    pub(super) fn check_dates(&self, now: SystemTime) -> Result<(), PemProblem> {
        for (at, info) in [&self.info].into_iter().chain(&self.issuers).enumerate() {
            let issuer = || (at > 0).then(|| info.subject.clone());
            if now > info.not_after {
                return Err(PemProblem::Expired {
                    issuer: issuer(),
                    ended: info.not_after,
                    now,
                });
            }
            if now < info.not_before {
                return Err(PemProblem::NotYet {
                    issuer: issuer(),
                    begins: info.not_before,
                    now,
                });
            }
        }
        Ok(())
    }
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
        if self.is_acme() && !self.certificate.path.exists() {
            return Ok(None);
        }
        self.load(provider).map(Some)
    }

    /// Returns whether the ACME client writes the pair.
    pub(super) fn is_acme(&self) -> bool {
        self.presence == Presence::Later
    }

    /// Returns the paths of the certificate and the key.
    pub(super) fn paths(&self) -> [&Path; 2] {
        [&self.certificate.path, &self.key.path]
    }

    /// Returns the error for a `problem` of the certificate.
    pub(super) fn invalid(&self, problem: PemProblem) -> Error {
        invalid(&self.certificate, problem)
    }

    /// Reads both files, checks that they match, and finds the order of the chain. Does not
    /// check the dates. Blocks.
    ///
    /// # Errors
    /// Returns [`Error::Read`] if a file cannot be read, [`Error::Mismatch`] if certificate
    /// and key do not match, and [`Error::Invalid`] if one of them is unusable.
    pub(super) fn load(&self, provider: &CryptoProvider) -> Result<LoadedKeyPair, Error> {
        let chain = read_chain(&self.certificate)?;
        let key = provider
            .key_provider
            .load_private_key(read_key(&self.key)?)
            .map_err(|reason| invalid(&self.key, PemProblem::UselessKey(reason.to_string())))?;
        let infos = chain
            .iter()
            .enumerate()
            .map(|(at, certificate)| {
                CertificateInfo::parse(certificate)
                    .ok_or_else(|| self.invalid(PemProblem::Unreadable(at + 1)))
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.check_key(&chain, &infos, &key)?;
        let order = order_chain(&chain, &infos).map_err(|problem| self.invalid(problem))?;
        let sent = order.indices.iter().map(|at| chain[*at].clone());
        let mut infos = order.indices.iter().map(|at| infos[*at].clone());
        Ok(LoadedKeyPair {
            certified: Arc::new(CertifiedKey::new(sent.collect(), key)),
            info: infos.next().expect("a chain is never empty"),
            issuers: infos.collect(),
            doubts: order.doubts,
            path: self.certificate.path.clone(),
            is_fallback: false,
        })
    }

    /// Checks that `key` belongs to the first certificate, and that this one is fit for TLS.
    ///
    /// # Errors
    /// Returns [`Error::Mismatch`] or [`Error::Invalid`] if not.
    fn check_key(
        &self,
        chain: &[CertificateDer<'static>],
        infos: &[CertificateInfo],
        key: &Arc<dyn SigningKey>,
    ) -> Result<(), Error> {
        let check = |certificate: &CertificateDer<'static>| {
            CertifiedKey::new(vec![certificate.clone()], Arc::clone(key)).keys_match()
        };
        let Err(error) = check(&chain[0]) else {
            return Ok(());
        };
        if let Some(at) = chain.iter().position(|other| check(other).is_ok()) {
            return Err(self.invalid(PemProblem::SiteNotFirst { number: at + 1 }));
        }
        Err(match error {
            _ if !infos[0].is_version_3 => self.invalid(PemProblem::OldVersion),
            rustls::Error::InvalidCertificate(reason) => {
                self.invalid(PemProblem::UselessCertificate(reason.to_string()))
            }
            _ => Error::Mismatch {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
            },
        })
    }

    /// Returns warnings about what works but is probably a mistake.
    pub(super) fn warnings(&self, loaded: &LoadedKeyPair) -> Vec<String> {
        let LoadedKeyPair {
            certified,
            info,
            doubts,
            ..
        } = loaded;
        let doubts = doubts
            .iter()
            .map(|doubt| format!("{} {doubt}", self.certificate));
        let mut warnings: Vec<_> = doubts.collect();
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
                "{} has no name in it (subjectAltName); no browser will accept it",
                self.certificate
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests;
