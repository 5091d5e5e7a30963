//! Rooms of sessions. The loop that reads an event makes its frame once, then encrypts and
//! writes it to each member.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::{self, JoinSet};
use tokio_rustls::rustls::ServerConnection;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Stream;
use super::request::Requests;

/// The members of each room.
#[derive(Default)]
pub(super) struct Rooms {
    members: Mutex<HashMap<usize, Vec<Arc<Member>>>>,
    /// Sessions with queued events; `None` if each event is written at once.
    waiting: Option<Mutex<VecDeque<Arc<Member>>>>,
    wake: Notify,
}

struct Member {
    tcp: TcpStream,
    tls: Mutex<ServerConnection>,
    /// Queued frames, which one write sends.
    frames: Mutex<Vec<u8>>,
    /// Whether the socket is full.
    full: Notify,
}

/// A client that begins a session, and the response to its handshake.
pub(super) struct Guest {
    pub(super) room: usize,
    pub(super) welcome: Vec<u8>,
    pub(super) stream: Stream,
}

/// Returns the response to a WebSocket handshake.
pub(super) fn welcome(key: &str) -> Vec<u8> {
    let accept = derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}

impl Rooms {
    pub(super) fn new(coalesce: bool) -> Self {
        Self {
            waiting: coalesce.then(Mutex::default),
            ..Self::default()
        }
    }

    /// Runs a session until its client disconnects. The future holds only the queue.
    pub(super) fn live(&self, guest: Guest) -> impl Future<Output = io::Result<()>> {
        let room = guest.room;
        let entered = self.enter(guest);
        async move {
            let member = entered?;
            let ended = member.listen().await;
            if let Some(members) = self.members.lock().get_mut(&room) {
                members.retain(|other| !Arc::ptr_eq(other, &member));
            }
            ended
        }
    }

    fn enter(&self, guest: Guest) -> io::Result<Arc<Member>> {
        let (tcp, tls) = guest.stream.into_inner();
        let member = Arc::new(Member {
            tcp,
            tls: Mutex::new(tls),
            frames: Mutex::default(),
            full: Notify::new(),
        });
        member.send(&guest.welcome)?;
        let entry = Arc::clone(&member);
        let mut members = self.members.lock();
        members.entry(guest.room).or_default().push(entry);
        Ok(member)
    }

    /// Accepts events at `socket`, in the edge's form.
    pub(super) async fn take_publications(self: Arc<Self>, socket: &Path) -> anyhow::Result<()> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot listen on {}", socket.display()))?;
        let mut tasks = JoinSet::new();
        let rooms = Arc::clone(&self);
        tasks.spawn(async move { rooms.write_what_waits().await });
        loop {
            let (stream, _) = listener.accept().await?;
            let rooms = Arc::clone(&self);
            // It ends when the publisher disconnects.
            tasks.spawn(async move {
                let _ = rooms.publish_all(stream).await;
            });
        }
    }

    async fn publish_all(&self, stream: UnixStream) -> io::Result<()> {
        let mut requests = Requests::of(stream);
        while let Some(request) = requests.next().await? {
            let event = requests.body(request.length).await?;
            let room = room(&event).ok_or(ErrorKind::InvalidData)?;
            self.publish(room, &frame(&event));
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            requests.stream.write_all(answer).await?;
        }
        Ok(())
    }

    fn publish(&self, room: usize, frame: &[u8]) {
        let members = self.members.lock();
        for member in members.get(&room).into_iter().flatten() {
            let Some(waiting) = &self.waiting else {
                // Its own task notices the disconnect.
                let _ = member.send(frame);
                continue;
            };
            let mut frames = member.frames.lock();
            if frames.is_empty() {
                waiting.lock().push_back(Arc::clone(member));
            }
            frames.extend_from_slice(frame);
        }
        self.wake.notify_one();
    }

    /// Writes to a few members at a time, so that more events queue for the others meanwhile.
    async fn write_what_waits(&self) {
        loop {
            self.wake.notified().await;
            while let Some(waiting) = self.waiting.as_ref().filter(|all| !all.lock().is_empty()) {
                let some: Vec<_> = {
                    let mut waiting = waiting.lock();
                    let count = waiting.len().min(AT_A_TIME);
                    waiting.drain(..count).collect()
                };
                for member in some {
                    let frames = std::mem::take(&mut *member.frames.lock());
                    let _ = member.send(&frames);
                }
                task::yield_now().await;
            }
        }
    }
}

impl Member {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut tls = self.tls.lock();
        tls.writer().write_all(bytes)?;
        self.flush(&mut tls)
    }

    fn flush(&self, tls: &mut ServerConnection) -> io::Result<()> {
        while tls.wants_write() {
            match tls.write_tls(&mut Wire(&self.tcp)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.full.notify_one();
                    return Ok(());
                }
                written => written?,
            };
        }
        Ok(())
    }

    /// Reads and discards, until the client disconnects.
    async fn listen(&self) -> io::Result<()> {
        loop {
            // Both branches are cancel-safe.
            tokio::select! {
                ready = self.tcp.readable() => {
                    ready?;
                    if !self.read()? {
                        return Ok(());
                    }
                }
                () = self.full.notified() => {
                    self.tcp.writable().await?;
                    self.flush(&mut self.tls.lock())?;
                }
            }
        }
    }

    /// Returns whether the client is still connected.
    fn read(&self) -> io::Result<bool> {
        let mut tls = self.tls.lock();
        loop {
            match tls.read_tls(&mut Wire(&self.tcp)) {
                Ok(0) => return Ok(false),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                read => read?,
            };
            tls.process_new_packets().map_err(io::Error::other)?;
            while tls.reader().read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
        }
    }
}

/// A socket that is read and written as far as possible without waiting.
struct Wire<'a>(&'a TcpStream);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the room of an event of this bench.
fn room(event: &[u8]) -> Option<usize> {
    let (_, rest) = std::str::from_utf8(event)
        .ok()?
        .split_once(r#""ticket_id":"#)?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}

/// Returns an unmasked text frame (RFC 6455 §5.2) of less than 64 KiB.
fn frame(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        length @ 0..126 => frame.push(length as u8),
        length => {
            frame.push(126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(text);
    frame
}

const AT_A_TIME: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_tells_its_length() {
        assert_eq!(frame(b"hi"), b"\x81\x02hi");
        assert_eq!(frame(&[b'x'; 200])[..4], [0x81, 126, 0, 200]);
    }

    #[test]
    fn the_room_is_in_the_event() {
        let event = br#"{"type":"new_message","payload":{"ticket_id":17,"due":1}}"#;
        assert_eq!(room(event), Some(17));
        assert_eq!(room(b"{}"), None);
    }
}
