//! The PROXY protocol, versions 1 and 2: a load balancer that passes TLS through unread
//! sends the address of the client first
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).

use std::io;
use std::net::IpAddr;

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::core::client_ip::ClientIp;

/// Reads a header of version 1 or 2 from `stream`, and not a byte more. Returns the client,
/// or `None` if the header names none: the balancer connects for itself, as for a health
/// check, or does not know the client.
///
/// Not cancel-safe: bytes that have been read are lost, so the stream must be closed. The
/// caller sets the deadline.
///
/// # Errors
/// Returns [`io::ErrorKind::InvalidData`] if there is no valid header, and the error of the
/// stream if it fails or ends early.
pub async fn read_header<S>(stream: &mut S) -> io::Result<Option<ClientIp>>
where
    S: AsyncRead + Unpin,
{
    let mut header = vec![0; SIGNATURE_BYTES];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        read_rest_of_v2(stream, &mut header).await?;
    } else if header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        while header.last() != Some(&b'\n') {
            if header.len() == MAX_V1_BYTES {
                return Err(invalid("a PROXY line that does not end"));
            }
            header.push(stream.read_u8().await?);
        }
    } else {
        return Err(invalid("no PROXY header"));
    }
    parse_client(&header).ok_or_else(|| invalid("a PROXY header that cannot be read"))
}

/// Reads the remaining bytes of a version 2 header, after its signature, into `header`.
async fn read_rest_of_v2<S>(stream: &mut S, header: &mut Vec<u8>) -> io::Result<()>
where
    S: AsyncRead + Unpin,
{
    header.resize(V2_HEADER_BYTES, 0);
    stream.read_exact(&mut header[SIGNATURE_BYTES..]).await?;
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if length > MAX_V2_BYTES {
        return Err(invalid("a PROXY header that is too long"));
    }
    header.resize(V2_HEADER_BYTES + length, 0);
    stream.read_exact(&mut header[V2_HEADER_BYTES..]).await?;
    Ok(())
}

/// Returns the client that a complete header names (`Some(None)` if it names none), or
/// `None` if the header is invalid.
fn parse_client(header: &[u8]) -> Option<Option<ClientIp>> {
    let ip: Option<IpAddr> = match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            v1::Addresses::Tcp4(ip) => Some(ip.source_address.into()),
            v1::Addresses::Tcp6(ip) => Some(ip.source_address.into()),
            v1::Addresses::Unknown => None,
        },
        HeaderResult::V2(Ok(header)) => match (header.command, header.addresses) {
            (v2::Command::Local, _) => None,
            (_, v2::Addresses::IPv4(ip)) => Some(ip.source_address.into()),
            (_, v2::Addresses::IPv6(ip)) => Some(ip.source_address.into()),
            (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
        },
        _ => return None,
    };
    Some(ip.map(ClientIp::new))
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The length of version 2's signature. No header of version 1 is shorter, so this many
/// bytes can always be read first.
const SIGNATURE_BYTES: usize = 12;
const V2_HEADER_BYTES: usize = 16;
/// The longest line of version 1, with its line end.
const MAX_V1_BYTES: usize = 107;
/// The maximum length of the addresses and TLVs of version 2; common ones are far shorter.
const MAX_V2_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    async fn after(bytes: &[u8]) -> (io::Result<Option<String>>, Vec<u8>) {
        let mut stream = bytes;
        let read = read_header(&mut stream).await;
        (read.map(|ip| ip.map(|ip| ip.to_string())), stream.to_vec())
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        let mut bytes = v2::PROTOCOL_PREFIX.to_vec();
        bytes.extend([command, family]);
        bytes.extend(length);
        bytes.extend(addresses);
        bytes.extend(b"rest");
        bytes
    }

    #[tokio::test]
    async fn proxy_header_of_both_versions_is_read_without_excess() {
        let ipv4 = [192, 0, 2, 9, 10, 0, 0, 1, 1, 2, 1, 187];
        for (bytes, client) in [
            (
                b"PROXY TCP4 192.0.2.9 10.0.0.1 4711 443\r\nrest".to_vec(),
                Some("192.0.2.9"),
            ),
            (
                b"PROXY TCP6 2001:db8::9 ::1 4711 443\r\nrest".to_vec(),
                Some("2001:db8::9"),
            ),
            (b"PROXY UNKNOWN\r\nrest".to_vec(), None),
            (v2(0x21, 0x11, &ipv4), Some("192.0.2.9")),
            (v2(0x20, 0x00, &[]), None),
        ] {
            let (read, rest) = after(&bytes).await;
            assert_eq!(read.unwrap().as_deref(), client, "{bytes:?}");
            assert_eq!(rest, b"rest", "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn malformed_proxy_header_is_rejected() {
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
        for bytes in [
            &b""[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"PROXY TCP4 999.0.2.9 10.0.0.1 4711 443\r\n",
            b"PROXY TCP4 192.0.2.9\r\nrest....",
            long.as_bytes(),
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 3]),
            &v2(0x21, 0x11, &[0; 4000]),
        ] {
            assert!(after(bytes).await.0.is_err(), "{bytes:?}");
        }
    }
}
