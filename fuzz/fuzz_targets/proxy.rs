//! The first bytes of a connection with the PROXY protocol.

#![no_main]

use futures_util::FutureExt;
use libfuzzer_sys::fuzz_target;
use pwd_edge::forwarded::read_proxy_header;

fuzz_target!(|bytes: &[u8]| {
    let mut stream = bytes;
    // All bytes are there: it never waits.
    let read = read_proxy_header(&mut stream)
        .now_or_never()
        .expect("is ready");
    if read.is_ok() {
        let header = &bytes[..bytes.len() - stream.len()];
        assert!(header.len() <= 2064, "{header:?}");
        // The parser has read no more than the header: the same bytes give the same result.
        let mut again = header;
        assert!(
            read_proxy_header(&mut again)
                .now_or_never()
                .is_some_and(|read| read.is_ok())
        );
        assert!(again.is_empty());
    }
});
