//! Whole frames of a server, encoded once for all sessions that send them.

use tokio_tungstenite::tungstenite::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Returns the frame with `text`, head and text.
pub(super) fn text_frame(text: &str) -> Bytes {
    encode_frame(OpCode::Data(Data::Text), text.as_bytes())
}

/// Returns the frame of a ping. Its `payload` has at most 125 bytes (RFC 6455 §5.5).
pub(super) fn ping_frame(payload: &[u8]) -> Bytes {
    encode_frame(OpCode::Control(Control::Ping), payload)
}

fn encode_frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(payload.len() + MAX_FRAME_HEADER_BYTES);
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    header
        .format(payload.len() as u64, &mut frame)
        .expect("writing to a Vec never fails");
    frame.extend_from_slice(payload);
    frame.into()
}

/// The maximum header of a frame that is not masked (RFC 6455 §5.2).
const MAX_FRAME_HEADER_BYTES: usize = 10;
