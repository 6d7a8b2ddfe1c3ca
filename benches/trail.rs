//! The trail alone: append and flush, read on, find a place.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unused_crate_dependencies, unreachable_pub)]

mod rows;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trailcast::record::Position;
use trailcast::trail::Begin;

const TRANSACTIONS: u64 = 2_000;

fn append(criterion: &mut Criterion) {
    let runtime = rows::runtime();
    let mut group = criterion.benchmark_group("append");
    for transactions in [1_u64, 8, 100] {
        let folder = tempfile::tempdir().unwrap();
        let trail = runtime.block_on(rows::trail(&folder.path().join("a1"), 1));
        let mut appender = runtime.block_on(async { trail.appender().unwrap() });
        let mut number = 1;
        group.throughput(Throughput::Elements(transactions * rows::ROWS_A_TRANSACTION)).sample_size(20);
        group.bench_function(format!("{transactions} transactions and a flush"), |bencher| {
            bencher.iter(|| {
                let mut last = None;
                for _ in 0..transactions {
                    number += 1;
                    last = Some(rows::append(&mut appender, number));
                }
                runtime.block_on(async {
                    appender.hand_over().await.unwrap();
                    appender.wait_durable(last.unwrap().commit).await.unwrap();
                });
            });
        });
        runtime.block_on(appender.close()).unwrap();
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let runtime = rows::runtime();
    let folder = tempfile::tempdir().unwrap();
    let trail = runtime.block_on(rows::trail(&folder.path().join("a1"), TRANSACTIONS));
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(TRANSACTIONS * rows::ROWS_A_TRANSACTION)).sample_size(10);
    group.bench_function("all", |bencher| {
        bencher.iter(|| runtime.block_on(rows::read(&trail, Begin::Earliest, |_| {})));
    });
    group.finish();
    let mut group = criterion.benchmark_group("seek");
    let mut positions = Vec::<Position>::new();
    let epoch = trail.epoch();
    runtime.block_on(rows::read(&trail, Begin::Earliest, |entry| {
        if let trailcast::trail::Entry::Commit(commit) = entry {
            positions.push(commit.last_position(epoch));
        }
    }));
    let middle = positions[positions.len() / 2];
    for (name, begin) in [
        ("position", Begin::After(middle)),
        ("time", Begin::Time(rows::moment())),
        ("earliest", Begin::Earliest),
        ("now", Begin::Now),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| runtime.block_on(trail.read(begin)).unwrap()));
    }
    group.finish();
}

criterion_group!(benches, append, read);
criterion_main!(benches);
