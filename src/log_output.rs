//! The log on its way to standard error: whoever logs neither waits for it nor fails over it.
//!
//! Owns the queue between those who log and the one thread that writes, what was lost because the queue was full or nothing
//! could be written, and that this is said once lines can be written again. Leaves what a line looks like, and starting the
//! thread, to whoever sets the log up.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::limits;

static LOST: AtomicU64 = AtomicU64::new(0);
/// The last line was lost.
static FAILING: AtomicBool = AtomicBool::new(false);

/// Log lines of this process that are lost.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Whether the log cannot be written now.
pub fn is_failing() -> bool {
    FAILING.load(Ordering::Relaxed)
}

fn lose_one() {
    LOST.fetch_add(1, Ordering::Relaxed);
    FAILING.store(true, Ordering::Relaxed);
}

/// Takes log lines.
#[derive(Debug, Clone)]
pub struct LogOutput {
    queue: SyncSender<Said>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// What the writing thread gets.
#[derive(Debug)]
enum Said {
    /// A line with its end.
    Line(Vec<u8>),
    /// Tell when everything before has been dealt with.
    Flush(SyncSender<()>),
}

/// The other end, for the thread that writes.
#[derive(Debug)]
pub struct LogWriter {
    said: Receiver<Said>,
    waiting_bytes: Arc<AtomicUsize>,
    /// Lines lost that the log has told of.
    told: u64,
    /// The last line that was written lacks its end.
    cut: bool,
}

/// A queue for log lines.
pub fn queue() -> (LogOutput, LogWriter) {
    let (queue, said) = sync_channel(limits::LOG_QUEUE_LINES);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let output = LogOutput { queue, waiting_bytes: waiting_bytes.clone() };
    (output, LogWriter { said, waiting_bytes, told: lost(), cut: false })
}

impl LogOutput {
    /// Takes one line with its end, or counts it as lost. Does not wait.
    pub fn line(&self, line: Vec<u8>) {
        let bytes = line.len();
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let room = before + bytes <= limits::LOG_QUEUE_BYTES_MAX;
        if !room || self.queue.try_send(Said::Line(line)).is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            lose_one();
        }
    }

    /// Waits, a little, until the lines before are written. Blocks.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.try_send(Said::Flush(done)).is_ok() {
            let _ = written.recv_timeout(Duration::from_millis(limits::LOG_FLUSH_MILLIS_MAX));
        }
    }
}

/// Each call takes a whole line: that is how events are given.
impl Write for LogOutput {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogWriter {
    /// Writes what comes, until nobody is left who could log. Blocks.
    pub fn run(mut self, mut out: impl Write) {
        while let Ok(said) = self.said.recv() {
            match said {
                Said::Line(line) => {
                    self.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    self.write(&mut out, &line);
                }
                Said::Flush(done) => drop(done.try_send(())),
            }
        }
    }

    fn write(&mut self, out: &mut impl Write, line: &[u8]) {
        // The half of a line must not spoil the next one.
        let written = if self.cut { out.write_all(b"\n").map(|()| self.cut = false) } else { Ok(()) };
        match written.and_then(|()| self.write_line(out, line)) {
            Ok(()) => {
                FAILING.store(false, Ordering::Relaxed);
                self.tell_of_lost();
            }
            Err(_) => lose_one(),
        }
    }

    fn write_line(&mut self, out: &mut impl Write, line: &[u8]) -> io::Result<()> {
        let mut left = line;
        let mut patience = limits::LOG_TRIES_MAX;
        while !left.is_empty() {
            match out.write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Another process may have set the terminal or the pipe that we share so that writing does not wait.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(Duration::from_millis(limits::LOG_TRY_MILLIS));
                }
                Err(error) => return Err(error),
            }
            self.cut = !left.is_empty();
        }
        out.flush()
    }

    /// The log can be written: says what is missing in it. An event like any other, so that it looks like one.
    fn tell_of_lost(&mut self) {
        let lines = lost() - self.told;
        if lines > 0 && self.waiting_bytes.load(Ordering::Relaxed) < limits::LOG_QUEUE_BYTES_MAX / 2 {
            self.told += lines;
            tracing::warn!(lines, "log lines could not be written and are lost; the log can be written again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// One test at a time: what is lost is counted for the process.
    static ONE: Mutex<()> = Mutex::new(());

    /// Takes so many bytes, then nothing while it is full.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Disk {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().1.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let count = bytes.len().min(disk.0);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.0 -= count;
            disk.1.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_lines_and_counts_them_and_cuts_no_later_one() {
        let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (before, disk) = (lost(), Disk::default());
        disk.0.lock().unwrap().0 = 9;
        let (output, writer) = queue();
        let out = disk.clone();
        let thread = std::thread::spawn(move || writer.run(out));
        for line in ["first\n", "second\n", "third\n"] {
            output.line(line.into());
        }
        output.flush();
        assert_eq!((disk.text().as_str(), lost() - before), ("first\nsec", 2));
        disk.0.lock().unwrap().0 = 1_000;
        output.line(b"fourth\n".to_vec());
        drop(output);
        thread.join().unwrap();
        assert_eq!((disk.text().as_str(), lost() - before), ("first\nsec\nfourth\n", 2));
    }

    #[test]
    fn nobody_waits_for_a_writer_that_hangs_and_what_does_not_fit_is_counted() {
        let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = lost();
        let (output, writer) = queue();
        let line = vec![b'x'; limits::LOG_QUEUE_BYTES_MAX / 8];
        (0..10).for_each(|_| output.line(line.clone()));
        assert_eq!(lost() - before, 2);
        let disk = Disk(Arc::new(Mutex::new((usize::MAX, Vec::new()))));
        drop(output);
        writer.run(disk.clone());
        assert_eq!(disk.text().len(), 8 * line.len());
    }
}
