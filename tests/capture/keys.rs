//! Goal: the key that is told is the one that before images hold, whatever the replica identity is and becomes.

use serde_json::{Value, json};

use crate::capture::rig::{Rig, on_each_major};
use crate::support::extract::capture;
use crate::support::subscriber::Record;
use crate::support::waiting::PATIENCE;
use crate::support::{Postgres, Server};

#[test]
fn the_key_is_what_before_images_hold_and_changes_with_the_identity() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create table t (id int primary key, code text not null, v int); create unique index t_code on t (code);
             insert into t values (1, 'a', 1);",
        );
        let mut rig = Rig::running(&cluster).await;
        cluster.psql(
            "update t set id = 2; alter table t replica identity using index t_code; update t set code = 'b';
             update t set id = 3; alter table t replica identity full; update t set id = 4;
             alter table t replica identity default; delete from t;",
        );
        let seen = rig.transactions(5).await.concat();
        assert_eq!(
            seen,
            [
                "UPDATE public.t - id=1 + id=2 code=\"a\" v=1",
                "UPDATE public.t - code=\"a\" + id=2 code=\"b\" v=1",
                "UPDATE public.t + id=3 code=\"b\" v=1",
                "UPDATE public.t - id=3 code=\"b\" v=1 + id=4 code=\"b\" v=1",
                "DELETE public.t - id=4",
            ]
        );
        let schemas = rig.schemas().await;
        let keys: Vec<Vec<_>> = schemas
            .iter()
            .map(|schema| {
                schema.columns.iter().filter(|column| column.key).map(|column| column.name.as_str()).collect()
            })
            .collect();
        assert_eq!(keys, [["id"], ["code"], ["code"], ["id"], ["id"]]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_primary_key_that_changed_before_its_rows_were_read_is_the_one_of_then() {
    on_each_major(async |cluster| {
        cluster.psql("create table t (id int primary key, code text not null); insert into t values (1, 'a');");
        let mut rig = Rig::running(&cluster).await;
        rig.stop().await.unwrap();
        cluster.psql("delete from t; alter table t drop constraint t_pkey, add primary key (code);");
        rig.start().await;
        assert_eq!(rig.transactions(1).await, [["DELETE public.t - id=1"]]);
        let schema = rig.last_schema().await;
        assert_eq!(schema.columns.iter().map(|column| column.key).collect::<Vec<_>>(), [true, false]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn a_partition_with_another_identity_than_its_table_gives_what_it_has() {
    on_each_major(async |cluster| {
        cluster.psql(
            "create table p (id int not null, code text not null, primary key (id)) partition by range (id);
             create table p1 partition of p for values from (0) to (10); create unique index p1_code on p1 (code);
             alter table p1 replica identity using index p1_code; insert into p values (1, 'a');",
        );
        let mut rig = Rig::running(&cluster).await;
        cluster.psql("delete from p;");
        assert_eq!(rig.transactions(1).await, [["DELETE public.p - code=\"a\""]]);
        rig.stop().await.unwrap();
    });
}

#[test]
fn metadata_primary_keys_and_partition_keys_name_the_key_of_the_images() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql(
        "create table t (id int primary key, code text not null, v int); create unique index t_code on t (code);
         alter table t replica identity using index t_code;",
    );
    let server = Server::start();
    capture(&server, &postgres, "e1", &["public.*"], "a1");
    let config = json!({
        "source": {"trail": "a1"}, "cloudEventsFormat": true,
        "encoding": {"json": {"metaFields": {"primaryKeys": true}}},
    });
    server.post("/services/v2/stream/s1", &config).expect(200);
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    postgres.psql(
        "insert into t values (1, 'a', 1); delete from t; alter table t replica identity default;
         insert into t values (2, 'b', 2);",
    );
    let mut heard: Vec<Record> = Vec::new();
    let of = |heard: &[Record], kind: &str| -> Vec<Value> {
        heard.iter().map(|event| event.json.clone()).filter(|event| event["data"]["op_type"] == kind).collect()
    };
    while of(&heard, "INSERT").len() < 2 {
        heard.push(subscriber.expect_record(PATIENCE));
    }
    let keys = |metadata: &Value| {
        let columns = metadata["data"]["columns"].as_object().unwrap();
        let keys = columns.iter().filter(|(_, column)| column["key"] == true).map(|(name, _)| name.clone());
        keys.collect::<Vec<_>>()
    };
    let metadata = of(&heard, "OBJECT_METADATA");
    assert_eq!(metadata.iter().map(keys).collect::<Vec<_>>(), [["code"], ["id"]]);
    let (inserts, deletes) = (of(&heard, "INSERT"), of(&heard, "DELETE"));
    assert_eq!(deletes[0]["data"]["before"], json!({"code": "a"}));
    for (event, key, value) in [(&inserts[0], "code", "a"), (&deletes[0], "code", "a"), (&inserts[1], "id", "2")] {
        assert_eq!(event["data"]["primary_keys"], json!([key]), "{event}");
        assert_eq!(event["partitionkey"], value, "{event}");
    }
}
