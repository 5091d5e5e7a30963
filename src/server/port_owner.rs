//! Finds the process that occupies a port, from proc(5), for the error of a failed bind.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::core::bind_conflict::is_conflict;

/// The process that listens on a port.
#[derive(Debug)]
pub(crate) struct PortOwner {
    name: String,
    pid: u32,
}

impl PortOwner {
    /// Finds the process whose socket keeps `wanted` from being bound. Only root can see the
    /// processes of other users.
    pub(super) fn find(wanted: SocketAddr) -> Option<Self> {
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
        let links: Vec<_> = tables
            .iter()
            .filter_map(|table| fs::read_to_string(table).ok())
            .flat_map(|table| socket_links(&table, wanted))
            .collect();
        if links.is_empty() {
            return None;
        }
        let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| {
            let name = entry.ok()?.file_name();
            name.to_str()?.parse::<u32>().ok()
        });
        let mut owners = pids.filter(|pid| has_one_of(*pid, &links));
        let pid = owners.next()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(Self {
            name: name.trim_end().escape_debug().to_string(),
            pid,
        })
    }
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// Returns the link targets in `/proc/PID/fd` of the sockets in `table` that listen on
/// `wanted`, or on an address that conflicts with it.
fn socket_links(table: &str, wanted: SocketAddr) -> Vec<String> {
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (address, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
            let local = parse_address(address)?;
            (*state == LISTEN && is_conflict(local, wanted)).then(|| format!("socket:[{inode}]"))
        })
        .collect()
}

/// Parses an address of `/proc/net/tcp`: 32-bit words in hexadecimal, each in the byte order
/// of the machine.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok();
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        _ => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let mut bytes = [0; 16];
            for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
                to.copy_from_slice(&word.to_ne_bytes());
            }
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Returns whether the process has one of the `links` open.
fn has_one_of(pid: u32, links: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let mut targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    targets.any(|target| links.iter().any(|link| target == Path::new(link)))
}

/// The state `TCP_LISTEN` in hexadecimal.
const LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_of_this_process_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else {
                continue;
            };
            let owner = PortOwner::find(listener.local_addr().unwrap()).unwrap();
            assert_eq!(owner.pid, std::process::id());
        }
    }

    #[test]
    fn socket_on_another_address_or_port_does_not_block() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 4711 1";
        let blocks = |wanted: &str| !socket_links(line, wanted.parse().unwrap()).is_empty();
        if cfg!(target_endian = "little") {
            assert!(blocks("127.0.0.1:8080") && blocks("[::]:8080"));
            assert!(!blocks("127.0.0.2:8080") && !blocks("127.0.0.1:8081"));
            assert!(!blocks("[::1]:8080"));
        }
    }
}
