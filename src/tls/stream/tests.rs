use std::future::poll_fn;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client;

use super::*;

type Client = client::TlsStream<DuplexStream>;
type Server = TlsStream<DuplexStream>;
type Version = &'static SupportedProtocolVersion;

const VERSIONS: [Version; 2] = [&TLS12, &TLS13];

/// A server's settings, and those of a client that trusts it and speaks only `version`.
fn configs(version: Version) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = crate::tls::provider();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let trusting = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(config), Arc::new(trusting))
}

/// Both ends of a pipe that holds `bytes` at a time.
async fn pair(version: Version, bytes: usize) -> (Client, Server) {
    let (config, trusting) = configs(version);
    let (near, far) = tokio::io::duplex(bytes);
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = TlsConnector::from(trusting).connect(name, near);
    let accepting = TlsStream::accept(config, far);
    let (client, server) = tokio::try_join!(connecting, accepting).unwrap();
    let negotiated = server.connection().protocol_version();
    assert_eq!(negotiated, Some(version.version));
    (client, server)
}

fn noise(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// Reads `bytes` in pieces of `piece`.
async fn read(from: &mut (impl AsyncRead + Unpin), bytes: usize, piece: usize) -> Vec<u8> {
    let (mut got, mut space) = (Vec::new(), vec![0; piece]);
    while got.len() < bytes {
        let read = from.read(&mut space).await.unwrap();
        assert_ne!(read, 0, "the end after {} of {bytes}", got.len());
        got.extend_from_slice(&space[..read]);
    }
    got
}

#[tokio::test]
async fn data_arrives_in_order_both_ways_for_any_sizes() {
    let pipes = [
        (1_000, 1_000),
        (5_000, 7),
        (20_000, 1_024),
        (1 << 20, 100_000),
    ];
    for (version, (pipe, piece)) in VERSIONS
        .into_iter()
        .flat_map(|version| pipes.map(|pipe| (version, pipe)))
    {
        let (client, server) = pair(version, pipe).await;
        let (mut heard, mut said) = tokio::io::split(client);
        let (up, down) = (noise(200_000), noise(300_000));
        let asking = async {
            said.write_all(&up).await.unwrap();
            said.flush().await.unwrap();
        };
        let answering = async {
            let mut server = server;
            assert_eq!(read(&mut server, up.len(), piece).await, up);
            server.write_all(&down).await.unwrap();
            server.flush().await.unwrap();
            server
        };
        let hearing = read(&mut heard, down.len(), piece);
        let ((), _server, got) = tokio::join!(asking, answering, hearing);
        assert_eq!(got, down);
    }
}

#[tokio::test]
async fn vectored_writes_arrive_whole_and_in_order() {
    let (head, body) = (noise(300), noise(100_000));
    for version in VERSIONS {
        let (mut client, mut server) = pair(version, 1 << 20).await;
        for size in [0, 1, 1_000, 16_000, 60_000, body.len()] {
            let mut bufs = [&head[..], &[], &body[..size]].map(IoSlice::new);
            let (mut bufs, all) = (&mut bufs[..], head.len() + size);
            let mut written = 0;
            while written < all {
                let some = server.write_vectored(bufs).await.unwrap();
                written += some;
                IoSlice::advance_slices(&mut bufs, some);
            }
            let got = read(&mut client, all, 4096).await;
            assert!(got == [&head[..], &body[..size]].concat(), "{size}");
        }
    }
}

/// Otherwise a client that reads nothing would seem to make progress.
#[tokio::test]
async fn write_behind_a_blocked_one_waits_until_that_has_left() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version, 5_000).await;
        // rustls has encrypted all of it; the pipe holds the beginning.
        assert_eq!(server.write(&noise(10_000)).await.unwrap(), 10_000);
        for _ in 0..2 {
            let polled = poll_fn(|cx| {
                let plain = Pin::new(&mut server).poll_write(cx, b"more");
                let vectored =
                    Pin::new(&mut server).poll_write_vectored(cx, &[IoSlice::new(b"more")]);
                Poll::Ready((plain.is_pending(), vectored.is_pending()))
            });
            assert_eq!(polled.await, (true, true));
        }
        let writing = async {
            server.write_all(b"more").await.unwrap();
            server.flush().await.unwrap();
        };
        let ((), got) = tokio::join!(writing, read(&mut client, 10_004, 4096));
        assert!(got == [&noise(10_000)[..], b"more"].concat());
    }
}

