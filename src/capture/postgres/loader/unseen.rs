//! Transactions that a window cannot hold and that nobody sees yet: committed in the log before the window began, and still on the server's
//! list of running ones, for as long as a synchronous standby does not answer.
//!
//! A chunk that is read before such a transaction is to be seen would lack its rows, or undo what the trail has of it. So every
//! transaction that ran when the window had begun has to be cleared before the first chunk:
//!
//! * it has ended, for everybody to see; or
//! * the stream has brought it since: then the window holds it; or
//! * its session was seen between two statements, or in another one than at first: then nobody had committed it, and the stream will
//!   bring it.
//!
//! And whoever had written to a table before it was certainly published has to end before that table's first chunk: what he wrote may not
//! be streamed. Sans-IO but for the questions' text. Owns who is waited for and what people are told of it.

use std::collections::HashMap;

use super::super::catalogue::unexpected;
use super::super::connection::{Row, literal};
use crate::capture::error::Fault;
use crate::capture::wait::Wait;
use crate::record::TableName;

/// Who is waited for.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// By the server's name for the transaction, which no other has.
    running: HashMap<String, Running>,
    /// Sessions at work when it began, and since when: one of them may be committing what was prepared.
    at_work: HashMap<String, String>,
    has_begun: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Running {
    xids: Vec<u32>,
    /// None of one that was prepared for a second phase.
    pid: Option<u32>,
    /// When its statement of then began.
    statement: Option<String>,
    seconds: Option<u64>,
    /// Nothing but its end counts: it had written to the table.
    must_end: bool,
}

/// The question who runs: sessions with transactions that have written, and all that are at work. With a table, whoever has
/// written to it too, its number or not.
pub(super) fn question(table: Option<&TableName>) -> String {
    let seconds = "extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::bigint::text";
    let writers = match table.map(TableName::parts) {
        Some([schema, name]) => format!(
            " UNION ALL SELECT 'w', l.virtualtransaction, NULL, l.pid::text, NULL, NULL, {seconds} \
             FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'relation' AND l.granted AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d \
             WHERE d.datname = pg_catalog.current_database()) \
             AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') \
             AND l.relation IN (SELECT t.oid FROM t UNION SELECT p.relid FROM t, pg_catalog.pg_partition_tree(t.oid) p)",
            seconds = seconds,
        )
        .replace(
            "FROM t",
            &format!(
                "FROM (SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = {} AND c.relname = {}) t",
                literal(schema),
                literal(name)
            ),
        ),
        _ => String::new(),
    };
    format!(
        "SELECT 'x', l.virtualtransaction, l.transactionid::text, l.pid::text, a.state, a.query_start::text, {seconds} \
         FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted{writers} \
         UNION ALL SELECT 'a', NULL, NULL, a.pid::text, a.state, a.query_start::text, NULL FROM pg_catalog.pg_stat_activity a \
         WHERE a.backend_type IN ('client backend', 'logical replication worker', 'logical replication apply worker', \
         'logical replication parallel worker') AND a.pid <> pg_catalog.pg_backend_pid() \
         AND (a.state IS NULL OR a.state IN ('active', 'fastpath function call', 'disabled'))"
    )
}

/// One row of the answer.
struct Seen<'r> {
    kind: &'r str,
    transaction: &'r str,
    xid: Option<u32>,
    pid: Option<&'r str>,
    state: Option<&'r str>,
    statement: Option<&'r str>,
    seconds: Option<u64>,
}

impl<'r> Seen<'r> {
    fn of(row: &'r Row) -> Result<Self, Fault> {
        let [Some(kind), transaction, xid, pid, state, statement, seconds] = &row[..] else {
            return Err(unexpected("pg_locks"));
        };
        Ok(Self {
            kind,
            transaction: transaction.as_deref().unwrap_or_default(),
            xid: xid.as_deref().and_then(|xid| xid.parse().ok()),
            pid: pid.as_deref(),
            state: state.as_deref(),
            statement: statement.as_deref(),
            seconds: seconds.as_deref().and_then(|seconds| seconds.parse().ok()),
        })
    }

