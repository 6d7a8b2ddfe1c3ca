//! From a trail's entries to finished messages, in every encoding and under rules: what a contract costs a record,
//! reading the trail included.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unused_crate_dependencies, unreachable_pub)]

mod rows;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use trailcast::delivery::encoder::Encoder;
use trailcast::trail::Begin;

const TRANSACTIONS: u64 = 500;
/// How much is encoded before it is taken, as delivery does with its blocks.
const RECORDS_A_BLOCK: u64 = 5_000;

fn encode(criterion: &mut Criterion) {
    let runtime = rows::runtime();
    let folder = tempfile::tempdir().unwrap();
    let trail = runtime.block_on(rows::trail(&folder.path().join("a1"), TRANSACTIONS));
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(TRANSACTIONS * rows::ROWS_A_TRANSACTION)).sample_size(10);
    group.bench_function("only read", |bencher| {
        bencher.iter(|| runtime.block_on(rows::read(&trail, Begin::Earliest, |_| {})));
    });
    let rule = |filter| json!({"rules": [{"action": "include", "filter": filter}]});
    let mut cases = rows::encodings();
    cases.push(("one record a message", json!({"trailcast": {"framing": "record"}})));
    cases.push(("rule by header, none pass", rule(json!({"operationTypes": ["DELETE"]}))));
    cases.push((
        "rule by column, a tenth passes",
        rule(json!({"columnValues": [{"column": "status", "operator": "EQ", "value": "new"}]})),
    ));
    for (name, members) in cases {
        let contract = rows::contract(members);
        let now = rows::moment();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut encoder = Encoder::new(contract.clone(), None);
                let (mut bytes, mut since) = (0, 0);
                runtime.block_on(rows::read(&trail, Begin::Earliest, |entry| {
                    encoder.take(entry, now).unwrap();
                    since += 1;
                    if since % RECORDS_A_BLOCK == 0 {
                        encoder.finish();
                        bytes += encoder.take_messages().0.len();
                    }
                }));
                encoder.finish();
                bytes + encoder.take_messages().0.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
