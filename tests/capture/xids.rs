//! Goal: the numbers of transactions do not come twice, also where the server has gone once round its 32 bits. Method: a
//! cluster whose count was set past them, and the numbers that it gives itself.

use trailcast::trail::{Begin, Entry, Fill};

use crate::capture::rig::{Rig, on_each_major};
use crate::support::postgres::Stop;

async fn xids(rig: &Rig) -> Vec<String> {
    let mut reader = rig.trail.read(Begin::Earliest).await.unwrap();
    let mut xids = Vec::new();
    while reader.fill().await.unwrap() != Fill::AtMark {
        if let Some(Entry::Begin(begin)) = reader.next().unwrap() {
            xids.push(begin.head.xid.clone());
        }
    }
    xids
}

#[test]
fn a_transactions_number_has_its_epoch() {
    on_each_major(async |mut cluster| {
        cluster.psql("create table t (id int primary key)");
        cluster.stop(Stop::Fast);
        cluster.run_on_data("pg_resetwal", &["-e", "7"]);
        cluster.start_again();
        let write = "begin; insert into t select coalesce(max(id), 0) + 1 from t; \
                     select pg_current_xact_id(); commit";
        let mut rig = Rig::running(&cluster).await;
        let mut given = vec![cluster.psql(write), cluster.psql(write)];
        rig.transactions(2).await;
        assert_eq!(xids(&rig).await, given);
        assert_eq!(given[0].parse::<u64>().unwrap() >> 32, 7, "{given:?}");
        // The last one is sent again, and known again.
        rig.stop().await.unwrap();
        rig.start().await;
        given.push(cluster.psql(write));
        rig.transactions(3).await;
        assert_eq!(xids(&rig).await, given);
        rig.stop().await.unwrap();
    });
}