    fn is_between_statements(&self) -> bool {
        self.state.is_some_and(|state| state.starts_with("idle in transaction"))
    }
}

impl Unseen {
    /// Of a source that shows whatever it has streamed.
    pub(super) fn cleared() -> Self {
        Self { has_begun: true, ..Self::default() }
    }

    /// Takes in a look. The first one says who is waited for: every transaction that runs if `of_all`, and those that have
    /// written to the table that was asked for.
    pub(super) fn look(&mut self, rows: &[Row], of_all: bool) -> Result<(), Fault> {
        let seen = rows.iter().map(Seen::of).collect::<Result<Vec<_>, _>>()?;
        if !self.has_begun {
            self.begin(&seen, of_all);
        }
        let work: HashMap<&str, Option<&str>> =
            seen.iter().filter(|seen| seen.kind == "a").filter_map(|seen| Some((seen.pid?, seen.statement))).collect();
        self.at_work
            .retain(|pid, statement| work.get(pid.as_str()).is_some_and(|now| now.unwrap_or_default() == statement));
        let nobody_commits_it = self.at_work.is_empty();
        self.running.retain(|transaction, running| {
            let mut of_it = seen.iter().filter(|seen| seen.kind != "a" && seen.transaction == transaction).peekable();
            if of_it.peek().is_none() {
                return false;
            }
            for seen in of_it {
                running.seconds = seen.seconds.or(running.seconds);
                let another = running.statement.is_some()
                    && seen.statement.is_some()
                    && seen.statement != running.statement.as_deref();
                let is_prepared = seen.pid.is_none();
                let will_come = seen.is_between_statements() || another || (is_prepared && nobody_commits_it);
                if seen.kind == "x" && will_come && !running.must_end {
                    return false;
                }
            }
            true
        });
        Ok(())
    }

