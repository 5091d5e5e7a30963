//! Odd certificate files that replace the ones in use: joined, with needless certificates, and
//! expired.

use rcgen::DnType;

use super::{ChangingCertificate, certificates_config};
use crate::support::tls::{TestCertificate, presented_certificate};
use crate::support::{Edge, Laravel};

/// `cat` of two files, the first without a line break at its end. The second certificate
/// would be lost, so the running edge keeps the old pair, and says why.
#[tokio::test]
async fn joined_certificates_keep_the_old_pair_in_use() {
    let changing = ChangingCertificate::start().await;
    let path = changing.directory.path();
    let second = TestCertificate::for_names(&["desk.example"]);
    let other = TestCertificate::for_names(&["other.example"]);
    second.write(path, "desk");
    let joined = format!("{}{}", second.certificate.trim_end(), other.certificate);
    std::fs::write(path.join("desk.crt"), &joined).unwrap();
    changing.edge.reload().await;
    assert!(changing.shown().await == changing.first.der);
    let status = changing.edge.get("/status").await.json();
    let problems = status["problems"].to_string();
    let line = second.certificate.trim_end().lines().count();
    for part in [
        "new certificate files are not in use",
        "desk.crt",
        &format!("line {line}: two boundaries"),
    ] {
        assert!(problems.contains(part), "{problems}");
    }
    second.write(path, "desk");
    changing.edge.reload().await;
    assert!(changing.shown().await == second.der);
    assert_eq!(
        changing.edge.get("/status").await.json()["problems"],
        serde_json::json!([])
    );
}

/// A copy and a stranger in the file do not stop a renewal.
#[tokio::test]
async fn chain_with_needless_certificates_is_taken_into_use() {
    let changing = ChangingCertificate::start().await;
    let path = changing.directory.path();
    let second = TestCertificate::for_names(&["desk.example"]);
    let other = TestCertificate::with_params(&["other.example"], |params| {
        params.distinguished_name.push(DnType::CommonName, "Other");
    });
    second.write(path, "desk");
    let chain = [&*second.certificate, &other.certificate, &other.certificate].concat();
    std::fs::write(path.join("desk.crt"), chain).unwrap();
    changing.edge.reload().await;
    assert!(changing.shown().await == second.der);
}

fn expired_certificate(year: i32) -> TestCertificate {
    TestCertificate::with_params(&["desk.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
    })
}

/// An expired certificate replaces an expired one, as it is served at a start, but never a
/// valid one.
#[tokio::test]
async fn expired_certificate_replaces_only_an_expired_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let show = async |edge: &Edge| presented_certificate(edge, Some("desk.example")).await;
    let (first, second) = (expired_certificate(2021), expired_certificate(2022));
    first.write(path, "desk");
    let laravel = Laravel::start().await;
    let edge = Edge::configured(&laravel.url(), &certificates_config(path, &["desk"]));
    assert!(show(&edge).await == first.der);
    second.write(path, "desk");
    edge.reload().await;
    assert!(show(&edge).await == second.der);
    let valid = TestCertificate::for_names(&["desk.example"]);
    valid.write(path, "desk");
    edge.reload().await;
    assert!(show(&edge).await == valid.der);
    second.write(path, "desk");
    edge.reload().await;
    assert!(show(&edge).await == valid.der);
}
