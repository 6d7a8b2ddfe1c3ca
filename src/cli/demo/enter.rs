//! The Enter key: each line that comes on standard input.
//!
//! Owns the reading of it; what a line means is the demo's. In the background, where reading a terminal would stop the
//! program, nothing is read until it is in front again.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::sync::mpsc;

use crate::limits;

/// Time between two looks at whether there is something to read, in milliseconds.
const LOOK_MILLIS: i64 = 200;

/// Tells of each line.
#[derive(Debug)]
pub(super) struct Enter(mpsc::Receiver<()>);

impl Enter {
    /// Reads standard input from now on, to its end. The program does not wait for that.
    pub(super) fn listen() -> Self {
        let (sender, receiver) = mpsc::channel(limits::DEMO_LINES_WAITING_MAX);
        tokio::task::spawn_blocking(move || {
            while let Ok(true) = next_line(&sender) {
                if sender.blocking_send(()).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// Waits for the next line; for ever once there is none.
    pub(super) async fn pressed(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits for a line and reads it; false at the end, or when nobody wants to know.
fn next_line(wanted: &mpsc::Sender<()>) -> io::Result<bool> {
    let input = io::stdin();
    while !wanted.is_closed() {
        let look = Timespec { tv_sec: 0, tv_nsec: LOOK_MILLIS * 1_000_000 };
        match poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&look)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        if is_behind(&input) {
            std::thread::sleep(Duration::from_millis(LOOK_MILLIS.unsigned_abs()));
            continue;
        }
        // What a line holds does not matter: byte by byte, so that a long one takes no memory.
        let mut byte = [0_u8; 1];
        loop {
            match rustix::io::read(&input, &mut byte) {
                Ok(0) => return Ok(false),
                Ok(_) if byte[0] == b'\n' => return Ok(true),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(false)
}

/// Whether the terminal has another program in front.
fn is_behind(input: &io::Stdin) -> bool {
    input.is_terminal() && rustix::termios::tcgetpgrp(input).is_ok_and(|front| front != rustix::process::getpgrp())
}
