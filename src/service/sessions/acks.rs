//! What a member of a consumer group acknowledges on its connection: read, checked, and handed to whoever commits it.
//!
//! Acknowledgements follow the order in which records were sent, so only the last one counts: however many a member sends, what
//! is kept of them is one position.
//!
//! What a session says of itself (a heartbeat, that all is sent) has a position too, which may be acknowledged at any time, also
//! when the next session has begun on the connection, from places further back. Such positions carry the number of
//! their session, and those of an earlier one acknowledge nothing: by then all that it sent is acknowledged, and nothing
//! is known of what the next one has sent.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tokio::sync::{Notify, watch};

use crate::codec::token::{self, ContractHash, TokenScope};
use crate::delivery::end::End;
use crate::delivery::group::{Owned, Place, place_of};
use crate::record::Position;

/// The acknowledgements of one member.
#[derive(Debug)]
pub(super) struct Acks {
    contract: ContractHash,
    state: Mutex<State>,
    /// Something is to be committed, or nothing will be any more.
    to_commit: Notify,
    /// Counts commits, and the end.
    moved: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    window: Option<Window>,
    /// The number of the last window.
    opened: u32,
    /// The last acknowledged position of the windows before: it may be acknowledged again while a new one begins.
    before: Option<Position>,
    end: Option<End>,
    is_closed: bool,
}

/// What the member is being sent: partitions, each from some place on.
#[derive(Debug)]
struct Window {
    /// Of the session that sends it.
    number: u32,
    places: Vec<(u16, u64, Place)>,
    begin: Place,
    /// The last record that it was sent.
    record: Option<Position>,
    /// The last position that it was sent, of a record or not.
    sent: Option<Position>,
    acked: Option<Position>,
    /// What is to be committed next.
    pending: Option<Position>,
    is_committing: bool,
}

/// What is to be committed: each partition with the generation that it is had under.
pub(super) type Places = Vec<(u16, u64, Position)>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    ack: String,
}

