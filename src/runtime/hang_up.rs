//! Recognizes a connection whose peer has closed it, without reading from it.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Returns whether the peer of `socket` has closed the connection, and not only its sending
/// half. Bytes that it sent before may still be unread. Never blocks.
pub(crate) fn has_hung_up(socket: &impl AsFd) -> bool {
    // The kernel reports POLLHUP whether or not it is asked for.
    let mut polled = [PollFd::new(socket, PollFlags::empty())];
    let now = Timespec::default();
    poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().contains(PollFlags::HUP)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn connection_is_hung_up_once_its_peer_has_closed_it() {
        let (near, mut far) = UnixStream::pair().unwrap();
        assert!(!has_hung_up(&near));
        far.write_all(b"request").unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        assert!(!has_hung_up(&near), "it still reads");
        drop(far);
        assert!(has_hung_up(&near));
    }
}
