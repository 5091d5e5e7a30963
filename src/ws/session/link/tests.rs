use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::*;
use crate::ids::RoomName;
use crate::rooms::{Audience, EventKind, Publication};

/// A link, what delivers to it, and its other end, which takes `room` bytes unread.
fn link(room: usize) -> (Link<DuplexStream>, Arc<dyn DirectWriter>, DuplexStream) {
    let (near, far) = tokio::io::duplex(room);
    let link = Link::new(near, Arc::default());
    let direct_writer = link.direct_writer();
    (link, direct_writer, far)
}

fn batch(texts: &[&'static str]) -> Batch {
    let room = RoomName::ticket("1".parse().unwrap());
    let publication = |text: &&'static str| {
        let what = EventKind::Broadcast(Utf8Bytes::from_static(text));
        Arc::new(Publication::new(room, what, Audience::All))
    };
    texts.iter().map(publication).collect()
}

/// Writes once; true if that was all.
fn more(link: &Link<DuplexStream>) -> io::Result<bool> {
    let sent = std::future::poll_fn(|cx| link.poll_send(cx));
    sent.now_or_never().expect("there is room")
}

fn deliveries(link: &Link<DuplexStream>) -> u64 {
    link.0.metrics.deliveries.read()
}

#[tokio::test]
async fn what_fits_leaves_at_once() {
    let (link, direct_writer, mut far) = link(100);
    assert_eq!(
        direct_writer.send(&mut || batch(&["one", "two"])),
        SendResult::All
    );
    assert_eq!(deliveries(&link), 2);
    let mut came = [0; 10];
    far.read_exact(&mut came).await.unwrap();
    assert_eq!(&came, b"\x81\x03one\x81\x03two");
    assert_eq!(direct_writer.send(&mut Batch::new), SendResult::All);
}

/// Wherever the stream stops taking it.
#[tokio::test]
async fn what_does_not_fit_goes_before_what_is_written_later() {
    for room in 1..14 {
        let (mut link, direct_writer, mut far) = link(room);
        assert_eq!(
            direct_writer.send(&mut || batch(&["one", "two", "six"])),
            SendResult::Part
        );
        assert_eq!(deliveries(&link), 0);
        // Nobody else comes between.
        let taken = direct_writer.send(&mut || panic!("taken, though not all has left"));
        assert_eq!(taken, SendResult::Nothing);
        link.put(batch(&["ten"]));
        let mut came = Vec::new();
        tokio::join!(
            async {
                link.write_all(b"later").await.unwrap();
                link.flush().await.unwrap();
                assert_eq!(deliveries(&link), 4);
                assert_eq!(direct_writer.send(&mut Batch::new), SendResult::All);
                link.shutdown().await.unwrap();
            },
            async { far.read_to_end(&mut came).await.unwrap() },
        );
        assert_eq!(came, b"\x81\x03one\x81\x03two\x81\x03six\x81\x03tenlater");
    }
}

#[tokio::test]
async fn the_session_finds_out_that_it_cannot_be_sent() {
    let (link, direct_writer, far) = link(100);
    drop(far);
    assert_eq!(
        direct_writer.send(&mut || batch(&["one"])),
        SendResult::Part
    );
    assert!(more(&link).is_err());
    assert_eq!(deliveries(&link), 0);
}

#[tokio::test]
async fn one_turn_is_one_write_of_little() {
    let (link, direct_writer, mut far) = link(1024 * 1024);
    let text: &'static str = "x".repeat(1000).leak();
    assert_eq!(
        direct_writer.send(&mut || batch(&[text; 40])),
        SendResult::Part
    );
    let mut came = vec![0; 2 * AT_ONCE];
    assert_eq!(far.read(&mut came).await.unwrap(), AT_ONCE);
    assert!(!more(&link).unwrap());
    assert_eq!(far.read(&mut came).await.unwrap(), AT_ONCE);
    // What has begun to leave is not cut off.
    link.forget();
    assert!(more(&link).unwrap());
    let left = far.read(&mut came).await.unwrap();
    assert_eq!((2 * AT_ONCE + left) % (4 + 1000), 0);
    assert_eq!(deliveries(&link), 0);
}
