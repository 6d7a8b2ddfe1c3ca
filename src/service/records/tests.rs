//! Goal: who reads on request gets each record once, in order, wherever he is cut, and hears of what is missing. Method: reads of
//! sizes by chance over a service that is opened anew; what must not be is tried.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalog::trail::TrailSettings;
use crate::clock::SystemClock;
use crate::service::Service;
use crate::trail::Writer;

fn open(home: &std::path::Path) -> Arc<Service> {
    Arc::new(Service::open(home, Arc::new(SystemClock), Default::default()).unwrap())
}

fn trail() -> TrailName {
    TrailName::new("t1").unwrap()
}

async fn make(service: &Service, settings: Value) {
    let settings = TrailSettings::from_value(&settings).unwrap();
    service.trails().make(Principal::House, &trail(), Writer::Puts, Some(settings)).await.unwrap();
}

async fn put(service: &Service, operations: &[Value]) {
    let body = json!({ "operations": operations }).to_string();
    service.puts().put(Principal::House, &trail(), body.as_bytes()).await.unwrap();
}

fn message(number: usize, partition: u16) -> Value {
    json!({"op": "MESSAGE", "key": format!("k{number}"), "value": number, "partition": partition})
}

fn row(number: usize) -> Value {
    json!({"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": number}})
}

fn pull(which: Which, begin: PullBegin, records_max: usize) -> Pull {
    let bounds = Bounds { records_max, ..Bounds::default() };
    Pull { which, begin, bounds, wait: Duration::ZERO }
}

async fn fetch(service: &Service, pull: &Pull) -> Result<Fetched, RecordsError> {
    service.records().fetch(Principal::House, &trail(), pull).await
}

fn after(fetched: &Fetched) -> PullBegin {
    PullBegin::After { epoch: fetched.epoch, offset: fetched.next }
}

/// The number in a record.
fn number(pulled: &Pulled) -> usize {
    let value = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap();
    match &pulled.body {
        PulledBody::Message { value: number, .. } => value(number).as_u64().unwrap() as usize,
        PulledBody::Row(row) => {
            let cell = row.after().unwrap().cells().next().unwrap().unwrap();
            let crate::codec::image::Cell::Json(text) = cell else { panic!("no value") };
            text.parse().unwrap()
        }
        PulledBody::Ddl { .. } => panic!("no number"),
    }
}

#[test]
fn reads_of_all_sizes_give_each_record_once_from_any_offset_and_over_restarts() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let transactions = proptest::collection::vec(proptest::collection::vec((0_u16..4, any::<bool>()), 1..6), 1..20);
    let sizes = proptest::collection::vec(1_usize..7, 1..40);
    let config = ProptestConfig { cases: 24, ..ProptestConfig::default() };
    proptest!(config, |(transactions in transactions, sizes in sizes)| {
        runtime.block_on(async {
            let home = tempfile::tempdir().unwrap();
            let mut service = open(home.path());
            make(&service, json!({"partitions": 4})).await;
            // What each partition is to have.
            let mut expected: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
            let (mut all, mut count) = (Vec::new(), 0);
            for operations in &transactions {
                let mut texts = Vec::new();
                for (partition, is_message) in operations {
                    texts.push(if *is_message { message(count, *partition) } else { row(count) });
                    all.push(count);
                    if *is_message {
                        expected.entry(*partition).or_default().push(count);
                    }
                    count += 1;
                }
                put(&service, &texts).await;
            }
            for which in [Which::All, Which::Partition(1), Which::Partition(2), Which::Partition(3)] {
                let (mut begin, mut found, mut steps) = (PullBegin::Earliest, Vec::new(), sizes.iter().cycle());
                loop {
                    let size = *steps.next().unwrap();
                    let fetched = fetch(&service, &pull(which, begin, size)).await.unwrap();
                    assert!(fetched.records.len() <= size);
                    found.extend(fetched.records.iter().map(number));
                    // Any record's own offset leads to the same as what the read says.
                    let own = fetched.records.last().filter(|_| size % 2 == 0 && !fetched.at_tail).map(Pulled::offset);
                    let offset = own.unwrap_or(fetched.next);
                    begin = PullBegin::After { epoch: fetched.epoch, offset };
                    if fetched.at_tail {
                        break;
                    }
                    if size == 3 {
                        service.close().await;
                        drop(service);
                        service = open(home.path());
                    }
                }
                match which {
                    Which::All => assert_eq!(found, all),
                    // Rows without a partition may go to any; messages are where they were put.
                    Which::Partition(partition) => {
                        let messages = expected.get(&partition).cloned().unwrap_or_default();
                        let is_message = |number: &usize| expected.values().flatten().any(|other| other == number);
                        let found: Vec<_> = found.into_iter().filter(is_message).collect();
                        assert_eq!(found, messages);
                    }
                }
            }
        });
    });
}

