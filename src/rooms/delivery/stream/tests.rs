use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::core::ids::RoomName;
use crate::rooms::{Audience, EventKind};

/// Returns a shared stream, its direct writer, and the other end, which holds `room` bytes
/// unread.
fn shared_stream(
    room: usize,
) -> (
    SharedStream<DuplexStream>,
    Arc<dyn DirectWriter>,
    DuplexStream,
) {
    let (near, far) = tokio::io::duplex(room);
    let shared_stream = SharedStream::new(near, &ENCODER, Arc::default(), None);
    let direct_writer = shared_stream.direct_writer();
    (shared_stream, direct_writer, far)
}

/// Writes a broadcast as an unmasked text frame.
static ENCODER: PublicationEncoder = PublicationEncoder {
    wire: Wire::Desk,
    frame: |publication| {
        let EventKind::Broadcast(text) = publication.kind() else {
            panic!("only broadcasts are sent here");
        };
        let text = text.as_bytes();
        let head = match u8::try_from(text.len()) {
            Ok(length @ ..126) => vec![0x81, length],
            _ => [
                &[0x81, 126],
                &u16::try_from(text.len()).unwrap().to_be_bytes()[..],
            ]
            .concat(),
        };
        [&head, text].concat().into()
    },
    ping: |payload| [&[0x89, 16], payload].concat().into(),
};

fn batch(texts: &[&'static str]) -> Batch {
    let room = RoomName::ticket("1".parse().unwrap());
    let publication = |text: &&'static str| {
        let what = EventKind::Broadcast((*text).to_owned());
        Arc::new(Publication::new(room.clone(), what, Audience::All))
    };
    texts.iter().map(publication).collect()
}

/// Makes one write; returns whether nothing is unsent then.
fn more(shared_stream: &SharedStream<DuplexStream>) -> io::Result<bool> {
    let sent = std::future::poll_fn(|cx| shared_stream.poll_send(cx));
    sent.now_or_never().expect("there is room")
}

fn deliveries(shared_stream: &SharedStream<DuplexStream>) -> u64 {
    shared_stream.0.metrics.delivered()
}

#[tokio::test]
async fn batch_that_fits_is_written_at_once() {
    let (shared_stream, direct_writer, mut far) = shared_stream(100);
    assert_eq!(
        direct_writer.send(&mut || batch(&["one", "two"])),
        SendResult::All
    );
    assert_eq!(deliveries(&shared_stream), 2);
    let mut came = [0; 10];
    far.read_exact(&mut came).await.unwrap();
    assert_eq!(&came, b"\x81\x03one\x81\x03two");
    assert_eq!(direct_writer.send(&mut Batch::new), SendResult::All);
}

/// At every point at which the stream may stop accepting bytes.
#[tokio::test]
async fn rest_of_a_batch_is_written_before_later_writes() {
    for room in 1..14 {
        let (mut shared_stream, direct_writer, mut far) = shared_stream(room);
        assert_eq!(
            direct_writer.send(&mut || batch(&["one", "two", "six"])),
            SendResult::Part
        );
        assert_eq!(deliveries(&shared_stream), 0);
        // No other write comes between.
        let taken = direct_writer.send(&mut || panic!("taken though an earlier batch is unsent"));
        assert_eq!(taken, SendResult::Nothing);
        shared_stream.enqueue(batch(&["ten"]));
        let mut came = Vec::new();
        tokio::join!(
            async {
                shared_stream.write_all(b"later").await.unwrap();
                shared_stream.flush().await.unwrap();
                assert_eq!(deliveries(&shared_stream), 4);
                assert_eq!(direct_writer.send(&mut Batch::new), SendResult::All);
                shared_stream.shutdown().await.unwrap();
            },
            async { far.read_to_end(&mut came).await.unwrap() },
        );
        assert_eq!(came, b"\x81\x03one\x81\x03two\x81\x03six\x81\x03tenlater");
    }
}

#[tokio::test]
async fn failed_direct_write_is_reported_to_the_session() {
    let (shared_stream, direct_writer, far) = shared_stream(100);
    drop(far);
    assert_eq!(
        direct_writer.send(&mut || batch(&["one"])),
        SendResult::Part
    );
    assert!(more(&shared_stream).is_err());
    assert_eq!(deliveries(&shared_stream), 0);
}

#[tokio::test]
async fn large_batch_is_written_in_bounded_chunks() {
    let (shared_stream, direct_writer, mut far) = shared_stream(1024 * 1024);
    let text: &'static str = "x".repeat(1000).leak();
    assert_eq!(
        direct_writer.send(&mut || batch(&[text; 40])),
        SendResult::Part
    );
    let mut came = vec![0; 2 * MAX_WRITE_BYTES];
    assert_eq!(far.read(&mut came).await.unwrap(), MAX_WRITE_BYTES);
    assert!(!more(&shared_stream).unwrap());
    assert_eq!(far.read(&mut came).await.unwrap(), MAX_WRITE_BYTES);
    // A frame that has left in part is completed.
    shared_stream.discard_unsent();
    assert!(more(&shared_stream).unwrap());
    let left = far.read(&mut came).await.unwrap();
    assert_eq!((2 * MAX_WRITE_BYTES + left) % (4 + 1000), 0);
    assert_eq!(deliveries(&shared_stream), 0);
}
