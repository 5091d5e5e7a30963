//! `pwd-edge demo`: the real edge with a self-signed certificate, in front of a
//! stand-in for Laravel.

use std::fs::Permissions;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::{Failure, run};
use crate::config::Config;
use crate::core::socket_path;
use crate::core::units::ConfigDuration;
use crate::demo::App;
use crate::logging::{self, Level};
use crate::runtime::drain::Drain;
use crate::server::{InheritedSockets, Listeners, Server, StartInfo};
use crate::upstream::Target;

/// Runs the demo until SIGTERM or SIGINT. The temporary directory is removed at the end.
///
/// # Errors
/// The directory, the port, the sockets, the log or the runtime cannot be set up.
pub(super) fn demo(port: u16) -> Result<(), Failure> {
    let directory = tempfile::Builder::new()
        .prefix("pwd-edge-demo-")
        .tempdir()
        .context("cannot make a directory for the demo; set TMPDIR to a directory for it")
        .map_err(Failure::failed)?;
    let config = configure(&directory, port).map_err(Failure::failed)?;
    let _logging = logging::start(&config.log).map_err(Failure::failed)?;
    let listeners = Listeners::open(&config, InheritedSockets::default()).map_err(|errors| {
        let context = "cannot open the port of the demo; choose another with --port";
        Failure::failed(anyhow!(errors.without_keys()).context(context))
    })?;
    let runtime = run::runtime(&config).map_err(Failure::failed)?;
    runtime.block_on(serve(&config, listeners, &directory, port))?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// Serves the edge and the stand-in for Laravel until a stop signal.
async fn serve(
    config: &Config,
    listeners: Listeners,
    directory: &TempDir,
    port: u16,
) -> Result<(), Failure> {
    let server = Server::bind(config, listeners, StartInfo::default()).map_err(Failure::failed)?;
    let laravel = UnixListener::bind(directory.path().join("app.sock")).map_err(Failure::failed)?;
    let port = server.addresses().first().map_or(port, SocketAddr::port);
    let url = format!("https://localhost:{port}");
    let app = Arc::new(App::new(config.broadcast.socket.clone(), url.clone()));
    let drain = Drain::new();
    drain.spawn(app.serve(laravel, drain.clone()));
    let stop = run::stop_signal().map_err(Failure::failed)?;
    // A closed standard output does not stop the demo.
    let _ = greet(&url, &config.broadcast.socket);
    server.run(stop).await;
    drain.stop(Duration::from_secs(1)).await;
    Ok(())
}

/// Returns the demo's configuration and writes its certificate and key into `directory`.
/// Paths and addresses are local, and shutdown is quick; the rest are the defaults.
///
/// # Errors
/// The certificate cannot be generated, the directory is not writable, or its path is too long
/// for a Unix socket.
fn configure(directory: &TempDir, port: u16) -> anyhow::Result<Config> {
    let mut config = Config::default();
    let file = |name: &str| directory.path().join(name);
    config.server.listen = loopback(port);
    // Shorter than the defaults, so that Ctrl+C stops a demo quickly.
    config.server.close_spread = ConfigDuration::seconds(1);
    config.server.shutdown_timeout = ConfigDuration::seconds(3);
    config.log.level = Level::Warn;
    config.tls.certificate = file("certificate.pem");
    config.tls.key = file("key.pem");
    config.upstream.url = Target::unix(file("app.sock")).into();
    config.history.directory = file("history");
    config.broadcast.socket = file("broadcast.sock");
    socket_path::check(&config.broadcast.socket).map_err(|problem| {
        let socket = config.broadcast.socket.display();
        anyhow!("{socket} {problem}; set TMPDIR to a directory with a shorter path")
    })?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    std::fs::write(&config.tls.certificate, made.cert.pem())
        .and_then(|()| std::fs::write(&config.tls.key, made.signing_key.serialize_pem()))
        .and_then(|()| std::fs::set_permissions(&config.tls.key, Permissions::from_mode(0o600)))
        .context("the demo cannot write to its directory")?;
    Ok(config)
}

/// Returns the loopback addresses: 127.0.0.1, and `[::1]` if the machine has IPv6, since
/// browsers resolve `localhost` to either. Port 0 yields IPv4 only, because each listener
/// would get another port.
fn loopback(port: u16) -> Vec<SocketAddr> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    if port != 0 && TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        vec![v4, v6]
    } else {
        vec![v4]
    }
}

/// Prints the address, the accounts and example commands.
fn greet(url: &str, socket: &Path) -> io::Result<()> {
    let (program, socket) = (program(), socket.display());
    super::print(&format!(
        r#"pwd-edge demo: the real edge, with a small stand-in for Laravel behind it

  Open      {url}
            (the certificate was made for this run: tell your browser to accept it)
  Log in    ana / demo, a member, or desk / demo, a desk officer

  Try       send a request through the edge:
            curl -k {url}/api/test-direct

            send a broadcast, as Laravel does:
            curl --unix-socket {socket} http://edge/broadcast \
              -d '{{"type":"ticket_status_update","payload":{{"ticket_id":1,"status":"resolved"}}}}'

            ask the edge for its status:
            {program} status --socket {socket}

  Stop      Ctrl+C
"#
    ))
}

/// Returns the command by which a shell runs this program again. It is the path of this
/// run, as the program may not be in `PATH`, unless the path needs quoting.
fn program() -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let name = std::env::args().next();
    name.filter(|name| !name.is_empty() && name.chars().all(plain))
        .unwrap_or_else(|| "pwd-edge".to_owned())
}
