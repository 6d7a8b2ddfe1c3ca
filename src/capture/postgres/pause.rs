//! A wait of less than a millisecond, which the runtime's own clock rounds up to one or two: too long for the buffer of a
//! socket into which a walsender writes 200,000 rows a second.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Duration;

/// A timer of the system.
#[derive(Debug)]
pub(super) struct Pause(AsyncFd<OwnedFd>);

impl Pause {
    /// A timer that is not running. Within a runtime only.
    pub(super) fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that can change their descriptor; OwnedFd cannot"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self(timer))
    }

    /// Starts it, anew if it is running. `time` is longer than 0 and shorter than a second.
    pub(super) fn start(&self, time: Duration) -> io::Result<()> {
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &Itimerspec { it_interval: once, it_value })?;
        Ok(())
    }

    /// Waits until it has run out. Dropping the future leaves it running.
    pub(super) async fn over(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(read) = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0; 8])?)) {
                return read.map(drop);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_pause_is_no_shorter_than_asked_for_and_can_be_made_again() {
        let pause = Pause::new().unwrap();
        for _ in 0..20 {
            let began = Instant::now();
            pause.start(Duration::from_micros(100)).unwrap();
            pause.over().await.unwrap();
            assert!(began.elapsed() >= Duration::from_micros(100));
        }
    }
}
