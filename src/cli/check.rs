//! `pwd-edge check`: validation of the configuration without serving.

use std::path::Path;
use std::sync::Arc;

use super::Failure;
use crate::config::Config;
use crate::files::Files;
use crate::http::{ErrorPages, Maintenance, RouteAction};
use crate::logging;
use crate::tls::{self, Acceptors, Certificates, ClientAuthorities, Renewal, Urgency};

/// Validates the configuration and the files that it names, and prints a summary.
///
/// Doubtful settings and certificates that expire soon are warnings on standard error.
/// Creates no file, opens no port, and sends nothing to an upstream.
///
/// # Errors
/// The configuration or one of its files is invalid or unreadable, or standard output is
/// closed.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let config = Config::load(path).map_err(Failure::usage)?;
    let wrong = |error: anyhow::Error| Failure::configuration(path, error);
    let certificates =
        Arc::new(Certificates::load(&config.tls).map_err(|error| wrong(error.into()))?);
    let ticketer = tls::ticketer().map_err(Failure::failed)?;
    let authorities =
        ClientAuthorities::load(&config.tls.client_auth).map_err(|error| wrong(error.into()))?;
    Acceptors::new(&config.tls, &certificates, &authorities, ticketer)
        .map_err(|error| wrong(error.into()))?;
    for route in &config.routes {
        if let RouteAction::Files(files, _) = &route.to {
            Files::open(files).map_err(|error| wrong(error.into()))?;
        }
    }
    ErrorPages::load(config.http.error_pages.as_deref()).map_err(|error| wrong(error.into()))?;
    Maintenance::new(&config.maintenance).map_err(|error| wrong(error.into()))?;
    Renewal::check(&config.tls).map_err(|error| wrong(error.into()))?;
    for doubt in certificates.warnings() {
        logging::print_warning(&doubt);
    }
    for doubt in config.apps().filter_map(|app| app.doubt()) {
        logging::print_warning(&doubt);
    }
    let mut report = format!(
        "{} is valid\n  listeners         {}\n  Laravel           {}\n  broadcast socket  {}",
        path.display(),
        addresses(&config),
        config.upstream.url,
        config.broadcast.socket.display(),
    );
    for certificate in certificates.expiry() {
        let file = certificate.file.display();
        report.push_str(&format!(
            "\n  certificate       {file}\n                    {certificate}"
        ));
        if let Some(problem) = &certificate.problem {
            logging::print_warning(&format!(
                "{file} {problem}; the edge serves it, but clients reject it"
            ));
        } else if certificate.urgency() != Urgency::None {
            logging::print_warning(&format!("{file} expires soon: {certificate}"));
        }
    }
    super::print(&report).map_err(Failure::failed)
}

/// Returns the listen addresses, separated by commas.
fn addresses(config: &Config) -> String {
    let addresses = config.server.listen.iter().map(ToString::to_string);
    addresses.collect::<Vec<_>>().join(", ")
}