impl Acks {
    /// Of a member of a stream under that contract, which was sent nothing yet.
    pub(super) fn new(contract: ContractHash) -> Self {
        Self { contract, state: Mutex::default(), to_commit: Notify::new(), moved: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a text message of the client. What is none ends the session.
    pub(super) fn take(&self, text: &[u8]) {
        let taken = match serde_json::from_slice::<Said>(text) {
            Ok(said) => self.take_position(&said.ack),
            Err(_) => Err("a message must be one object {\"ack\": \"<pos>\"}"),
        };
        if let Err(what) = taken {
            self.end(End::NotAcknowledged(what));
        }
    }

    /// Takes a message that is no text.
    pub(super) fn refuse_binary(&self) {
        self.end(End::NotAcknowledged("a message must be text: one object {\"ack\": \"<pos>\"}"));
    }

    fn take_position(&self, text: &str) -> Result<(), &'static str> {
        const NOT_SENT: &str = "the position was not sent on this connection";
        let token = token::decode(text).map_err(|_| "ack is not a position that this server gave out")?;
        if token.scope != TokenScope::Stream(self.contract) {
            return Err(NOT_SENT);
        }
        let mut position = token.position;
        let mut state = self.state();
        if position.is_behind() {
            let number = std::mem::take(&mut position.xid_hash);
            let is_of_window = state.window.as_ref().is_some_and(|window| window.number == number);
            if !is_of_window {
                return if (1..=state.opened).contains(&number) { Ok(()) } else { Err(NOT_SENT) };
            }
        } else if state.before == Some(position) {
            return Ok(());
        }
        let before = state.before.map(|before| place_of(&before));
        let Some(window) = &mut state.window else {
            let known = before.is_some_and(|before| place_of(&position) <= before);
            return if known { Ok(()) } else { Err(NOT_SENT) };
        };
        let sent = window.sent.filter(|sent| sent.epoch == position.epoch).map(|sent| place_of(&sent));
        let place = place_of(&position);
        if sent.is_none_or(|sent| place > sent) || (place <= window.begin && !position.is_behind()) {
            return Err(NOT_SENT);
        }
        if place > window.begin && window.acked.is_none_or(|acked| place > place_of(&acked)) {
            window.acked = Some(position);
            window.pending = Some(position);
            drop(state);
            self.to_commit.notify_one();
        }
        Ok(())
    }

    /// The member is sent these partitions from now on, each from where it is committed on, by the session of that number, which
    /// is higher than any before.
    pub(super) fn open_window(&self, number: u32, owned: &[Owned], begin: &Position) {
        let places = owned.iter().map(|owned| (owned.partition, owned.generation, place_of(&owned.committed)));
        let window = Window {
            number,
            places: places.collect(),
            begin: place_of(begin),
            record: None,
            sent: None,
            acked: None,
            pending: None,
            is_committing: false,
        };
        let mut state = self.state();
        (state.window, state.opened) = (Some(window), number);
    }

    /// Nothing of what it was sent is outstanding.
    pub(super) fn close_window(&self) {
        let mut state = self.state();
        let acked = state.window.take().and_then(|window| window.acked);
        state.before = acked.or(state.before);
    }

    /// The last record of the trail that the member was sent, if there is one, and the last position of all: a heartbeat repeats one, and
    /// need not be acknowledged.
    pub(super) fn sent(&self, record: Option<Position>, position: Position) {
        if let Some(window) = &mut self.state().window {
            (window.record, window.sent) = (record, Some(position));
            if commits_when_sent() {
                (window.acked, window.pending) = (Some(position), Some(position));
                self.to_commit.notify_one();
            }
        }
    }

    /// Whether all records that the member was sent are acknowledged.
    #[cfg(test)]
    pub(super) fn all_acknowledged(&self) -> bool {
        self.state().window.as_ref().is_none_or(Window::all_acknowledged)
    }

    /// Whether all of it is committed, too.
    pub(super) fn is_settled(&self) -> bool {
        let settled = |window: &Window| window.all_acknowledged() && window.pending.is_none() && !window.is_committing;
        self.state().window.as_ref().is_none_or(settled)
    }

    /// Commits as far as `position` what the member has passed without being sent anything of it, if nothing is outstanding.
    pub(super) fn advance(&self, position: Position) {
        let mut state = self.state();
        let Some(window) = &mut state.window else { return };
        let acked = window.acked.as_ref().map_or(window.begin, place_of);
        if window.all_acknowledged() && window.pending.is_none() && place_of(&position) > acked {
            window.pending = Some(position);
            drop(state);
            self.to_commit.notify_one();
        }
    }

    /// Waits for something to commit; none when there will be nothing any more.
    pub(super) async fn next_to_commit(&self) -> Option<Places> {
        loop {
            {
                let mut state = self.state();
                if let Some(window) = &mut state.window
                    && let Some(position) = window.pending.take()
                {
                    window.is_committing = true;
                    let reached = window.places.iter().filter(|(_, _, behind)| place_of(&position) > *behind);
                    return Some(
                        reached.map(|(partition, generation, _)| (*partition, *generation, position)).collect(),
                    );
                }
                if state.is_closed {
                    return None;
                }
            }
            self.to_commit.notified().await;
        }
    }

    /// What was to be committed is.
    pub(super) fn committed(&self) {
        if let Some(window) = &mut self.state().window {
            window.is_committing = false;
        }
        self.moved.send_modify(|moved| *moved += 1);
    }

    /// The session is to end.
    pub(super) fn end(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.moved.send_modify(|moved| *moved += 1);
    }

    /// Why the session is to end, if it is.
    pub(super) fn ended(&self) -> Option<End> {
        self.state().end.clone()
    }

    /// Tells when something was committed, or the session is to end.
    pub(super) fn moves(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// The connection is gone: what was acknowledged on it is committed, and nothing more.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.to_commit.notify_one();
    }
}

impl Window {
    fn all_acknowledged(&self) -> bool {
        let record = self.record.as_ref().map(place_of);
        record.is_none_or(|record| self.acked.as_ref().is_some_and(|acked| place_of(acked) >= record))
    }
}

/// Whether a test asked that what is sent is taken for acknowledged, so that it can be seen to be lost.
#[cfg(feature = "fault-injection")]
fn commits_when_sent() -> bool {
    static ASKED: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        std::env::var_os("TRAILCAST_TEST_COMMIT_WHEN_SENT").is_some_and(|value| value == "1")
    });
    *ASKED
}

