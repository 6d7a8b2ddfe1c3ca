//! Appending with a flush each, beside `dd` with the same flush policy on the same disk, taking turns in one run.
//!
//! `cargo bench --bench append -- [FOLDER]`: the folder decides which disk is measured. Each round appends groups of about
//! 64 KiB to a trail, each durable before the next begins, then lets `dd oflag=dsync` write as many bytes in blocks of
//! the same size.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    unused_crate_dependencies,
    unreachable_pub
)]

mod rows;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const ROUNDS: usize = 5;
const GROUPS: u64 = 400;
const TRANSACTIONS_A_GROUP: u64 = 8;

/// Bytes, seconds.
type Measured = (f64, f64);

fn main() {
    // Cargo adds --bench.
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
    let scratch = tempfile::tempdir_in(folder).unwrap();
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let trail = trail(&scratch.path().join(format!("a{round}")));
        let block = (trail.0 / GROUPS as f64) as u64;
        let dd = dd(&scratch.path().join("dd"), block);
        let rate = |measured: Measured| measured.0 / measured.1 / 1e6;
        let flushes = |measured: Measured| GROUPS as f64 / measured.1;
        println!(
            "round {round}: {block} bytes a flush; trail {:.0} MB/s, {:.0} flushes/s; dd {:.0} MB/s, {:.0} flushes/s",
            rate(trail),
            flushes(trail),
            rate(dd),
            flushes(dd)
        );
        ratios.push(rate(trail) / rate(dd));
    }
    ratios.sort_by(f64::total_cmp);
    println!("trail / dd: {:.2} (median; {:.2} to {:.2})", ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]);
}

fn trail(folder: &Path) -> Measured {
    let runtime = rows::runtime();
    runtime.block_on(async {
        let trail = rows::trail(folder, 1).await;
        let mut appender = trail.appender().unwrap();
        let before = trail.status().bytes;
        let started = Instant::now();
        for group in 0..GROUPS {
            let mut last = None;
            for transaction in 0..TRANSACTIONS_A_GROUP {
                last = Some(rows::append(&mut appender, 2 + group * TRANSACTIONS_A_GROUP + transaction));
            }
            appender.hand_over().await.unwrap();
            appender.wait_durable(last.unwrap().commit).await.unwrap();
        }
        let seconds = started.elapsed().as_secs_f64();
        appender.close().await.unwrap();
        ((trail.status().bytes - before) as f64, seconds)
    })
}

fn dd(file: &Path, block: u64) -> Measured {
    let arguments = [
        "if=/dev/zero".to_owned(),
        format!("of={}", file.display()),
        format!("bs={block}"),
        format!("count={GROUPS}"),
        "oflag=dsync".to_owned(),
    ];
    let started = Instant::now();
    let done = Command::new("dd").args(arguments).output().expect("dd runs");
    let seconds = started.elapsed().as_secs_f64();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    std::fs::remove_file(file).unwrap();
    ((block * GROUPS) as f64, seconds)
}
