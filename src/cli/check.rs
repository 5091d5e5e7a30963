//! `pwd-edge check`.

use std::path::Path;

use super::Failure;
use crate::config::Config;
use crate::tls;

/// Reads the configuration and what it names, and says that all is well.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let config = Config::load(path).map_err(Failure::config)?;
    let ticketer = tls::ticketer().map_err(Failure::other)?;
    tls::Acceptor::load(&config.tls, ticketer).map_err(Failure::config)?;
    let told = format!(
        "{} is well\n  listens on      {}\n  Laravel         {}\n  certificate     {}\n  broadcasts      {}",
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
