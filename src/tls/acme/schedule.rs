//! When to renew, and when to try again.

use std::time::{Duration, SystemTime};

use crate::tls::facts::Facts;

/// From when on a certificate is to be renewed: with a third of its life left,
/// and up to a thirtieth earlier, so that not all of a CA's customers come at
/// once. `chance` is between 0 and 1.
pub(super) fn renew_at(facts: &Facts, chance: f64) -> SystemTime {
    let life = facts.not_after.duration_since(facts.not_before);
    let life = life.unwrap_or_default();
    facts.not_after - life / 3 - (life / 30).mul_f64(chance)
}

/// How long to wait after the `failures`th failure in a row: `first`, then twice
/// as long each time, at most half a day, and a quarter more or less. With the
/// default of five minutes that is four tries in the first hour; Let's Encrypt
/// allows five failures.
pub(super) fn pause(first: Duration, failures: u32, chance: f64) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(LONGEST).mul_f64(0.75 + chance / 2.0)
}

const LONGEST: Duration = Duration::from_secs(12 * 3600);

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn it_is_renewed_with_a_third_left() {
        let mut params = CertificateParams::new(["a".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2030, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 4, 1);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let facts = Facts::read(made.der()).unwrap();
        let day = |text| humantime::parse_rfc3339_weak(text).unwrap();
        assert_eq!(renew_at(&facts, 0.0), day("2030-03-02 00:00:00"));
        assert_eq!(renew_at(&facts, 1.0), day("2030-02-27 00:00:00"));
    }

    #[test]
    fn pauses_double_up_to_half_a_day() {
        let minutes = |failures| pause(Duration::from_secs(300), failures, 0.5).as_secs() / 60;
        assert_eq!([1, 2, 3, 4].map(minutes), [5, 10, 20, 40]);
        assert_eq!(minutes(1000), 720);
        assert!(pause(Duration::from_secs(300), 1, 0.0) < Duration::from_secs(300));
    }
}