#[tokio::test]
async fn key_updates_of_the_client_are_followed() {
    let (mut client, mut server) = pair(&TLS13, 1 << 20).await;
    for round in 0..3 {
        client.get_mut().1.refresh_traffic_keys().unwrap();
        client.write_all(b"ask").await.unwrap();
        assert_eq!(read(&mut server, 3, 10).await, b"ask", "{round}");
        server.write_all(b"answer").await.unwrap();
        assert_eq!(read(&mut client, 6, 10).await, b"answer", "{round}");
    }
}

#[tokio::test]
async fn close_notify_is_an_end_and_a_break_is_an_error() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version, 1 << 20).await;
        client.write_all(b"last").await.unwrap();
        client.shutdown().await.unwrap();
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"last");
        // The server may still respond.
        server.write_all(b"answer").await.unwrap();
        server.shutdown().await.unwrap();
        let error = server.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        got.clear();
        client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"answer");

        let (client, mut server) = pair(version, 1 << 20).await;
        drop(client);
        let error = server.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

/// Reading does not write, so data that cannot be sent does not block received data.
#[tokio::test]
async fn last_data_is_read_while_a_write_is_blocked() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version, 5_000).await;
        let _ = server.write(&noise(60_000)).await.unwrap();
        client.write_all(b"last words").await.unwrap();
        drop(client);
        assert_eq!(read(&mut server, 10, 100).await, b"last words");
        assert!(server.flush().await.is_err());
    }
}

/// Each key update requests a response; rustls counts them.
#[tokio::test]
async fn endless_key_updates_end_the_connection() {
    let (mut client, mut server) = pair(&TLS13, 1 << 20).await;
    for _ in 0..100 {
        client.get_mut().1.refresh_traffic_keys().unwrap();
        client.flush().await.unwrap();
    }
    let error = server.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    // What the server has queued is the alert, not an answer to each.
    let mut queued = Vec::new();
    let connection = server.inner.get_mut().1;
    while connection.wants_write() {
        connection.write_tls(&mut queued).unwrap();
    }
    assert!(queued.len() < 1_000, "{}", queued.len());
}

/// After a forged record the connection accepts nothing, not even a valid record.
#[tokio::test]
async fn data_after_a_forged_record_is_not_read() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version, 1 << 20).await;
        client.write_all(b"before").await.unwrap();
        let false_record = [23, 3, 3, 0, 32].iter().chain(&[7; 32]).copied();
        let raw = client.get_mut().0;
        raw.write_all(&false_record.collect::<Vec<u8>>())
            .await
            .unwrap();
        client.write_all(b"after").await.unwrap();
        // It arrives in the same read as the forged record, and is delivered.
        assert_eq!(read(&mut server, 6, 10).await, b"before");
        for _ in 0..2 {
            let error = server.read(&mut [0; 10]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            assert!(server.write_all(b"answer").await.is_err());
        }
        // The client gets an alert with the reason.
        let error = client.read(&mut [0; 10]).await.unwrap_err();
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
    }
}

#[tokio::test]
async fn client_without_tls_gets_an_alert() {
    let (mut near, far) = tokio::io::duplex(1 << 16);
    near.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let error = TlsStream::accept(configs(&TLS13).0, far).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let mut told = Vec::new();
    near.read_to_end(&mut told).await.unwrap();
    assert_eq!(told[0], 21, "{told:?}");
}

#[tokio::test]
async fn truncated_handshake_fails() {
    let (mut near, far) = tokio::io::duplex(1 << 16);
    near.write_all(&[22, 3, 1, 0, 100, 1]).await.unwrap();
    drop(near);
    let error = TlsStream::accept(configs(&TLS13).0, far).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

/// One of five thousand that rest: what it is made of, without its keys.
#[test]
fn tls_stream_stays_small_in_memory() {
    assert!(size_of::<TlsStream<tokio::net::TcpStream>>() <= 1_600);
}
