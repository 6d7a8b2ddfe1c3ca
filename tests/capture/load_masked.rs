//! Goal: what a mask hides is no more shown by a load than by the stream, and a table whose key is masked is loaded whole, across
//! interruptions too. Method: the trail's files are searched for the texts that were hidden, and for some that were not.

use serde_json::json;

use crate::capture::applied::Applied;
use crate::capture::load::{loading, until_captured, until_loaded};
use crate::capture::rig::{Rig, on_each_major};

/// Whether a file of the trail has the text.
fn holds(rig: &Rig, text: &str) -> bool {
    let mut folders = vec![rig.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if memchr::memmem::find(&std::fs::read(path).unwrap(), text.as_bytes()).is_some() {
                return true;
            }
        }
    }
    false
}

#[test]
fn a_table_with_a_masked_key_is_loaded_whole_and_no_hidden_text_is_kept() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create table u (mail text primary key, v bigint default 1, note text, open text); \
             insert into u select 'hidden-' || i || '@example.com', 1, 'hidden note ' || i, 'open ' || i from generate_series(1, 4000) i",
        );
        let columns = json!([
            {"table": "public.u", "column": "mail", "mask": "hash", "key": "a key of more than sixteen bytes"},
            {"table": "public.u", "column": "note", "mask": "text", "text": "***"},
        ]);
        let mut rig = loading(&cluster, &json!({"columns": columns, "loadRate": 2_000}));
        rig.start().await;
        let some =
            |rows: u64| move |load: &trailcast::capture::LoadStatus| load.tables.iter().any(|table| table.rows >= rows);
        rig.until(|status| status.snapshot.as_ref().is_some_and(some(1_000))).await;
        cluster.psql("update u set v = 2, mail = 'hidden-new' where mail = 'hidden-1@example.com'; update u set v = 2 where mail like '%7@%'");
        rig.kill().await;
        rig.start().await;
        until_loaded(&rig).await;
        cluster.psql("delete from u where mail like '%3@%'");
        until_captured(&cluster, &rig).await;
        let applied = Applied::of(&rig.trail).await;
        assert!(applied.wrong.is_empty(), "{:?}", applied.wrong);
        let want: Vec<String> =
            cluster.psql("select v || '|***|' || open from u order by 1").lines().map(str::to_owned).collect();
        let mut have = applied.lines("public.u", &["v", "note", "open"]);
        have.sort();
        let mut want = want;
        want.sort();
        assert!(have == want, "{} rows in place of {}", have.len(), want.len());
        assert!(holds(&rig, "open 39") && !holds(&rig, "hidden"));
        rig.stop().await.unwrap();
    });
}