    fn begin(&mut self, seen: &[Seen<'_>], of_all: bool) {
        self.has_begun = true;
        for seen in seen {
            match seen.kind {
                "a" => {
                    let Some(pid) = seen.pid else { continue };
                    self.at_work.insert(pid.to_owned(), seen.statement.unwrap_or_default().to_owned());
                }
                "x" if !of_all => {}
                kind => {
                    let running = self.running.entry(seen.transaction.to_owned()).or_default();
                    running.xids.extend(seen.xid);
                    running.pid = seen.pid.and_then(|pid| pid.parse().ok());
                    running.statement = seen.statement.map(str::to_owned).or(running.statement.take());
                    running.must_end |= kind == "w";
                }
            }
        }
    }

    /// The stream has brought a transaction since the window began.
    pub(super) fn came(&mut self, xid: &str) {
        let Ok(xid) = xid.parse::<u64>().map(|xid| xid as u32) else { return };
        self.running.retain(|_, running| running.must_end || !running.xids.contains(&xid));
    }

    /// Whether nobody is waited for any more.
    pub(super) fn is_clear(&self) -> bool {
        self.has_begun && self.running.is_empty()
    }

    /// Who is waited for, for people.
    pub(super) fn wait(&self, seconds: u64) -> Option<Wait> {
        let oldest = self.running.values().max_by_key(|running| running.seconds)?;
        let open = oldest.seconds.map(|seconds| format!(", open for {seconds} s")).unwrap_or_default();
        let (is, of_them) = match oldest.pid {
            Some(pid) => (format!("that of pid {pid}{open}"), format!("let it end, or pg_terminate_backend({pid})")),
            None => {
                let advice = "see pg_prepared_xacts, COMMIT or ROLLBACK PREPARED";
                (format!("a prepared one{open}"), advice.to_owned())
            }
        };
        let what = format!(
            "the initial load has waited for {seconds} s for {} transactions that were open when it began; the oldest is {is}: \
             {of_them}. One that waits for a synchronous standby ends when that answers. Without the role pg_read_all_stats a session of \
             another user is only seen to end",
            self.running.len()
        );
        Some(Wait { what, seconds, pid: oldest.pid, transaction_seconds: oldest.seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: &str, transaction: &str, xid: &str, pid: &str, state: &str, statement: &str) -> Row {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        [kind, transaction, xid, pid, state, statement, "7"].map(text).to_vec()
    }

    fn look(unseen: &mut Unseen, rows: &[Row]) -> bool {
        unseen.look(rows, true).unwrap();
        unseen.is_clear()
    }

    #[test]
    fn a_transaction_at_work_is_waited_for_until_it_ends_comes_or_shows_that_it_is_not_committing() {
        let at_work = || row("x", "3/1", "70", "900", "active", "t1");
        let waits = || {
            let mut unseen = Unseen::default();
            assert!(!unseen.is_clear());
            assert!(!look(&mut unseen, &[at_work(), row("x", "3/1", "71", "900", "active", "t1")]));
            unseen
        };
        assert_eq!(waits().wait(2).unwrap().pid, Some(900));
        assert!(!look(&mut waits(), &[at_work()]));
        assert!(look(&mut waits(), &[]));
        assert!(look(&mut waits(), &[row("x", "3/1", "70", "900", "idle in transaction", "t1")]));
        assert!(look(&mut waits(), &[row("x", "3/1", "70", "900", "active", "t2")]));
        // Whose session is hidden from us shows nothing.
        assert!(!look(&mut waits(), &[row("x", "3/1", "70", "900", "", "")]));
        for (xid, clear) in [("70", true), ("4294967366", true), ("72", false)] {
            let mut unseen = waits();
            unseen.came(xid);
            assert_eq!(unseen.is_clear(), clear, "{xid}");
        }
        let mut unseen = Unseen::default();
        assert!(look(&mut unseen, &[row("x", "3/1", "70", "900", "idle in transaction", "t1")]), "between statements");
        // One that began later will come.
        assert!(look(&mut unseen, &[row("x", "4/1", "75", "901", "active", "t3")]));
    }

    #[test]
    fn a_prepared_one_is_waited_for_while_somebody_at_work_may_be_committing_it() {
        let prepared = || row("x", "-1/70", "70", "", "", "");
        let mut unseen = Unseen::default();
        assert!(!look(&mut unseen, &[prepared(), row("a", "", "", "900", "active", "t1")]));
        assert!(unseen.wait(1).unwrap().what.contains("prepared"));
        assert!(!look(
            &mut unseen,
            &[prepared(), row("a", "", "", "900", "active", "t1"), row("a", "", "", "901", "active", "t0")]
        ));
        assert!(look(&mut unseen, &[prepared(), row("a", "", "", "900", "active", "t2")]));
        assert!(look(&mut Unseen::default(), &[prepared()]), "nobody is at work");
    }

    #[test]
    fn whoever_has_written_to_the_table_has_to_end() {
        let mut unseen = Unseen::default();
        let rows = || [row("x", "3/1", "70", "900", "idle in transaction", "t1"), row("w", "3/1", "", "900", "", "")];
        unseen.look(&rows(), false).unwrap();
        assert!(!unseen.is_clear());
        unseen.came("70");
        unseen.look(&rows(), false).unwrap();
        assert!(!unseen.is_clear());
        unseen.look(&rows()[..1], false).unwrap();
        assert!(!unseen.is_clear(), "its transaction runs still");
        unseen.look(&[], false).unwrap();
        assert!(unseen.is_clear());
        // Others are no concern of a look at one table.
        let mut unseen = Unseen::default();
        unseen.look(&[row("x", "5/1", "80", "902", "active", "t1")], false).unwrap();
        assert!(unseen.is_clear());
    }
}
