//! Tests of loading a pair: what is good, and every kind of bad file.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::SystemTime;

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::*;
use crate::core::error_chain::error_chain;

struct Files(tempfile::TempDir);

impl Files {
    fn write(certificate: &str, key: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        std::fs::write(files.path("c.pem"), certificate).unwrap();
        std::fs::write(files.path("k.pem"), key).unwrap();
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(files.path("k.pem"), owner_only).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pair(&self) -> KeyPairFiles {
        KeyPairFiles::new(&self.path("c.pem"), &self.path("k.pem"), "tls.")
    }

    fn load(&self) -> Result<LoadedKeyPair, Error> {
        self.pair()
            .load(&rustls::crypto::aws_lc_rs::default_provider())
    }
}

fn error_text(certificate: &str, key: &str) -> String {
    let loaded = Files::write(certificate, key).load();
    loaded.map(|_| ()).unwrap_err().to_string()
}

fn issue() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A chain root → middle → site: the three in PEM, site first, and the site's key.
fn hierarchy() -> ([String; 3], String) {
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let key = || KeyPair::generate().unwrap();
    let root = CertifiedIssuer::self_signed(authority("Root"), key()).unwrap();
    let middle = CertifiedIssuer::signed_by(authority("Middle"), key(), &root).unwrap();
    let site_key = key();
    let mut site = CertificateParams::new(["desk.example".to_owned()]).unwrap();
    site.use_authority_key_identifier_extension = true;
    site.distinguished_name.push(DnType::CommonName, "Desk");
    let site = site.signed_by(&site_key, &middle).unwrap();
    (
        [site.pem(), middle.pem(), root.pem()],
        site_key.serialize_pem(),
    )
}

#[test]
fn valid_pair_loads_without_warnings() {
    let (certificate, key) = issue();
    let files = Files::write(&certificate, &key);
    let loaded = files.load().unwrap();
    assert_eq!(loaded.info.names, ["localhost"]);
    assert_eq!(files.pair().warnings(&loaded), Vec::<String>::new());
}

#[test]
fn key_of_another_certificate_is_rejected() {
    let error = error_text(&issue().0, &issue().1);
    assert!(
        error.contains("k.pem (tls.key) does not belong to the certificate"),
        "{error}"
    );
}

#[test]
fn empty_file_is_rejected_with_the_expected_content() {
    let (certificate, key) = issue();
    let empty = error_text("", &key);
    assert!(empty.contains("tls.certificate") && empty.contains("BEGIN CERTIFICATE"));
    let empty = error_text(&certificate, "");
    assert!(empty.contains("tls.key") && empty.contains("BEGIN PRIVATE KEY"));
}

#[test]
fn truncated_key_is_rejected_without_quoting_it() {
    let (certificate, key) = issue();
    let half = &key[..key.len() / 2];
    let error = error_text(&certificate, half);
    assert!(error.contains("k.pem") && error.contains("ends in the middle"));
    assert!(!error.contains(&half[40..60]), "{error}");
}

#[test]
fn truncated_certificate_is_rejected() {
    let (certificate, key) = issue();
    let half = &certificate[..certificate.len() / 2];
    let cut = error_text(half, &key);
    assert!(
        cut.contains("c.pem") && cut.contains("ends in the middle"),
        "{cut}"
    );
    let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let hollow = error_text(&format!("{certificate}{hollow}"), &key);
    assert!(hollow.contains("(no. 2 in the file)"), "{hollow}");
}

#[test]
fn directory_instead_of_a_file_is_rejected() {
    let files = Files::write("", "");
    let pair = KeyPairFiles::new(files.0.path(), &files.path("k.pem"), "tls.");
    let error = pair.load(&rustls::crypto::aws_lc_rs::default_provider());
    let error = error.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("name the file in that directory"), "{error}");
}

#[test]
fn chain_with_or_without_its_root_loads() {
    let ([site, middle, root], key) = hierarchy();
    for chain in [format!("{site}{middle}"), format!("{site}{middle}{root}")] {
        let files = Files::write(&chain, &key);
        let loaded = files.load().unwrap();
        assert_eq!(loaded.info.issuer, "CN=Middle");
        assert!(files.pair().warnings(&loaded).is_empty());
    }
}

#[test]
fn missing_intermediate_is_named() {
    let ([site, _, root], key) = hierarchy();
    let gap = error_text(&format!("{site}{root}"), &key);
    assert!(
        gap.contains("c.pem (tls.certificate) lacks \"CN=Middle\""),
        "{gap}"
    );
    let files = Files::write(&site, &key);
    let doubts = files.pair().warnings(&files.load().unwrap());
    assert!(doubts[0].contains("\"CN=Middle\""), "{doubts:?}");
}

