//! Goal: memory does not grow with a transaction. Method: one of a million rows passes through capture, trail and a
//! subscriber; the kernel's own high-water mark of the server's memory is compared with what it was before.

use std::time::Duration;

use crate::support::extract::capture;
use crate::support::subscriber::Next;
use crate::support::{Postgres, Server, process};

const ROWS: u64 = 1_000_000;
const GROWTH_MAX_KIB: u64 = 64 * 1024;

#[test]
fn a_transaction_of_a_million_rows_passes_in_bounded_memory() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres
        .psql("create table public.big (id bigint primary key, name text not null, amount numeric(12,2), note text)");
    let server = Server::start();
    capture(&server, &postgres, "e1", &["public.*"], "a1");
    server.make_stream("s1", "a1");
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    postgres.psql("insert into public.big values (0, 'the first', 1.50, null)");
    assert_eq!(subscriber.expect_data(Duration::from_secs(60)).json["after"]["id"], 0);
    let start = process::memory_kib(server.pid(), "VmRSS");

    postgres.psql(&format!(
        "insert into public.big select i, 'customer number ' || i, i / 100.0, md5(i::text) from generate_series(1, {ROWS}) i"
    ));
    let mut expected = 1;
    while expected <= ROWS {
        match subscriber.next(Duration::from_secs(180)) {
            Next::Record(record) if record.pos().is_none() => {}
            Next::Record(record) => {
                assert_eq!(record.json["after"]["id"].as_u64(), Some(expected), "{}", record.text);
                expected += 1;
            }
            other => panic!("after {} of {ROWS} rows: {other:?}", expected - 1),
        }
    }
    let highest = process::memory_kib(server.pid(), "VmHWM");
    println!("memory of the server: {start} KiB at the start, {highest} KiB at most");
    assert!(
        highest.saturating_sub(start) <= GROWTH_MAX_KIB,
        "{start} KiB at the start, {highest} KiB at most: it may grow by {GROWTH_MAX_KIB}"
    );
}