#[tokio::test]
async fn a_read_stops_at_its_bytes_and_a_record_that_is_larger_comes_alone() {
    let home = tempfile::tempdir().unwrap();
    let service = open(home.path());
    make(&service, json!({})).await;
    let text = |bytes: usize| json!({"op": "MESSAGE", "value": "x".repeat(bytes)});
    put(&service, &[text(10), text(50_000), text(10), text(10)]).await;
    let mut pull = pull(Which::All, PullBegin::Earliest, 10_000);
    pull.bounds.bytes_max = 2_000;
    let mut reads = Vec::new();
    loop {
        let fetched = fetch(&service, &pull).await.unwrap();
        reads.push(fetched.records.len());
        pull.begin = after(&fetched);
        if fetched.at_tail {
            break;
        }
    }
    assert_eq!(reads, [1, 1, 2]);
    assert_eq!(service.sessions().budget().used(), 0, "memory is given back with the records");
}

#[tokio::test]
async fn who_begins_now_or_at_a_time_gets_what_comes_from_there_on() {
    let home = tempfile::tempdir().unwrap();
    let service = open(home.path());
    make(&service, json!({})).await;
    put(&service, &[row(1)]).await;
    let now = fetch(&service, &pull(Which::All, PullBegin::Now, 10)).await.unwrap();
    assert!(now.records.is_empty() && now.at_tail && now.next == Offset::past(1));
    let later = service.clock().now().micros() + 50_000;
    let of_time = PullBegin::Time(Timestamp::from_micros(later));
    let none_yet = fetch(&service, &pull(Which::All, of_time, 10)).await.unwrap();
    assert!(none_yet.records.is_empty() && none_yet.at_tail);
    put(&service, &[row(2)]).await;
    for begin in [after(&now), after(&none_yet)] {
        let fetched = fetch(&service, &pull(Which::All, begin, 10)).await.unwrap();
        assert_eq!(fetched.records.iter().map(number).collect::<Vec<_>>(), [2]);
        assert_eq!(fetched.behind, Behind::default());
    }
    let one = fetch(&service, &pull(Which::All, PullBegin::Earliest, 1)).await.unwrap();
    assert!(!one.at_tail && one.behind.transactions >= 1 && one.behind.bytes > 0, "{:?}", one.behind);
}

#[tokio::test]
async fn offsets_of_another_life_beyond_the_end_and_of_no_partition_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let service = open(home.path());
    make(&service, json!({"partitions": 2})).await;
    put(&service, &[message(1, 0)]).await;
    let epoch = fetch(&service, &pull(Which::All, PullBegin::Earliest, 1)).await.unwrap().epoch;
    let refused = async |which, begin| fetch(&service, &pull(which, begin, 1)).await.unwrap_err();
    let offset = Offset::behind(1);
    let other = PullBegin::After { epoch: Epoch(epoch.0.wrapping_add(1)), offset };
    assert!(matches!(refused(Which::All, other).await, RecordsError::OtherEpoch));
    let beyond = PullBegin::After { epoch, offset: Offset::behind(2) };
    assert!(matches!(refused(Which::All, beyond).await, RecordsError::BeyondEnd { ends_at: 1 }));
    let error = refused(Which::Partition(2), PullBegin::Earliest).await;
    assert_eq!(error.to_string(), "partition 2 does not exist: the last one of the trail is 1");
    let missing = TrailName::new("none").unwrap();
    let error = service.records().fetch(Principal::House, &missing, &pull(Which::All, PullBegin::Now, 1)).await;
    assert_eq!(error.unwrap_err().to_string(), "trail none does not exist");
}

