//! What the kernel still holds of our output because the peer has no room for it.

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::limits;

/// A socket that can be asked about its send queue.
pub trait SendQueue {
    /// Whether the kernel holds more than [`limits::KERNEL_REST_BYTES`] that it could not send yet. What was sent and is
    /// not acknowledged does not count: on a dead line that is all there is.
    fn holds_unsent(&self) -> bool;
}

impl SendQueue for TcpStream {
    fn holds_unsent(&self) -> bool {
        let socket = SockRef::from(self);
        // While this mark is set, a socket with more unsent bytes is not writable; zero is the system's own mark.
        if socket.set_tcp_notsent_lowat(limits::KERNEL_REST_BYTES).is_err() {
            return false;
        }
        let mut asked = [PollFd::new(self, PollFlags::OUT)];
        let answered = poll(&mut asked, Some(&Timespec::default()));
        let writable = asked[0].revents().intersects(PollFlags::OUT | PollFlags::ERR | PollFlags::HUP);
        let _ = socket.set_tcp_notsent_lowat(0);
        answered.is_ok() && !writable
    }
}

impl SendQueue for TlsStream<TcpStream> {
    fn holds_unsent(&self) -> bool {
        self.get_ref().0.holds_unsent()
    }
}

impl SendQueue for TokioIo<Upgraded> {
    fn holds_unsent(&self) -> bool {
        false
    }
}