/// A chain in disorder, with a copy and a stranger is sent in order, and each is a warning.
#[test]
fn odd_chain_is_served_in_order_with_warnings() {
    let ([site, middle, root], key) = hierarchy();
    let stranger = issue().0;
    let files = Files::write(&format!("{site}{root}{middle}{root}{stranger}"), &key);
    let loaded = files.load().unwrap();
    let issuers: Vec<_> = loaded
        .issuers
        .iter()
        .map(|issuer| &*issuer.subject)
        .collect();
    assert_eq!(issuers[..2], ["CN=Middle", "CN=Root"]);
    assert_eq!(loaded.certified.cert.len(), 4);
    let doubts = files.pair().warnings(&loaded).join("\n");
    for part in [
        "c.pem (tls.certificate) has its certificates in the wrong order",
        "has \"CN=Root\" twice (no. 4 is a copy)",
        "(no. 5), which is no part of the chain to \"CN=Root\"",
    ] {
        assert!(doubts.contains(part), "{doubts}");
    }
}

#[test]
fn site_certificate_that_is_not_first_is_named() {
    let ([site, middle, root], key) = hierarchy();
    for (chain, number) in [
        (format!("{middle}{site}"), 2),
        (format!("{root}{middle}{site}"), 3),
    ] {
        let error = error_text(&chain, &key);
        let part = format!("the site's own certificate as no. {number} in the file");
        assert!(error.contains(&part), "{error}");
    }
}

/// `cat` of files without a final line feed: the second certificate must not be skipped.
#[test]
fn blocks_that_share_a_line_are_an_error_with_the_line() {
    let ([site, middle, _], key) = hierarchy();
    let lines = site.trim_end().lines().count();
    let error = error_text(&format!("{}{middle}", site.trim_end()), &key);
    assert!(
        error.contains(&format!("line {lines}: two boundaries")),
        "{error}"
    );
    let error = error_text(&format!("{site}{middle}"), &format!(" {key}"));
    assert!(
        error.contains("k.pem (tls.key) is not valid PEM: line 1: blanks"),
        "{error}"
    );
}

#[test]
fn block_of_another_kind_is_named_with_its_line() {
    let ([site, middle, _], key) = hierarchy();
    let trusted = site.replace(" CERTIFICATE", " TRUSTED CERTIFICATE");
    let error = error_text(&format!("{trusted}{middle}"), &key);
    assert!(
        error.contains("has a block \"TRUSTED CERTIFICATE\" in line 1")
            && error.contains("`openssl x509 -in"),
        "{error}"
    );
    let text = format!("{site}{middle}{}", key.replace("PRIVATE KEY", "X509 CRL"));
    let error = error_text(&text, &key);
    assert!(
        error.contains("\"X509 CRL\"") && error.contains("remove it"),
        "{error}"
    );
    let both = format!("{key}{site}{middle}");
    assert!(Files::write(&both, &both).load().is_ok());
}

/// Loads a certificate that is valid in 2030, with an intermediate that ends in June.
fn loaded_for_2030() -> LoadedKeyPair {
    let (mut authority, mut site) = (CertificateParams::default(), CertificateParams::default());
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "R3");
    authority.not_before = rcgen::date_time_ymd(2029, 1, 1);
    authority.not_after = rcgen::date_time_ymd(2030, 6, 1);
    site.not_before = rcgen::date_time_ymd(2030, 1, 1);
    site.not_after = rcgen::date_time_ymd(2031, 1, 1);
    let (key, own) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let authority = CertifiedIssuer::self_signed(authority, own).unwrap();
    let site = site.signed_by(&key, &authority).unwrap();
    let chain = format!("{}{}", site.pem(), authority.pem());
    Files::write(&chain, &key.serialize_pem()).load().unwrap()
}

#[test]
fn chain_is_valid_while_each_of_its_certificates_is() {
    let loaded = loaded_for_2030();
    let day = |text| humantime::parse_rfc3339_weak(text).unwrap();
    assert!(loaded.check_dates(day("2030-05-01 00:00:00")).is_ok());
    let late = loaded.check_dates(day("2030-07-01 00:00:00")).unwrap_err();
    let late = late.to_string();
    assert!(
        late.starts_with("has \"CN=R3\" in its chain, which expired at 2030-06-01T00:00:00Z"),
        "{late}"
    );
    let later = loaded.check_dates(day("2031-06-01 00:00:00")).unwrap_err();
    let later = later.to_string();
    assert!(
        later.starts_with("expired at 2031-01-01T00:00:00Z"),
        "{later}"
    );
    let early = loaded.check_dates(SystemTime::UNIX_EPOCH).unwrap_err();
    assert!(early.to_string().contains("the clock is wrong"), "{early}");
    let (first, is_own) = loaded.first_to_end();
    assert_eq!((&*first.subject, is_own), ("CN=R3", false));
}

