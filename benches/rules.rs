//! What rules cost a record: decided by its header, by a column, and by the tenth of ten rules.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unused_crate_dependencies, unreachable_pub)]

mod rows;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use trailcast::codec::image::Image;
use trailcast::delivery::rules::{RecordBody, RecordHeader};
use trailcast::record::Operation;

fn include(filter: &Value) -> Value {
    json!({"action": "include", "filter": filter})
}

fn column(operator: &str, value: &Value) -> Value {
    json!({"columnValues": [{"column": "total", "operator": operator, "value": value}]})
}

fn decide(criterion: &mut Criterion) {
    let elsewhere = |number| include(&json!({"objectNames": [format!("other{number}.*")]}));
    let mut ten: Vec<Value> = (0..9).map(elsewhere).collect();
    ten.push(include(&json!({"objectNames": ["app.*"], "operationTypes": ["INSERT"]})));
    let cases = [
        ("none", json!({})),
        ("by table", json!({"rules": [include(&json!({"objectNames": ["app.orders"]}))]})),
        ("by operation", json!({"rules": [include(&json!({"operationTypes": ["DELETE"]}))]})),
        ("ten by table", json!({"rules": ten})),
        ("by a number", json!({"rules": [include(&column("GT", &json!(100)))]})),
        (
            "by a text",
            json!({"rules": [include(&json!({"columnValues": [{"column": "status", "operator": "EQ", "value": "new"}]}))]}),
        ),
        (
            "by a pattern",
            json!({"rules": [include(&json!({"columnValues": [{"column": "note", "operator": "REGEX", "value": "^lorem .*m$"}]}))]}),
        ),
    ];
    let (schema, after) = (rows::schema(), rows::image(1_234_567));
    let (image, _) = Image::split(&after).unwrap();
    let mut group = criterion.benchmark_group("rules");
    for (name, members) in cases {
        let mut rules = rows::contract(members).rules.clone();
        let header = RecordHeader { table: Some(&schema.table), operation: Operation::Insert, partition: None };
        let body = RecordBody { schema: Some(&schema), before: None, after: Some(image), tokens: None };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                use trailcast::delivery::rules::HeaderVerdict;
                match rules.decide_header(black_box(&header)) {
                    HeaderVerdict::Pass => true,
                    HeaderVerdict::Drop => false,
                    HeaderVerdict::NeedsBody => rules.decide(&header, black_box(&body)),
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
