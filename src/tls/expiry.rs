//! The expiry of certificates, for `status`, logs and monitoring.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Serialize;

use super::certificate_info::format_date;
use super::certified_key::LoadedKeyPair;

/// A certificate and the days until it expires, or until an issuer in its chain does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CertificateExpiry {
    /// The path of its file.
    pub(crate) file: PathBuf,
    /// The DNS names that it covers.
    pub(crate) names: Vec<String>,
    /// The name of its issuer.
    pub(crate) issuer: String,
    /// The end of its validity (RFC 3339): that of the certificate in the chain that ends first.
    pub(crate) not_after: String,
    /// The whole days until that time; negative once it has passed.
    pub(crate) days_left: i64,
    /// The subject of the certificate in the chain that ends first, unless it is the site's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ends_with: Option<String>,
    /// The reason why it is not valid today: it has expired, or is not valid yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// The end of its validity, for the metric.
    #[serde(skip)]
    pub(crate) expires_at: SystemTime,
    #[serde(skip)]
    lifetime_days: i64,
}

/// The urgency of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// No action is needed.
    None,
    /// The certificate expires within 21 days: automatic renewal is late.
    Soon,
    /// The certificate expires within a week.
    Week,
    /// The certificate expires within about a day, or is not valid now.
    Day,
}

impl CertificateExpiry {
    /// Returns the expiry of a certificate, seen from `now`.
    pub(super) fn new(loaded: &LoadedKeyPair, now: SystemTime) -> Self {
        let info = &loaded.info;
        let (first, is_own) = loaded.first_to_end();
        let problem = loaded.check_dates(now).err();
        Self {
            file: loaded.path.clone(),
            names: info.names.clone(),
            issuer: info.issuer.clone(),
            not_after: format_date(first.not_after),
            days_left: days(now, first.not_after),
            ends_with: (!is_own).then(|| first.subject.clone()),
            problem: problem.map(|problem| problem.to_string()),
            expires_at: first.not_after,
            lifetime_days: days(first.not_before, first.not_after),
        }
    }

    /// Returns the urgency: it rises at 21, 7 and 1 days before the end. A certificate that
    /// is issued for a few days only is not urgent before a third of its lifetime is left.
    pub(crate) fn urgency(&self) -> Urgency {
        match self.days_left {
            _ if self.problem.is_some() => Urgency::Day,
            ..=1 if self.days_left <= self.lifetime_days / 3 => Urgency::Day,
            ..=7 if self.days_left <= self.lifetime_days / 3 => Urgency::Week,
            ..=21 if self.days_left <= self.lifetime_days / 3 => Urgency::Soon,
            _ => Urgency::None,
        }
    }

    /// Logs the expiry, at a level that follows the urgency. Called once a day.
    pub(super) fn log(&self) {
        let days_left = self.days_left;
        if let Some(error) = &self.problem {
            tracing::error!(
                name: "certificate_invalid_now",
                certificate = %self, days_left, error,
                "serving an expired or not-yet-valid certificate"
            );
            return;
        }
        match self.urgency() {
            // A day later clients reject it.
            Urgency::Day => tracing::error!(
                name: "certificate_expires_soon",
                certificate = %self, days_left, "certificate expires soon"
            ),
            Urgency::Week | Urgency::Soon => tracing::warn!(
                name: "certificate_expires_soon",
                certificate = %self, days_left, "certificate expires soon"
            ),
            Urgency::None => tracing::info!(
                name: "certificate_valid",
                certificate = %self, days_left, "certificate valid"
            ),
        }
    }
}

impl fmt::Display for CertificateExpiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = if self.names.is_empty() {
            "no name".to_owned()
        } else {
            self.names.join(", ")
        };
        let (issuer, until) = (&self.issuer, &self.not_after);
        write!(f, "{names}; by {issuer}; until {until}")?;
        if let Some(subject) = &self.ends_with {
            write!(f, ", when \"{subject}\" in its chain ends")?;
        }
        f.write_str("; ")?;
        match self.days_left {
            ..=-1 => f.write_str("expired"),
            _ if self.problem.is_some() => f.write_str("not valid yet"),
            1 => f.write_str("1 day left"),
            days => write!(f, "{days} days left"),
        }
    }
}

/// Returns the whole days from one time to another; -1 from the moment that the latter has
/// passed.
fn days(from: SystemTime, to: SystemTime) -> i64 {
    let whole = |seconds: u64| i64::try_from(seconds / DAY).unwrap_or(i64::MAX);
    match to.duration_since(from) {
        Ok(left) => whole(left.as_secs()),
        Err(past) => -1 - whole(past.duration().as_secs()),
    }
}

const DAY: u64 = 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn outlook(days_left: i64, lifetime_days: i64) -> CertificateExpiry {
        CertificateExpiry {
            file: "c.pem".into(),
            names: vec!["desk.example".to_owned()],
            issuer: "CN=R".to_owned(),
            not_after: "2030-01-01T00:00:00Z".to_owned(),
            days_left,
            ends_with: None,
            problem: (days_left < 0).then(|| "expired".to_owned()),
            expires_at: SystemTime::UNIX_EPOCH,
            lifetime_days,
        }
    }

    #[test]
    fn expiry_urgency_rises_at_21_7_and_1_days() {
        let urgency = |days| outlook(days, 90).urgency();
        assert_eq!([urgency(90), urgency(22)], [Urgency::None; 2]);
        assert_eq!([urgency(21), urgency(8)], [Urgency::Soon; 2]);
        assert_eq!([urgency(7), urgency(2)], [Urgency::Week; 2]);
        assert_eq!([urgency(1), urgency(-3)], [Urgency::Day; 2]);
    }

    #[test]
    fn six_day_certificate_is_not_urgent_when_new() {
        let urgency = |days| outlook(days, 6).urgency();
        assert_eq!(urgency(5), Urgency::None);
        assert_eq!(urgency(2), Urgency::Week);
        assert_eq!(urgency(1), Urgency::Day);
    }

    #[test]
    fn days_left_are_whole_and_negative_once_expired() {
        let start = SystemTime::UNIX_EPOCH;
        let after = |seconds| start + std::time::Duration::from_secs(seconds);
        assert_eq!(days(start, after(DAY)), 1);
        assert_eq!(days(start, after(DAY - 1)), 0);
        assert_eq!(days(after(1), start), -1);
        assert!(outlook(-1, 90).to_string().ends_with("expired"));
    }
}