#[test]
fn key_readable_by_others_causes_a_warning() {
    let (certificate, key) = issue();
    let files = Files::write(&certificate, &key);
    let everybody = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(files.path("k.pem"), everybody).unwrap();
    let doubts = files.pair().warnings(&files.load().unwrap());
    assert!(doubts[0].contains("chmod 600"), "{doubts:?}");
}

#[test]
fn certificate_of_version_1_is_named_with_the_needed_version() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut der = made.cert.der().to_vec();
    // The tag [0] with an INTEGER: 2 is version 3, 0 is version 1.
    let version = [0xa0, 3, 2, 1, 2];
    let at = der.windows(5).position(|bytes| bytes == version).unwrap();
    der[at + 4] = 0;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    let error = error_text(&pem, &made.signing_key.serialize_pem());
    assert!(
        error.contains("c.pem (tls.certificate) holds a certificate of an old"),
        "{error}"
    );
    assert!(error.contains("version 3 is needed"), "{error}");
}

/// Every form in which OpenSSL writes keys: PKCS#8, SEC1, PKCS#1, and locked.
#[test]
fn keys_in_every_openssl_format_load() {
    let files = Files::write("", "");
    let script = "
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=a \
          -addext subjectAltName=DNS:a -keyout ec8.pem -out ec.pem &&
        openssl ec -in ec8.pem -out ec1.pem &&
        openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=a -addext subjectAltName=DNS:a \
          -keyout rsa8.pem -out rsa.pem &&
        openssl rsa -in rsa8.pem -traditional -out rsa1.pem &&
        openssl pkcs8 -topk8 -in ec8.pem -passout pass:secret -out locked8.pem &&
        openssl rsa -in rsa8.pem -traditional -aes128 -passout pass:secret -out locked1.pem";
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(files.0.path())
        .output();
    assert!(made.unwrap().status.success());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let load = |certificate: &str, key: &str| {
        KeyPairFiles::new(&files.path(certificate), &files.path(key), "tls.").load(&provider)
    };
    for (certificate, key, label) in [
        ("ec.pem", "ec8.pem", "BEGIN PRIVATE KEY"),
        ("ec.pem", "ec1.pem", "BEGIN EC PRIVATE KEY"),
        ("rsa.pem", "rsa8.pem", "BEGIN PRIVATE KEY"),
        ("rsa.pem", "rsa1.pem", "BEGIN RSA PRIVATE KEY"),
    ] {
        let text = std::fs::read_to_string(files.path(key)).unwrap();
        assert!(text.contains(label), "{key}");
        assert!(load(certificate, key).is_ok(), "{key}");
    }
    for (certificate, key) in [("ec.pem", "locked8.pem"), ("rsa.pem", "locked1.pem")] {
        let error = load(certificate, key).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("locked with a password"), "{error}");
    }
}

/// Reading one would never end, and with it no start and no reload.
#[test]
fn pipes_devices_and_huge_files_are_rejected_at_once() {
    let (certificate, key) = issue();
    let files = Files::write(&certificate, &key);
    let made = Command::new("mkfifo").arg(files.path("pipe")).status();
    assert!(made.unwrap().success());
    std::os::unix::fs::symlink("loop", files.path("loop")).unwrap();
    std::fs::write(files.path("huge"), certificate.repeat(3000)).unwrap();
    let error_text = |certificate: &Path| {
        let pair = KeyPairFiles::new(certificate, &files.path("k.pem"), "tls.");
        let loaded = pair.load(&rustls::crypto::aws_lc_rs::default_provider());
        error_chain(&loaded.map(|_| ()).unwrap_err())
    };
    for (path, reason) in [
        (files.path("pipe"), "a pipe or a device"),
        ("/dev/zero".into(), "a pipe or a device"),
        (files.path("loop"), "symbolic links"),
        (files.path("huge"), "larger than 1 MiB"),
    ] {
        let error = error_text(&path);
        assert!(
            error.contains(reason) && error.contains("tls.certificate"),
            "{error}"
        );
    }
}
