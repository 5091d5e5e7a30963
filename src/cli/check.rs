//! `pwd-edge check`: validation of the configuration without serving.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::anyhow;

use super::Failure;
use crate::config::Config;
use crate::core::error_chain::error_chain;
use crate::files::Files;
use crate::http::{ErrorPages, Maintenance, RouteAction};
use crate::logging;
use crate::rooms::{self, HistorySettings};
use crate::tls::{Certificates, ClientAuthorities, Renewal, Urgency};

/// Validates the configuration and the files that it names, and prints a summary.
///
/// Doubtful settings and certificates that expire soon, or have expired, are warnings on
/// standard error. Creates no file, opens no port, and sends nothing to an upstream.
///
/// # Errors
/// The configuration or one of its files is invalid or unreadable, or standard output is
/// closed.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let (config, broken) = Config::read(path).map_err(Failure::usage)?;
    let mut errors: Vec<_> = broken.iter().map(|error| error_chain(error)).collect();
    let file = path.display();
    let mut expect = |result: anyhow::Result<()>| {
        let error = result.err().map(|error| error_chain(&*error));
        errors.extend(error.map(|error| format!("{file}: {error}")));
    };
    let certificates = Certificates::load(&config.tls);
    let certificates = certificates.map_err(|error| expect(Err(error.into())));
    expect(check_client_auth(&config));
    for route in &config.routes {
        if let RouteAction::Files(files, _) = &route.to {
            expect(Files::open(files).map(drop).map_err(Into::into));
        }
    }
    let pages = ErrorPages::load(config.http.error_pages.as_deref());
    expect(pages.map(drop).map_err(Into::into));
    let maintenance = Maintenance::new(&config.maintenance);
    expect(maintenance.map(drop).map_err(Into::into));
    expect(Renewal::check(&config.tls).map_err(Into::into));
    expect(config.pusher.load_key().map(drop).map_err(Into::into));
    expect(check_history(&config));
    match certificates {
        Ok(certificates) if errors.is_empty() => report(path, &config, &certificates),
        _ => Err(Failure::usage(anyhow!(errors.join("\n")))),
    }
}

fn check_history(config: &Config) -> anyhow::Result<()> {
    // The edge that runs with this configuration uses its event log.
    let is_running = || UnixStream::connect(&config.broadcast.socket).is_ok();
    Ok(rooms::check_history(&config.history, is_running)?)
}

fn check_client_auth(config: &Config) -> anyhow::Result<()> {
    let settings = &config.tls.client_auth;
    Ok(ClientAuthorities::load(settings)?.check(settings.mode)?)
}

/// Prints the warnings and the summary of a valid configuration.
///
/// # Errors
/// Standard output is closed.
fn report(path: &Path, config: &Config, certificates: &Certificates) -> Result<(), Failure> {
    let doubts = certificates.warnings().into_iter();
    let apps = config.apps().filter_map(|app| app.doubt());
    let of_history = rooms::history_doubts(&config.history, &config.broadcast.watermark());
    let doubts = doubts.chain(apps).chain(certificates.file_problem());
    for doubt in doubts.chain(of_history) {
        logging::print_warning(&doubt);
    }
    let mut report = format!("{} is valid", path.display());
    let mut line = |name: &str, value: String| {
        report.push_str(&format!("\n  {name:<17} {value}"));
    };
    line("listeners", addresses(&config.server.listen));
    line("redirect", addresses(&config.server.redirect_listen));
    line("admin", addresses(&config.admin.listen));
    line("Laravel", config.upstream.url.to_string());
    line(
        "broadcast socket",
        config.broadcast.socket.display().to_string(),
    );
    line("history", history(&config.history));
    if let Some(key) = &config.pusher.key {
        line("Pusher key", key.as_str().to_owned());
        let readers = "open to everybody who knows this key, which is in the page";
        line("public channels", readers.to_owned());
    }
    for certificate in certificates.expiry() {
        let file = certificate.file.display();
        line("certificate", file.to_string());
        line("", certificate.to_string());
        if let Some(problem) = &certificate.problem {
            logging::print_warning(&format!(
                "{file} {problem}; the edge serves it, but clients reject it"
            ));
        } else if certificate.urgency() != Urgency::None {
            logging::print_warning(&format!("{file} expires soon: {certificate}"));
        }
    }
    if let Some(acme) = certificates.acme() {
        let state = if acme.issued {
            "issued"
        } else {
            "not issued yet"
        };
        line("ACME", format!("{}: {state}", acme.domains.join(", ")));
    }
    if certificates.is_empty() {
        let warning = "there is no certificate yet: TLS handshakes fail until ACME has one";
        logging::print_warning(warning);
    }
    super::print(&report).map_err(Failure::failed)
}

/// Returns what the history keeps, and where.
fn history(settings: &HistorySettings) -> String {
    match settings.directory() {
        _ if !settings.enabled => "off".to_owned(),
        None => "in memory".to_owned(),
        Some(directory) => directory.display().to_string(),
    }
}

/// Returns the addresses, separated by commas; `-` if there are none.
fn addresses(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    if addresses.is_empty() {
        "-".to_owned()
    } else {
        addresses.join(", ")
    }
}