#[tokio::test]
async fn a_read_waits_for_the_next_record_until_its_time_is_over_or_the_server_stops() {
    let home = tempfile::tempdir().unwrap();
    let service = open(home.path());
    make(&service, json!({})).await;
    let mut pull = pull(Which::All, PullBegin::Now, 10);
    pull.wait = Duration::from_secs(40);
    let waiting = |pull: Pull| {
        let service = service.clone();
        tokio::spawn(async move { fetch(&service, &pull).await })
    };
    let waiter = waiting(pull);
    while service.records().waiting.taken(&()) == 0 {
        tokio::task::yield_now().await;
    }
    put(&service, &[row(1)]).await;
    let fetched = waiter.await.unwrap().unwrap();
    assert_eq!(fetched.records.iter().map(number).collect::<Vec<_>>(), [1]);

    let waiter = waiting(Pull { begin: after(&fetched), ..pull });
    while service.records().waiting.taken(&()) == 0 {
        tokio::task::yield_now().await;
    }
    service.records().stop_waiting();
    let stopped = waiter.await.unwrap().unwrap();
    assert!(stopped.records.is_empty() && stopped.next == fetched.next);
    assert_eq!(service.records().waiting.taken(&()), 0);
}

#[tokio::test]
async fn reads_that_wait_for_a_trail_that_is_deleted_are_told_so_and_the_one_too_many_is_refused_and_counted() {
    let home = tempfile::tempdir().unwrap();
    let service = open(home.path());
    make(&service, json!({})).await;
    let mut pull = pull(Which::All, PullBegin::Now, 10);
    pull.wait = Duration::from_secs(40);
    let held: Vec<_> = (0..RECORDS_WAITING_MAX).map(|_| service.records().waiting.take(()).unwrap()).collect();
    assert!(matches!(fetch(&service, &pull).await.unwrap_err(), RecordsError::TooManyWait(_)));
    assert_eq!(service.limit_hits().of(Limit::WaitingReads), 1);
    drop(held);
    let waiter = {
        let service = service.clone();
        tokio::spawn(async move { fetch(&service, &pull).await })
    };
    while service.records().waiting.taken(&()) == 0 {
        tokio::task::yield_now().await;
    }
    service.trails().delete(Principal::House, &trail()).await.unwrap();
    assert!(matches!(waiter.await.unwrap().unwrap_err(), RecordsError::Trail(TrailError::Leaving(_))));
}

#[tokio::test]
async fn who_is_overtaken_by_retention_hears_how_much_is_lost_and_who_has_all_that_went_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let service = open(home.path());
    let settings = TrailSettings { segment_bytes: Some(4 << 10), ..TrailSettings::default() };
    service.trails().make(Principal::House, &trail(), Writer::Puts, Some(settings)).await.unwrap();
    for number in 1..=100 {
        put(&service, &[json!({"op": "MESSAGE", "value": format!("{number}-{}", "x".repeat(200))})]).await;
    }
    let first = fetch(&service, &pull(Which::All, PullBegin::Earliest, 3)).await.unwrap();
    let entry = service.trails().get(&trail()).unwrap();
    let served = entry.served().unwrap();
    served.remove_oldest().unwrap();
    let starts_at = served.status().first_commit;
    assert!(starts_at > 5, "{starts_at}");
    // Where no reader was left: one that was still reads the file that it had open.
    let gone = PullBegin::After { epoch: first.epoch, offset: Offset::behind(2) };
    let error = fetch(&service, &pull(Which::All, gone, 3)).await.unwrap_err();
    let lost = format!("transactions 3 to {}, {} in number, are no longer kept", starts_at - 1, starts_at - 3);
    assert!(error.to_string().contains(&lost), "{error}");
    let boundary = PullBegin::After { epoch: first.epoch, offset: Offset::behind(starts_at - 1) };
    let fetched = fetch(&service, &pull(Which::All, boundary, 3)).await.unwrap();
    assert_eq!(fetched.records[0].transaction.commit, starts_at);
    // A reader that was kept where the trail now begins goes on there.
    let mut begin = after(&fetched);
    while fetch(&service, &pull(Which::All, begin, 7)).await.map(|fetched| begin = after(&fetched)).is_ok() {
        let PullBegin::After { offset, .. } = begin else { panic!() };
        if offset.commit == 100 {
            return;
        }
        let has_more = served.status().segments > 1 && served.status().first_commit < offset.commit / 2;
        if has_more {
            served.remove_oldest().unwrap();
        }
    }
    panic!("overtaken although nothing was lost");
}

