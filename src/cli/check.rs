//! `pwd-edge check`.

use std::path::Path;
use std::sync::Arc;

use super::Failure;
use crate::config::Config;
use crate::files::Files;
use crate::http::RouteAction;
use crate::logging;
use crate::tls::{self, Acceptors, Certificates, ClientAuthorities, Urgency};

/// Reads the configuration and the files that it names, and reports that they are valid.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let config = Config::load(path).map_err(Failure::usage)?;
    let wrong = |error: anyhow::Error| Failure::configuration(path, error);
    let certificates = Certificates::load(&config.tls).map_err(|error| wrong(error.into()))?;
    let certificates = Arc::new(certificates);
    let ticketer = tls::ticketer().map_err(Failure::failed)?;
    let authorities =
        ClientAuthorities::load(&config.tls.client_auth).map_err(|error| wrong(error.into()))?;
    Acceptors::new(&config.tls, &certificates, &authorities, ticketer)
        .map_err(|error| wrong(error.into()))?;
    certificates
        .check_dates()
        .map_err(|error| wrong(error.into()))?;
    for route in &config.routes {
        if let RouteAction::Files(files, _) = &route.to {
            Files::open(files).map_err(|error| wrong(error.into()))?;
        }
    }
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
        if certificate.urgency() != Urgency::None {
            logging::print_warning(&format!("{file} expires soon: {certificate}"));
        }
    }
    super::print(&report).map_err(Failure::failed)
}

fn addresses(config: &Config) -> String {
    let addresses = config.server.listen.iter().map(ToString::to_string);
    addresses.collect::<Vec<_>>().join(", ")
}
