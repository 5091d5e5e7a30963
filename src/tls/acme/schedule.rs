//! The schedule of renewals and of retries after failures. Pure functions.

use std::time::{Duration, SystemTime};

use crate::tls::certificate_info::CertificateInfo;

/// The renewal window that the CA suggests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
}

impl Window {
    /// Creates a window; `None` if it is empty (RFC 9773 §4.2). Times outside the years 1970
    /// to 2242 are clamped, so that they can be printed.
    pub(super) fn new(start: SystemTime, end: SystemTime) -> Option<Self> {
        let last = SystemTime::UNIX_EPOCH + MAX_TIMESTAMP;
        let [start, end] = [start, end].map(|time| time.clamp(SystemTime::UNIX_EPOCH, last));
        (start < end).then_some(Self { start, end })
    }
}

/// Returns the time of the renewal: within the CA's window if there is one, but at the latest
/// when a sixth of the lifetime is left. Without a window it is when a third is left, or up to
/// a thirtieth of the lifetime earlier. `chance`, from 0 to 1, spreads the renewals of many
/// servers.
pub(super) fn renew_at(info: &CertificateInfo, window: Option<Window>, chance: f64) -> SystemTime {
    let life = info
        .not_after
        .duration_since(info.not_before)
        .unwrap_or_default();
    let Some(Window { start, end }) = window else {
        return info.not_after - life / 3 - (life / 30).mul_f64(chance);
    };
    let length = end.duration_since(start).unwrap_or_default();
    let latest = info.not_after - life / 6;
    // Compared first: with a `start` before `latest` the sum below cannot overflow the clock.
    if start >= latest {
        latest
    } else {
        latest.min(start + length.min(life).mul_f64(chance))
    }
}

/// Returns the pause after the `failures`th failure in a row: `first`, doubled each time, at
/// most 12 hours, and up to a quarter more or less by `chance`. The default of five minutes
/// makes four attempts in the first hour; Let's Encrypt allows five failures an hour.
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
    fn certificate_is_renewed_with_a_third_of_its_life_left() {
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
    fn retry_interval_doubles_up_to_half_a_day() {
        let minutes =
            |failures| retry_delay(Duration::from_secs(300), failures, 0.5).as_secs() / 60;
        assert_eq!([1, 2, 3, 4].map(minutes), [5, 10, 20, 40]);
        assert_eq!(minutes(1000), 720);
        assert!(retry_delay(Duration::from_secs(300), 1, 0.0) < Duration::from_secs(300));
    }
}
