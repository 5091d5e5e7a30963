//! The chain of a certificate: finds the path from the site's own certificate to its issuers,
//! and the order in which the edge sends the certificates of a file.

use rustls::pki_types::CertificateDer;

use super::certificate_info::CertificateInfo;
use super::error::PemProblem;

/// The order in which the edge sends the certificates of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChainOrder {
    /// The indices of the certificates in the file, without copies: the path from the site's
    /// own to its last known issuer, and then the others in the order of the file.
    pub(super) indices: Vec<usize>,
    /// What works but is probably a mistake, in a form that follows the file's name.
    pub(super) doubts: Vec<String>,
}

/// Finds the order of a chain, whose certificates have these `infos`. The site's own is the
/// first. Clients cope with others that are no part of the path (RFC 8446 §4.4.2): those of a
/// cross-signed CA even help some. The root may be missing, since clients that trust it have
/// it.
///
/// # Errors
/// Returns [`PemProblem::Gap`] if there are other certificates, but none of them issued the
/// site's own.
pub(super) fn order_chain(
    chain: &[CertificateDer<'_>],
    infos: &[CertificateInfo],
) -> Result<ChainOrder, PemProblem> {
    let is_copy = |at: usize| chain[..at].contains(&chain[at]);
    let (copies, distinct): (Vec<_>, Vec<_>) = (0..chain.len()).partition(|at| is_copy(*at));
    let issuers = |of: usize| {
        let others = distinct.iter().copied();
        others.filter(move |at| *at != of && infos[of].is_issued_by(&infos[*at]))
    };
    let (mut path, mut end) = (vec![0], 0);
    while !infos[end].is_self_signed()
        && let Some(issuer) = issuers(end).find(|at| !path.contains(at))
    {
        path.push(issuer);
        end = issuer;
    }
    let end = &infos[end];
    if path.len() == 1 && distinct.len() > 1 && !end.is_self_signed() {
        return Err(PemProblem::Gap {
            subject: end.subject.clone(),
            issuer: end.issuer.clone(),
        });
    }
    let mut reached = path.clone();
    let mut next = 0;
    while let Some(of) = reached.get(next).copied() {
        let new: Vec<_> = issuers(of).filter(|at| !reached.contains(at)).collect();
        reached.extend(new);
        next += 1;
    }
    let others = distinct.iter().filter(|at| !path.contains(at));
    let indices: Vec<_> = path.iter().chain(others).copied().collect();
    let mut doubts = Vec::new();
    if !indices.is_sorted() {
        doubts.push(
            "has its certificates in the wrong order, which the edge corrects; put the issuer of \
             each one behind it"
                .to_owned(),
        );
    }
    for at in copies {
        let (subject, number) = (&infos[at].subject, at + 1);
        doubts.push(format!(
            "has \"{subject}\" twice (no. {number} is a copy); remove one"
        ));
    }
    for at in distinct.iter().filter(|at| !reached.contains(at)) {
        let (subject, number, issuer) = (&infos[*at].subject, at + 1, &end.issuer);
        doubts.push(format!(
            "has \"{subject}\" (no. {number}), which is no part of the chain to \"{issuer}\"; \
             remove it"
        ));
    }
    Ok(ChainOrder { indices, doubts })
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod, KeyPair,
    };

    use super::*;

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_identifier_method = KeyIdMethod::Sha256;
        params
    }

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn root(name: &str) -> Issuer {
        CertifiedIssuer::self_signed(params(name), KeyPair::generate().unwrap()).unwrap()
    }

    fn issued(name: &str, by: &Issuer) -> Issuer {
        CertifiedIssuer::signed_by(params(name), KeyPair::generate().unwrap(), by).unwrap()
    }

    fn order(chain: &[&Issuer]) -> Result<ChainOrder, PemProblem> {
        let chain: Vec<_> = chain.iter().map(|one| one.der().clone()).collect();
        let infos = chain.iter().map(|one| CertificateInfo::parse(one).unwrap());
        order_chain(&chain, &infos.collect::<Vec<_>>())
    }

    #[test]
    fn chain_in_order_is_sent_as_it_is_without_doubts() {
        let root = root("Root");
        let middle = issued("Middle", &root);
        let site = issued("Desk", &middle);
        for chain in [&[&site, &middle, &root][..], &[&site, &middle], &[&site]] {
            let order = order(chain).unwrap();
            assert_eq!(order.indices, (0..chain.len()).collect::<Vec<_>>());
            assert!(order.doubts.is_empty(), "{:?}", order.doubts);
        }
    }

    #[test]
    fn copies_and_strangers_are_doubts_and_disorder_is_corrected() {
        let (root, stranger) = (root("Root"), root("Old"));
        let middle = issued("Middle", &root);
        let site = issued("Desk", &middle);
        for (chain, indices, part) in [
            (&[&site, &root, &middle][..], &[0, 2, 1][..], "wrong order"),
            (&[&site, &middle, &middle], &[0, 1], "(no. 3 is a copy)"),
            (
                &[&site, &middle, &stranger],
                &[0, 1, 2],
                "\"CN=Old\" (no. 3), which is no part of the chain to \"CN=Root\"",
            ),
            (&[&site, &stranger, &middle], &[0, 2, 1], "wrong order"),
            (&[&root, &stranger], &[0, 1], "no part of the chain"),
        ] {
            let order = order(chain).unwrap();
            assert_eq!(order.indices, indices, "{:?}", order.doubts);
            assert!(
                order.doubts.iter().any(|doubt| doubt.contains(part)),
                "{:?}",
                order.doubts
            );
        }
    }

    /// Both forms of the intermediate are useful: to clients that know the one root, or the
    /// other.
    #[test]
    fn cross_signed_intermediate_is_sent_without_doubts() {
        let (old, new) = (root("Old root"), root("New root"));
        let key = KeyPair::generate().unwrap();
        let again = KeyPair::from_pem(&key.serialize_pem()).unwrap();
        let middle = CertifiedIssuer::signed_by(params("Middle"), key, &new).unwrap();
        let cross = CertifiedIssuer::signed_by(params("Middle"), again, &old).unwrap();
        let site = issued("Desk", &middle);
        for chain in [
            &[&site, &middle, &cross][..],
            &[&site, &cross, &middle, &new],
            &[&site, &middle, &new, &cross],
        ] {
            let order = order(chain).unwrap();
            assert_eq!(order.indices.len(), chain.len());
            assert!(order.doubts.is_empty(), "{:?}", order.doubts);
        }
    }

    #[test]
    fn site_without_its_issuer_among_others_is_an_error() {
        let root = root("Root");
        let middle = issued("Middle", &root);
        let site = issued("Desk", &middle);
        let error = order(&[&site, &root]).unwrap_err().to_string();
        assert!(
            error.contains("lacks \"CN=Middle\", which issued \"CN=Desk\""),
            "{error}"
        );
    }
}
