//! Frames, images, positions, the body of a put, and one record in every encoding.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unused_crate_dependencies, unreachable_pub)]

mod rows;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trailcast::codec::frame::{self, FLAG_AFTER, FrameHeader, FrameKind};
use trailcast::codec::image::Image;
use trailcast::codec::json::{DmlRecord, JsonOptions, PreparedTable, RecordContext, TransInd};
use trailcast::codec::token::{self, ContractHash};
use trailcast::codec::{put, ws_frame};
use trailcast::record::{Operation, SchemaId};

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    let image = rows::image(1_234_567);
    let header = FrameHeader {
        flags: FLAG_AFTER,
        schema: SchemaId(1),
        commit: 77,
        commit_ts: rows::moment(),
        ..FrameHeader::new(FrameKind::Record(Operation::Insert))
    };
    let mut bytes = Vec::new();
    group.bench_function("write", |bencher| {
        bencher.iter(|| {
            bytes.clear();
            frame::push(&mut bytes, black_box(&header), |out| out.extend_from_slice(&image));
            frame::stamp(&mut bytes, 42, rows::moment());
        });
    });
    group.bench_function("read with its checksum", |bencher| {
        bencher.iter(|| frame::read(black_box(&bytes), 42).unwrap().bytes())
    });
    group.bench_function("read without", |bencher| {
        bencher.iter(|| frame::read_unchecked(black_box(&bytes)).unwrap().bytes())
    });
    group.finish();
}

fn images(criterion: &mut Criterion) {
    criterion.bench_function("image/write", |bencher| bencher.iter(|| rows::image(black_box(1_234_567))));
    let bytes = rows::image(1_234_567);
    criterion.bench_function("image/read", |bencher| {
        bencher.iter(|| Image::split(black_box(&bytes)).unwrap().0.cells().filter(Result::is_ok).count());
    });
}

fn positions(criterion: &mut Criterion) {
    let position = rows::position(1_234_567);
    criterion.bench_function("token/encode", |bencher| {
        bencher.iter(|| token::encode(black_box(&position), ContractHash(5)))
    });
    let text = token::encode(&position, ContractHash(5));
    criterion
        .bench_function("token/decode", |bencher| bencher.iter(|| token::decode(black_box(text.as_str())).unwrap()));
}

fn puts(criterion: &mut Criterion) {
    let row = |id| {
        format!(
            r#"{{"op":"INSERT","table":"app.orders","key":["id"],"after":{{"id":{id},"total":12.50,"status":"new","note":"lorem ipsum"}}}}"#
        )
    };
    let body = format!(r#"{{"operations":[{}]}}"#, (0..100).map(row).collect::<Vec<_>>().join(","));
    let mut group = criterion.benchmark_group("put");
    group.throughput(Throughput::Elements(100));
    group.bench_function("parse 100 operations", |bencher| {
        bencher.iter(|| put::parse(black_box(body.as_bytes()), rows::moment()).unwrap().len());
    });
    // Two tables in turn, white space as Python writes it, an escape in each text.
    let spaced = |id| {
        let (table, column) = if id % 2 == 0 { ("app.orders", "total") } else { ("app.items", "price") };
        format!(
            r#"{{"op": "INSERT", "table": "{table}", "key": ["id"], "after": {{"id": {id}, "{column}": 12.50, "status": null, "note": "lorem \"ipsum\""}}}}"#
        )
    };
    let body = format!(r#"{{"operations": [{}]}}"#, (0..100).map(spaced).collect::<Vec<_>>().join(", "));
    group.bench_function("parse 100 operations on two tables in turn", |bencher| {
        bencher.iter(|| put::parse(black_box(body.as_bytes()), rows::moment()).unwrap().len());
    });
    group.finish();
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    let (before, after) = (rows::image(1), rows::image(1_234_567));
    let image = |bytes| Some(Image::split(bytes).unwrap().0);
    let head = rows::head(9);
    for (name, members) in rows::encodings() {
        if members.get("cloudEventsFormat").is_some() {
            continue;
        }
        let json = members.pointer("/encoding/json").cloned().unwrap_or_else(|| serde_json::json!({}));
        let options = JsonOptions::parse("encoding.json", &json).unwrap();
        let table = PreparedTable::new(&rows::schema(), &options);
        for (operation, before) in [(Operation::Insert, None), (Operation::Update, image(&before))] {
            let context = RecordContext {
                head: &head,
                position: rows::position(1_234_567),
                contract: ContractHash(5),
                trans_ind: TransInd::Whole,
                tokens: None,
                now: rows::moment(),
            };
            let record = DmlRecord { context, operation, before, after: image(&after) };
            let mut out = Vec::with_capacity(4_096);
            group.bench_function(format!("{name}, {}", operation.as_str()), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    table.encode(black_box(&record), &mut out).unwrap();
                });
            });
        }
    }
    group.finish();
}

fn messages(criterion: &mut Criterion) {
    let message = vec![b'x'; ws_frame::HEADER_ROOM + (64 << 10)];
    criterion.bench_function("ws_frame/finish 64 KiB", |bencher| {
        bencher.iter_batched_ref(
            || message.clone(),
            |message| ws_frame::finish_message(message, 0),
            criterion::BatchSize::LargeInput,
        );
    });
}

criterion_group!(benches, frames, images, positions, puts, records, messages);
criterion_main!(benches);
