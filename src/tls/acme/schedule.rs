//! When to renew, and when to try again.

use std::time::{Duration, SystemTime};

use crate::tls::certificate_info::CertificateInfo;

/// When the CA would like a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
}

impl Window {
    /// None if it is empty (RFC 9773 §4.2). Times that no calendar of ours can
    /// show become ones that it can.
    pub(super) fn new(start: SystemTime, end: SystemTime) -> Option<Self> {
        let last = SystemTime::UNIX_EPOCH + MAX_TIMESTAMP;
        let [start, end] = [start, end].map(|time| time.clamp(SystemTime::UNIX_EPOCH, last));
        (start < end).then_some(Self { start, end })
    }
}

/// From when on a certificate is to be renewed: in the CA's window if it has
/// one, but with a sixth of its life left at the latest; else with a third left,
/// and up to a thirtieth earlier. `chance`, between 0 and 1, keeps all of a CA's
/// customers from coming at once.
pub(super) fn renew_at(info: &CertificateInfo, window: Option<Window>, chance: f64) -> SystemTime {
    let life = info.not_after.duration_since(info.not_before);
    let life = life.unwrap_or_default();
    let Some(Window { start, end }) = window else {
        return info.not_after - life / 3 - (life / 30).mul_f64(chance);
    };
    let length = end.duration_since(start).unwrap_or_default();
    let latest = info.not_after - life / 6;
    // In this order, so that no window is too long for the clock.
    if start >= latest {
        latest
    } else {
        latest.min(start + length.min(life).mul_f64(chance))
    }
}

/// How long to wait after the `failures`th failure in a row: `first`, then twice
/// as long each time, at most half a day, and a quarter more or less. With the
/// default of five minutes that is four tries in the first hour; Let's Encrypt
/// allows five failures.
pub(super) fn retry_delay(first: Duration, failures: u32, chance: f64) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(MAX_RETRY_DELAY).mul_f64(0.75 + chance / 2.0)
}

const MAX_TIMESTAMP: Duration = Duration::from_secs(1 << 33);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(12 * 3600);

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
        let info = CertificateInfo::parse(made.der()).unwrap();
        let day = |text| humantime::parse_rfc3339_weak(text).unwrap();
        assert_eq!(renew_at(&info, None, 0.0), day("2030-03-02 00:00:00"));
        assert_eq!(renew_at(&info, None, 1.0), day("2030-02-27 00:00:00"));
        let in_window = |start, end| renew_at(&info, Window::new(day(start), day(end)), 0.5);
        let middle = in_window("2030-02-01 00:00:00", "2030-02-03 00:00:00");
        assert_eq!(middle, day("2030-02-02 00:00:00"));
        let late = in_window("2030-05-01 00:00:00", "2099-01-01 00:00:00");
        assert_eq!(late, day("2030-03-17 00:00:00"));
        let empty = in_window("2030-02-03 00:00:00", "2030-02-01 00:00:00");
        assert_eq!(empty, day("2030-02-28 12:00:00"));
    }

    #[test]
    fn pauses_double_up_to_half_a_day() {
        let minutes =
            |failures| retry_delay(Duration::from_secs(300), failures, 0.5).as_secs() / 60;
        assert_eq!([1, 2, 3, 4].map(minutes), [5, 10, 20, 40]);
        assert_eq!(minutes(1000), 720);
        assert!(retry_delay(Duration::from_secs(300), 1, 0.0) < Duration::from_secs(300));
    }
}
