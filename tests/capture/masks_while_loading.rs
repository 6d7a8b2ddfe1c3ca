//! Goal: masks hold for loaded rows, and for what is kept of how far a load has come.

use serde_json::json;

use crate::capture::load::{loading, until_captured, until_loaded};
use crate::capture::masked_everywhere::{contents, holds};
use crate::capture::masks::{KEY, hash};
use crate::capture::rig::on_each_major;

const SECRET: &str = "SeCrEtTeXtS";

#[test]
fn loaded_rows_are_masked_as_streamed_ones_are_and_nothing_is_kept_of_a_hashed_key() {
    on_each_major(async |cluster| {
        cluster.psql(&format!(
            "create table t (email text primary key, name text, n int);
             insert into t select '{SECRET}' || g, '{SECRET}', g from generate_series(1, 5000) g"
        ));
        let mut rig = loading(
            &cluster,
            &json!({"columns": [
                {"table": "public.t", "column": "email", "mask": "hash", "key": KEY},
                {"table": "public.t", "column": "name", "mask": "drop"},
            ]}),
        );
        rig.start().await;
        rig.until_begun().await;
        cluster
            .psql(&format!("update t set n = -1 where email = '{SECRET}7'; delete from t where email = '{SECRET}8'"));
        // However often it is interrupted.
        for _ in 0..3 {
            rig.kill().await;
            rig.start().await;
        }
        until_loaded(&rig).await;
        until_captured(&cluster, &rig).await;
        let seen = rig.all().await.concat();
        for (number, n) in [(1, 1), (7, -1), (5000, 5000)] {
            let row = format!("email=\"{}\" n={n}", hash(&format!("{SECRET}{number}")));
            assert!(seen.iter().any(|line| line.ends_with(&row)), "{row}");
        }
        assert!(seen.iter().any(|line| line.contains(&hash(&format!("{SECRET}4999")))));
        rig.stop().await.unwrap();
        assert!(!holds(&contents(rig.folder()), SECRET));
        assert!(holds(&contents(rig.folder()), &hash(&format!("{SECRET}1"))), "the search finds nothing");
    });
}

#[test]
fn a_key_that_is_hashed_from_now_on_has_its_table_begin_again() {
    on_each_major(async |cluster| {
        cluster.psql(&format!(
            "create table t (email text primary key, n int);
             insert into t select '{SECRET}' || g, g from generate_series(1, 3000) g"
        ));
        let mut rig = loading(&cluster, &json!({"loadRate": 1000}));
        rig.start().await;
        rig.until(|status| status.records > 0).await;
        rig.stop().await.unwrap();
        let masks = json!([{"table": "public.t", "column": "email", "mask": "hash", "key": KEY}]);
        rig.config.columns = serde_json::from_value(masks).unwrap();
        rig.config.load_rate = None;
        rig.start().await;
        until_loaded(&rig).await;
        let seen = rig.all().await.concat();
        let missing = (1..=3000).find(|number| {
            let row = hash(&format!("{SECRET}{number}"));
            !seen.iter().any(|line| line.contains(&row))
        });
        assert_eq!(missing, None);
        rig.stop().await.unwrap();
    });
}
