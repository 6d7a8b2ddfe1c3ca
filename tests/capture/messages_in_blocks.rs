//! Goal: logical messages and statements of a transaction that the source sends before its end are in the trail as if it had
//! come whole, and only if their savepoint was not rolled back.
//! Method: two extracts of one source, one that takes large transactions in blocks and one that has them sent whole. The
//! transaction goes on only when the server has sent its first blocks.

use serde_json::json;
use trailcast::capture::{RunState, helper_sql};

use crate::capture::large::{Session, on_each_major, sent_in_blocks, until_sent_in_blocks};
use crate::capture::rig::Rig;
use crate::support::Postgres;

/// What an extract in blocks has of a transaction that says `rest` when its `first` has been sent, and the extract itself. It
/// is what an extract of whole transactions has.
async fn in_blocks(cluster: &Postgres, first: &str, rest: &str) -> (Vec<String>, Rig) {
    let mut blocks = Rig::with(cluster, "blocks", json!({"messages": ["m"]}));
    let mut whole = Rig::with(cluster, "whole", json!({"messages": ["m"], "spillBytes": 0}));
    for rig in [&mut blocks, &mut whole] {
        rig.start().await;
        rig.until_begun().await;
    }
    let mut session = Session::start(cluster);
    session.says(&format!("begin; {first};"));
    until_sent_in_blocks(cluster, "blocks", 1);
    session.says(&format!("{rest}; commit;"));
    session.ends();
    let seen = blocks.transactions(1).await.remove(0);
    assert!(seen == whole.transactions(1).await.remove(0), "{} records", seen.len());
    assert_eq!(sent_in_blocks(cluster, "whole"), 0);
    whole.stop().await.unwrap();
    (seen, blocks)
}

/// Rows enough to be sent in blocks.
fn rows(from: u32) -> String {
    format!("insert into t select generate_series({from}, {})", from + 2999)
}

fn without_rows(seen: &[String]) -> Vec<&str> {
    seen.iter().map(String::as_str).filter(|line| !line.starts_with("INSERT")).collect()
}

#[test]
fn a_message_of_a_savepoint_that_is_rolled_back_never_comes() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let emit = |what| format!("select pg_logical_emit_message(true, 'm', '{what}')");
        let first = [rows(1), emit("first"), "savepoint a".into(), rows(3001), emit("gone"), rows(6001)].join("; ");
        let rest = ["rollback to a".into(), emit("last"), rows(9001)].join("; ");
        let (seen, mut rig) = in_blocks(&cluster, &first, &rest).await;
        assert_eq!(without_rows(&seen), ["MESSAGE m first", "MESSAGE m last"]);
        assert_eq!(seen.len(), 6_002);
        let status = rig.status();
        assert_eq!((status.retries, status.starts), (1, 2), "it has not come whole: {status:?}");
        rig.until(|status| status.status == RunState::Running && status.held_bytes == 0).await;
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_statement_of_a_savepoint_that_is_rolled_back_never_comes() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key); create table u (id int primary key)");
        cluster.psql(helper_sql());
        let first = ["savepoint a; alter table u add a int".to_owned(), rows(1)].join("; ");
        let rest = ["rollback to a; alter table u add b int".to_owned(), rows(3001)].join("; ");
        let (seen, mut rig) = in_blocks(&cluster, &first, &rest).await;
        assert_eq!(without_rows(&seen), ["DDL public.u alter table u add b int;"]);
        assert_eq!(seen.len(), 3_001);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_message_that_no_rollback_follows_does_not_have_its_transaction_sent_whole() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key)");
        let first = [rows(1), "savepoint a".into(), rows(3001)].join("; ");
        let emit = "select pg_logical_emit_message(true, 'm', 'kept')".to_owned();
        let rest = ["rollback to a; savepoint b".into(), rows(6001), emit, rows(9001), "release b".into()].join("; ");
        let (seen, mut rig) = in_blocks(&cluster, &first, &rest).await;
        assert_eq!((seen.len(), seen[6_000].as_str()), (9_001, "MESSAGE m kept"));
        assert_eq!(rig.status().retries, 0);
        rig.stop().await.unwrap();
    });
}