/// Nothing is before its client says so.
#[cfg(not(feature = "fault-injection"))]
const fn commits_when_sent() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Epoch;

    const CONTRACT: ContractHash = ContractHash(7);

    fn at(commit: u64, record: u32) -> Position {
        Position { epoch: Epoch(1), commit, record, xid_hash: 0 }
    }

    fn owned(partition: u16, commit: u64) -> Owned {
        Owned { partition, generation: u64::from(partition) + 10, wanted: false, committed: at(commit, 0) }
    }

    fn say(acks: &Acks, position: &Position) -> Option<End> {
        let text = format!("{{\"ack\":\"{}\"}}", token::encode(position, CONTRACT).as_str());
        acks.take(text.as_bytes());
        acks.ended()
    }

    #[tokio::test]
    async fn an_acknowledgement_commits_each_partition_up_to_it_and_none_backwards() {
        let acks = Acks::new(CONTRACT);
        acks.open_window(1, &[owned(0, 5), owned(1, 9)], &at(5, 0));
        acks.sent(Some(at(8, 1)), at(8, 1));
        assert!(!acks.all_acknowledged());
        assert_eq!(say(&acks, &at(7, 0)), None);
        assert_eq!(acks.next_to_commit().await, Some(vec![(0, 10, at(7, 0))]));
        acks.committed();
        acks.sent(Some(at(12, 0)), at(12, 0));
        for position in [at(8, 0), at(12, 0), at(11, 0)] {
            assert_eq!(say(&acks, &position), None);
        }
        assert!(acks.all_acknowledged() && !acks.is_settled());
        assert_eq!(
            acks.next_to_commit().await,
            Some(vec![(0, 10, at(12, 0)), (1, 11, at(12, 0))]),
            "the last one counts"
        );
        assert!(!acks.is_settled());
        acks.committed();
        assert!(acks.is_settled());
        acks.close();
        assert_eq!(acks.next_to_commit().await, None);
    }

    #[test]
    fn what_was_not_sent_and_what_is_no_acknowledgement_ends_the_session_with_a_sentence() {
        let other_contract = format!("{{\"ack\":\"{}\"}}", token::encode(&at(8, 0), ContractHash(8)).as_str());
        let of_trail = format!("{{\"ack\":\"{}\"}}", token::encode_trail(&at(8, 0)).as_str());
        let own = |position| format!("{{\"ack\":\"{}\"}}", token::encode(&position, CONTRACT).as_str());
        let twice = own(at(8, 0)).replace('}', ",\"ack\":\"\"}");
        let other_epoch = own(Position { epoch: Epoch(2), ..at(8, 0) });
        let said = ["", "{}", "[]", "{\"ack\":7}", "{\"ack\":\"x\"}", "{\"ack\":\"x\",\"more\":1}", "null"];
        let said = said.into_iter().map(str::to_owned);
        for text in said.chain([other_contract, of_trail, own(at(9, 1)), own(at(5, 0)), other_epoch, twice]) {
            let acks = Acks::new(CONTRACT);
            acks.open_window(1, &[owned(0, 5)], &at(5, 0));
            acks.sent(Some(at(9, 0)), at(9, 0));
            acks.take(text.as_bytes());
            assert!(matches!(acks.ended(), Some(End::NotAcknowledged(_))), "{text}");
            assert!(!acks.all_acknowledged());
        }
    }

    #[test]
    fn what_was_acknowledged_before_a_hand_over_may_be_said_again_and_means_nothing_new() {
        let acks = Acks::new(CONTRACT);
        acks.open_window(1, &[owned(0, 5)], &at(5, 0));
        acks.sent(Some(at(9, 0)), at(9, 0));
        assert_eq!(say(&acks, &at(9, 0)), None);
        acks.close_window();
        assert_eq!(say(&acks, &at(9, 0)), None);
        acks.open_window(2, &[owned(0, 9), owned(1, 5)], &at(5, 0));
        acks.sent(Some(at(20, 0)), at(20, 0));
        assert_eq!(say(&acks, &at(9, 0)), None);
        assert!(acks.state().window.as_ref().unwrap().acked.is_none());
    }

    #[test]
    fn a_heartbeat_need_not_be_acknowledged_and_what_was_passed_over_is_committed_when_nothing_is_outstanding() {
        let acks = Acks::new(CONTRACT);
        acks.open_window(1, &[owned(0, 5)], &at(5, 0));
        acks.sent(Some(at(8, 0)), at(8, 0));
        acks.advance(Position::behind(Epoch(1), 20));
        assert!(acks.state().window.as_ref().unwrap().pending.is_none(), "a record is outstanding");
        assert_eq!(say(&acks, &at(8, 0)), None);
        acks.sent(Some(at(8, 0)), at(9, 0));
        assert!(acks.all_acknowledged());
        acks.state().window.as_mut().unwrap().pending = None;
        acks.advance(Position::behind(Epoch(1), 20));
        assert_eq!(acks.state().window.as_ref().unwrap().pending, Some(Position::behind(Epoch(1), 20)));
    }

    fn notice(session: u32, commit: u64) -> Position {
        Position { xid_hash: session, ..Position::behind(Epoch(1), commit) }
    }

    #[test]
    fn a_late_acknowledgement_of_a_heartbeat_says_nothing_of_what_was_sent_after_a_hand_over() {
        let acks = Acks::new(CONTRACT);
        acks.open_window(1, &[owned(0, 5)], &at(5, 0));
        acks.sent(Some(at(8, 0)), at(8, 0));
        assert_eq!(say(&acks, &at(8, 0)), None);
        acks.sent(Some(at(8, 0)), notice(1, 10));
        acks.close_window();
        assert_eq!(say(&acks, &notice(1, 10)), None, "nothing is begun yet");
        acks.open_window(2, &[owned(0, 8), owned(1, 5)], &at(5, 0));
        for last in [at(6, 0), at(12, 0)] {
            acks.sent(Some(last), last);
            assert_eq!(say(&acks, &notice(1, 10)), None);
            assert!(!acks.all_acknowledged() && acks.state().window.as_ref().unwrap().pending.is_none());
        }
        acks.sent(Some(at(12, 0)), notice(2, 12));
        assert_eq!(say(&acks, &notice(2, 12)), None);
        assert!(acks.all_acknowledged());
        assert_eq!(acks.state().window.as_ref().unwrap().pending, Some(Position::behind(Epoch(1), 12)));
        assert!(
            matches!(say(&acks, &notice(3, 12)), Some(End::NotAcknowledged(_))),
            "of no session of this connection"
        );
    }

    #[test]
    fn that_all_is_sent_may_be_acknowledged_where_there_was_nothing_to_send() {
        let acks = Acks::new(CONTRACT);
        acks.open_window(1, &[owned(0, 5)], &Position::behind(Epoch(1), 5));
        acks.sent(None, notice(1, 5));
        assert_eq!(say(&acks, &notice(1, 5)), None);
        assert!(acks.state().window.as_ref().unwrap().pending.is_none());
        assert!(matches!(say(&acks, &notice(1, 6)), Some(End::NotAcknowledged(_))));
    }
}