#[tokio::test]
async fn a_gap_is_an_error_at_its_place_and_passed_by_who_accepts_it() {
    let home = tempfile::tempdir().unwrap();
    let service = open(home.path());
    make(&service, json!({})).await;
    put(&service, &[row(1)]).await;
    let entry = service.trails().get(&trail()).unwrap();
    let mut appender = entry.puts.lock().await.take().unwrap();
    let missing = crate::trail::Missing { tables: Vec::new(), from: "0/1".into(), to: "0/2".into() };
    appender.gap(&missing).unwrap();
    appender.close().await.unwrap();
    put(&service, &[row(2)]).await;
    let first = fetch(&service, &pull(Which::All, PullBegin::Earliest, 10)).await.unwrap();
    assert_eq!((first.records.len(), first.at_tail), (1, false));
    let error = fetch(&service, &pull(Which::All, after(&first), 10)).await.unwrap_err();
    let RecordsError::Gap { after: offset, gap } = error else { panic!("{error}") };
    assert!(gap.starts_with("rows of any table may be missing"), "{gap}");
    let begin = PullBegin::After { epoch: first.epoch, offset };
    let rest = fetch(&service, &pull(Which::All, begin, 10)).await.unwrap();
    assert_eq!(rest.records.iter().map(number).collect::<Vec<_>>(), [2]);
    // Who begins now is not told of what was before.
    appender = entry.puts.lock().await.take().unwrap();
    appender.gap(&missing).unwrap();
    appender.close().await.unwrap();
    let now = fetch(&service, &pull(Which::All, PullBegin::Now, 10)).await.unwrap();
    assert!(now.records.is_empty() && now.at_tail);
}

#[tokio::test]
async fn a_closed_partition_is_over_when_everything_in_it_was_read() {
    let home = tempfile::tempdir().unwrap();
    let service = open(home.path());
    make(&service, json!({"partitions": 2})).await;
    put(&service, &[message(1, 0), message(2, 0), message(3, 1)]).await;
    let change = crate::trail::PartitionChange::Split { partition: 0, at: None };
    service.trails().change_partitions(Principal::House, &trail(), change).await.unwrap();
    let mut pull = pull(Which::Partition(0), PullBegin::Earliest, 1);
    pull.wait = Duration::from_secs(40);
    let first = fetch(&service, &pull).await.unwrap();
    assert!(!first.is_over && first.records.len() == 1);
    pull.begin = after(&first);
    let second = fetch(&service, &pull).await.unwrap();
    pull.begin = after(&second);
    let over = fetch(&service, &pull).await.unwrap();
    assert!(over.is_over && over.records.is_empty(), "it waits for what cannot come");
}

#[tokio::test]
async fn a_record_as_json_is_what_a_stream_would_send_with_its_commit_number() {
    let home = tempfile::tempdir().unwrap();
    let service = open(home.path());
    make(&service, json!({})).await;
    let ddl = json!({"op": "DDL", "table": "app.t", "ddl": "create table t ()"});
    put(&service, &[row(7), json!({"op": "MESSAGE", "key": "k", "value": {"a": 1.5}}), ddl]).await;
    let fetched = fetch(&service, &pull(Which::All, PullBegin::Earliest, 10)).await.unwrap();
    let mut writer = json::RecordWriter::new(&trail());
    let texts = fetched.records.iter().map(|pulled| {
        let mut out = Vec::new();
        writer.push(pulled, service.clock().now(), &mut out).unwrap();
        serde_json::from_slice::<Value>(&out).unwrap()
    });
    let texts: Vec<_> = texts.collect();
    assert_eq!(
        (&texts[0]["after"], &texts[0]["csn"], &texts[0]["op_seqno"]),
        (&json!({"id": 7}), &json!("1"), &json!(0))
    );
    assert_eq!(texts[1]["qual_table"], "messages.t1");
    assert_eq!(texts[1]["after"]["value"].to_string(), "{\"a\":1.5}");
    assert_eq!(texts[2]["ddl"], "create table t ()");
    assert!(texts.iter().all(|text| text.get("pos").is_none()));
}
