//! How many commits of consumer groups a second are durable, beside transactions of the catalog on the same disk?
//!
//! `cargo bench --bench groups -- --members 64 --seconds 5`
//!
//! So many members, each of a group of its own, commit one position after the other, each as soon as the one before is durable: a
//! commit goes through the group's state machine, which knows who has the partition, and is answered after the flush. Then as many
//! callers write one value after the other into the catalog, each in a transaction of its own. Both in turn, several times, and
//! the medians are compared. A commit that was answered is looked for in the file at the end.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measuring command says what it finds"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use trailcast::catalog::stream::StreamConfig;
use trailcast::catalog::{Catalog, Shelf};
use trailcast::clock::SystemClock;
use trailcast::record::{GroupName, MemberName, Position, ResourceName, TrailName};
use trailcast::service::Service;
use trailcast::service::groups::{GroupError, Joining, Membership};
use trailcast::service::principal::Principal;
use trailcast::trail::Writer;

/// Compares durable commits of consumer groups with transactions of the catalog.
#[derive(Debug, Parser)]
struct Arguments {
    /// Members, and callers of the catalog
    #[arg(long, default_value_t = 64)]
    members: usize,
    /// Time of each measurement, in seconds
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Measurements of each kind
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the data folder is made; otherwise in the system's temporary folder
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

async fn members(service: &Service, count: usize) -> Vec<Membership> {
    let trail = TrailName::new("a1").unwrap();
    service.trails().make(Principal::House, &trail, Writer::Puts, None).await.unwrap();
    let put = br#"{"operations":[{"op":"INSERT","table":"t","key":["id"],"after":{"id":1}}]}"#;
    service.puts().put(Principal::House, &trail, put).await.unwrap();
    let entry = service.trails().get(&trail).unwrap();
    let trail = entry.served().unwrap();
    let mut members = Vec::new();
    for number in 0..count {
        // A stream has a bounded number of groups.
        let stream = ResourceName::new(&format!("s{}", number / 32)).unwrap();
        if number % 32 == 0 {
            let config = StreamConfig::parse(br#"{"source":{"trail":"a1"}}"#).unwrap();
            service.streams().make(Principal::House, &stream, config).await.unwrap();
        }
        let joining = Joining {
            stream: &stream,
            trail,
            group: &GroupName::new(&format!("g{number}")).unwrap(),
            member: MemberName::new("m").unwrap(),
            timeout: None,
            skips_forward: false,
        };
        let start = Position::behind(trail.epoch(), 0);
        let joined = service.groups().join(Principal::House, joining, || async { Ok::<_, GroupError>(start) }, || true);
        members.push(joined.await.unwrap());
    }
    members
}

/// Runs one task for each worker until the time is over; pieces of work a second.
async fn rate<W, F>(workers: &[Arc<W>], time: Duration, work: impl Fn(Arc<W>, u64) -> F + Clone + Send + 'static) -> f64
where
    W: Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let (done, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let tasks: Vec<_> = workers
        .iter()
        .map(|worker| {
            let (worker, work, done) = (worker.clone(), work.clone(), done.clone());
            tokio::spawn(async move {
                while started.elapsed() < time {
                    let number = done.fetch_add(1, Ordering::Relaxed);
                    work(worker.clone(), number).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

async fn measure(arguments: &Arguments, folder: &Path) {
    let service = Service::open(&folder.join("data"), Arc::new(SystemClock), Default::default()).unwrap();
    let members: Vec<_> = members(&service, arguments.members).await.into_iter().map(Arc::new).collect();
    std::fs::create_dir_all(folder.join("catalog")).unwrap();
    let catalog = Catalog::open(&folder.join("catalog")).unwrap();
    let callers: Vec<_> = (0..arguments.members).map(|number| Arc::new((catalog.clone(), number))).collect();
    let time = Duration::from_secs(arguments.seconds);
    let next = Arc::new(AtomicU64::new(1));
    let (mut commits, mut transactions, mut per_flush) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        let (before, next) = (service.groups().figures(), next.clone());
        let rate_of_commits = rate(&members, time, move |member: Arc<Membership>, _| {
            let next = next.clone();
            async move {
                let owned = member.share().unwrap().0[0];
                let commit = next.fetch_add(1, Ordering::Relaxed);
                let position = Position { commit, ..owned.committed };
                let committed = member.commit(&[(owned.partition, owned.generation, position)]).await.unwrap();
                assert!(committed.lost.is_empty());
            }
        });
        commits.push(rate_of_commits.await);
        let after = service.groups().figures();
        per_flush.push((after.changes - before.changes) as f64 / (after.flushes - before.flushes).max(1) as f64);
        let rate_of_transactions = rate(&callers, time, |caller: Arc<(Catalog, usize)>, number| async move {
            let key = format!("c{}", caller.1);
            caller.0.blocking(move |catalog| catalog.put(Shelf::Server, &key, &number)).await.unwrap();
        });
        transactions.push(rate_of_transactions.await);
    }
    let (commits, transactions) = (median(commits), median(transactions));
    println!("{} members", arguments.members);
    println!("commits           {commits:>10.0} a second, {:.0} a flush", median(per_flush));
    println!("catalog           {transactions:>10.0} transactions a second");
    println!("ratio             {:>10.1}", commits / transactions);
    let last: Vec<_> = members.iter().map(|member| member.share().unwrap().0[0].committed.commit).collect();
    drop(members);
    drop(service);
    let service = Service::open(&folder.join("data"), Arc::new(SystemClock), Default::default()).unwrap();
    let mut found: Vec<_> =
        service.groups().list(Principal::House).iter().map(|group| group.partitions[0].position.commit).collect();
    let mut expected = last;
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "what was answered is there after another start");
}

fn main() {
    let arguments = Arguments::parse();
    let folder = match &arguments.folder {
        Some(folder) => tempfile::tempdir_in(folder),
        None => tempfile::tempdir(),
    };
    let folder = folder.unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&arguments, folder.path()));
}
