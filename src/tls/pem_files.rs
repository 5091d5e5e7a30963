//! Reads PEM files: certificates and private keys, of regular files of a bounded size.

use std::fs::File;
use std::io::{self, Read};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::{Error, FileOrigin, PemProblem};
use super::pem_blocks::{PemBlock, split_blocks};

/// Reads all certificates of a PEM file. Blocks.
///
/// # Errors
/// Returns [`Error::Read`] if the file cannot be read, and [`Error::Invalid`] if it is not PEM,
/// holds no certificate, or has blocks that the edge would have to skip.
pub(super) fn read_chain(place: &FileOrigin) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(place)?;
    let chain = (|| {
        let blocks = known_blocks(&pem)?;
        let certificates = blocks.iter().filter(|block| block.label == CERTIFICATE);
        certificates.map(decode).collect::<Result<Vec<_>, _>>()
    })();
    let chain = chain.map_err(|problem| invalid(place, problem))?;
    if chain.is_empty() {
        Err(invalid(
            place,
            PemProblem::Empty {
                what: "certificate",
                label: CERTIFICATE,
            },
        ))
    } else {
        Ok(chain)
    }
}

/// Reads the first private key of a PEM file. Blocks.
///
/// # Errors
/// Returns [`Error::Read`] if the file cannot be read, and [`Error::Invalid`] if it is not PEM,
/// holds no key, or a locked one.
pub(super) fn read_key(place: &FileOrigin) -> Result<PrivateKeyDer<'static>, Error> {
    let pem = read(place)?;
    let key = || {
        let blocks = known_blocks(&pem)?;
        let find = |labels: &[&str]| blocks.iter().find(|block| labels.contains(&block.label));
        match (find(&KEYS), find(&[LOCKED_KEY])) {
            (Some(key), _) if contains(key.text, b"Proc-Type: 4,ENCRYPTED") => {
                Err(PemProblem::Locked)
            }
            (Some(key), _) => decode(key),
            (None, Some(_)) => Err(PemProblem::Locked),
            (None, None) => Err(PemProblem::Empty {
                what: "private key",
                label: KEYS[0],
            }),
        }
    };
    key().map_err(|problem| invalid(place, problem))
}

/// Splits a file into its blocks, and checks that none of them is of an unknown kind: if the
/// edge skipped it, another reason for a failure would be reported, or none.
///
/// # Errors
/// Returns [`PemProblem::Broken`] or [`PemProblem::UnknownBlock`].
fn known_blocks(pem: &[u8]) -> Result<Vec<PemBlock<'_>>, PemProblem> {
    let blocks = split_blocks(pem)?;
    let is_known = |label: &str| {
        label == CERTIFICATE
            || label == LOCKED_KEY
            || KEYS.contains(&label)
            || PARAMETERS.contains(&label)
    };
    match blocks.iter().find(|block| !is_known(block.label)) {
        None => Ok(blocks),
        Some(block) => Err(PemProblem::UnknownBlock {
            label: block.label.to_owned(),
            line: block.line,
            cure: match block.label {
                "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => {
                    "convert it with `openssl x509 -in … -out …`"
                }
                "PKCS7" => "convert it with `openssl pkcs7 -print_certs -in … -out …`",
                _ => "remove it",
            },
        }),
    }
}

/// Decodes the contents of a block. The parser's own error may quote the line at fault, which
/// may be a part of a private key, so it is dropped.
///
/// # Errors
/// Returns [`PemProblem::Broken`] if the contents are not base64.
fn decode<T: PemObject>(block: &PemBlock<'_>) -> Result<T, PemProblem> {
    T::from_pem_slice(block.text).map_err(|_| PemProblem::Broken {
        line: block.line,
        problem: "the contents of the block that begins there are not base64; copy the file again",
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

/// Returns the error for a `problem` of the file's contents.
pub(super) fn invalid(place: &FileOrigin, problem: PemProblem) -> Error {
    Error::Invalid {
        place: place.clone(),
        problem,
    }
}

const CERTIFICATE: &str = "CERTIFICATE";
/// The labels of private keys that the parser reads.
const KEYS: [&str; 3] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
const LOCKED_KEY: &str = "ENCRYPTED PRIVATE KEY";
/// The labels of parameters, which OpenSSL writes beside keys and which the edge needs not.
const PARAMETERS: [&str; 2] = ["EC PARAMETERS", "DH PARAMETERS"];
const MAX_FILE_BYTES: u64 = 1024 * 1024;
