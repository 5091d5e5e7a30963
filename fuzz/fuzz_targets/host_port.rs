//! The headers `Host` and `Origin` of a client.

#![no_main]

use std::net::Ipv6Addr;

use libfuzzer_sys::fuzz_target;
use pwd_edge::core::host_port::HostPort;

fuzz_target!(|text: &str| {
    let Some(read) = HostPort::parse(text) else {
        return;
    };
    assert!(read.port != Some(0), "{read:?}");
    assert!(is_name(&read.host) || is_address(&read.host), "{read:?}");
    let written = match read.port {
        Some(port) => format!("{}:{port}", read.host),
        None => read.host.clone(),
    };
    assert_eq!(
        HostPort::parse(&written),
        Some(read),
        "{written} is read in another way"
    );
});

fn is_name(host: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    !host.is_empty() && host.bytes().all(is_plain)
}

fn is_address(host: &str) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}
