//! `pwd-edge check`.

use std::path::Path;

use super::Failure;
use crate::config::Config;
use crate::tls::Certificates;

/// Reads the configuration and what it names, and says that all is well.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let config = Config::load(path).map_err(Failure::config)?;
    let certificates = Certificates::load(&config.tls).map_err(Failure::config)?;
    certificates.check_dates().map_err(Failure::config)?;
    for doubt in certificates.doubts() {
        super::warn(&doubt);
    }
    let told = format!(
        "{} is well
  listens on      {}
  Laravel         {}
  certificate     {}
  broadcasts      {}",
        path.display(),
        addresses(&config),
        config.upstream.url,
        config.tls.certificate.display(),
        config.broadcast.socket.display(),
    );
    super::say(&told).map_err(Failure::other)
}

fn addresses(config: &Config) -> String {
    let addresses = config.server.listen.iter().map(ToString::to_string);
    addresses.collect::<Vec<_>>().join(", ")
}
