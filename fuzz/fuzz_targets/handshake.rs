//! The bytes of a client before its TLS handshake is complete: the first byte says in which
//! pieces the rest of them comes.

#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use pwd_edge::tls::{
    Acceptor, Acceptors, Certificates, ClientAuth, ClientAuthMode, ClientAuthorities,
    HandshakeError, Settings, ticketer,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

fuzz_target!(|input: &[u8]| {
    let Some((cut, wire)) = input.split_first() else {
        return;
    };
    for acceptor in &*ACCEPTORS {
        let written = RUNTIME.block_on(connect(acceptor, wire, usize::from(*cut).max(1)));
        // A handshake, a change of the cipher, or an alert.
        assert!(
            written.first().is_none_or(|kind| (20..=22).contains(kind)),
            "{written:?}"
        );
    }
});

/// Sends `wire` in pieces of at most `piece` bytes, and returns what the edge writes.
async fn connect(acceptor: &Acceptor, wire: &[u8], piece: usize) -> Vec<u8> {
    let (near, far) = tokio::io::duplex(piece);
    let (mut from, mut to) = tokio::io::split(near);
    let sending = async {
        // It fails when the edge has closed the connection.
        let _ = to.write_all(wire).await;
        let _ = to.shutdown().await;
    };
    let mut written = Vec::new();
    let (secured, (), read) = tokio::join!(
        acceptor.handshake(far),
        sending,
        from.read_to_end(&mut written)
    );
    read.expect("a pipe");
    // Nobody completes a handshake without the keys of this very connection.
    let error = secured.expect_err("it cannot succeed");
    assert!(matches!(error, HandshakeError::Failed(_)), "{error:?}");
    written
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime")
});

/// One that requests a client certificate, and one that does not.
static ACCEPTORS: LazyLock<[Acceptor; 2]> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&certificate, made.cert.pem()).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    let guarded = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let settings = Settings {
        client_auth: ClientAuth {
            mode: ClientAuthMode::Optional,
            ca_file: certificate.clone(),
            listen: vec![guarded],
        },
        certificate,
        key,
        ..Settings::default()
    };
    let certificates = Arc::new(Certificates::load(&settings).expect("a certificate"));
    let authorities = ClientAuthorities::load(&settings.client_auth).expect("an authority");
    let ticketer = ticketer().expect("randomness");
    let acceptors =
        Acceptors::new(&settings, &certificates, &authorities, ticketer).expect("acceptors");
    let open = SocketAddr::from((Ipv4Addr::LOCALHOST, 2));
    [guarded, open].map(|address| acceptors.on(&address))
});
