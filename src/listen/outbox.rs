//! What waits to be written to one socket, in order, with control frames ahead of messages that have not started.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::limits;

/// More control frames wait than a client that reads could have caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flooded;

#[derive(Debug)]
struct Waiting {
    bytes: Bytes,
    control: bool,
}

/// Whole frames; the first one may be written in part.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Waiting>,
    /// The first of them has been written in part, so nothing may go before its rest.
    started: bool,
    control_bytes: usize,
    data_waiting: usize,
}

impl Outbox {
    /// Adds whole data frames behind everything.
    pub(super) fn push_data(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.data_waiting += 1;
            self.waiting.push_back(Waiting { bytes, control: false });
        }
    }

    /// Adds whole control frames behind those that wait, ahead of every message that has not started.
    pub(super) fn push_control(&mut self, bytes: Bytes) -> Result<(), Flooded> {
        if self.control_bytes + bytes.len() > limits::CONTROL_OUTBOX_BYTES_MAX {
            return Err(Flooded);
        }
        self.insert_control(bytes);
        Ok(())
    }

    /// Adds the last control frame of the connection, whatever waits.
    pub(super) fn push_close(&mut self, bytes: Bytes) {
        self.insert_control(bytes);
    }

    /// Adds the last message of the connection and its last control frame behind everything.
    pub(super) fn push_last(&mut self, message: Bytes, close: Bytes) {
        self.push_data(message);
        self.control_bytes += close.len();
        self.waiting.push_back(Waiting { bytes: close, control: true });
    }

    fn insert_control(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.control_bytes += bytes.len();
        let first = usize::from(self.started);
        let behind = self.waiting.iter().skip(first).take_while(|frames| frames.control).count();
        self.waiting.insert(first + behind, Waiting { bytes, control: true });
    }

    /// Drops the messages that have not started; the rest of one that has must still go out.
    pub(super) fn drop_unstarted_data(&mut self) {
        let mut first = self.started;
        self.waiting.retain(|frames| std::mem::take(&mut first) || frames.control);
        self.data_waiting = self.waiting.iter().filter(|frames| !frames.control).count();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn has_data(&self) -> bool {
        self.data_waiting > 0
    }

    /// The next bytes to write, as far as one write takes them.
    pub(super) fn slices(&self) -> ([IoSlice<'_>; limits::WRITE_PIECES_MAX], usize) {
        let mut slices = [IoSlice::new(&[]); limits::WRITE_PIECES_MAX];
        let mut count = 0;
        for (slice, frames) in slices.iter_mut().zip(&self.waiting) {
            *slice = IoSlice::new(&frames.bytes);
            count += 1;
        }
        (slices, count)
    }

    /// Takes `count` written bytes off the front; returns how many of them were data.
    pub(super) fn wrote(&mut self, mut count: usize) -> usize {
        let mut data = 0;
        while let Some(frames) = self.waiting.front_mut() {
            let taken = count.min(frames.bytes.len());
            frames.bytes.advance(taken);
            count -= taken;
            if frames.control {
                self.control_bytes -= taken;
            } else {
                data += taken;
            }
            if !frames.bytes.is_empty() {
                self.started |= taken > 0;
                break;
            }
            self.data_waiting -= usize::from(!frames.control);
            self.waiting.pop_front();
            self.started = false;
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(outbox: &Outbox) -> Vec<u8> {
        outbox.waiting.iter().flat_map(|frames| frames.bytes.to_vec()).collect()
    }

    #[test]
    fn control_frames_go_ahead_of_messages_but_never_into_one() {
        let mut outbox = Outbox::default();
        outbox.push_data(Bytes::from_static(b"AAAA"));
        outbox.push_data(Bytes::from_static(b"BBBB"));
        outbox.push_control(Bytes::from_static(b"1")).unwrap();
        outbox.push_control(Bytes::from_static(b"2")).unwrap();
        assert_eq!(all(&outbox), b"12AAAABBBB");
        assert_eq!(outbox.wrote(3), 1);
        outbox.push_control(Bytes::from_static(b"3")).unwrap();
        outbox.push_control(Bytes::from_static(b"4")).unwrap();
        assert_eq!(all(&outbox), b"AAA34BBBB");
        outbox.drop_unstarted_data();
        assert_eq!(all(&outbox), b"AAA34");
        assert!(outbox.has_data());
        assert_eq!(outbox.wrote(3), 3);
        assert!(!outbox.has_data() && !outbox.is_empty());
        assert_eq!(outbox.wrote(2), 0);
        assert!(outbox.is_empty());
    }

    #[test]
    fn control_frames_are_bounded_and_room_comes_back() {
        let mut outbox = Outbox::default();
        let full = Bytes::from(vec![0; limits::CONTROL_OUTBOX_BYTES_MAX]);
        outbox.push_control(full.clone()).unwrap();
        assert_eq!(outbox.push_control(Bytes::from_static(b"x")), Err(Flooded));
        outbox.push_close(Bytes::from_static(b"close"));
        outbox.wrote(full.len() + 5);
        assert!(outbox.is_empty());
        outbox.push_control(full).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn every_byte_goes_out_once_and_frames_stay_whole(
            steps in proptest::collection::vec((0u8..3, 1usize..6), 1..60)
        ) {
            let (mut outbox, mut out, mut pushed) = (Outbox::default(), Vec::new(), 0usize);
            for (number, (kind, length)) in steps.into_iter().enumerate() {
                let frame = Bytes::from(vec![number as u8; length]);
                match kind {
                    0 => { outbox.push_data(frame); pushed += length; }
                    1 => { outbox.push_control(frame).unwrap(); pushed += length; }
                    _ => {
                        let (slices, count) = outbox.slices();
                        let waiting: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                        let taken = length.min(waiting.len());
                        out.extend_from_slice(&waiting[..taken]);
                        outbox.wrote(taken);
                    }
                }
            }
            out.extend(all(&outbox));
            proptest::prop_assert_eq!(out.len(), pushed);
            let mut seen = std::collections::HashSet::new();
            for run in out.chunk_by(|a, b| a == b) {
                proptest::prop_assert!(seen.insert(run[0]), "frame {} was split", run[0]);
            }
        }
    }
}
