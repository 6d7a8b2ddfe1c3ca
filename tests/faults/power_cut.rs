//! Goal: what was acknowledged before a power cut is there after it, exactly once and in order: puts, and the streams,
//! trails and users of the catalog; and what a subscriber was shown stays.
//!
//! Method: the data folder lies on an ext4 of its own, on a loop device. While several callers put transactions and one
//! changes resources, the file system is shut down in mid-write without flushing its journal (`FS_IOC_SHUTDOWN`): from
//! then on nothing reaches the image, and what had not been flushed never will. The server is killed, the image mounted
//! again, the server started, and everything read back. The control is a server that flushes nothing: the same check
//! must see it lose.
//!
//! An answer counts when it was there before the shutdown was asked for. A machine without power answers nothing, but
//! here it runs on, and Linux says yes to an `fdatasync` that the shutdown overtakes although nothing was written (seen
//! with a program of ten lines on 6.18: in 11 of 60 cuts the one flush under way, never one that had returned before).
//!
//! `TRAILCAST_CUTS=n` and `TRAILCAST_SEED=n` choose how many cuts and which moments.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::{self, Answer, Basic};
use crate::support::process::tied_command;
use crate::support::random::Random;
use crate::support::server::{PASSWORD, USER, subscribe};
use crate::support::subscriber::Next;
use crate::support::{Folder, Server, skip};

const CALLERS: u64 = 4;
/// Puts under this number mark the end of a life.
pub(super) const MARKER: u64 = 0;
/// So small that segments are closed all the time.
const SEGMENT_BYTES: u64 = 256 << 10;
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// `FS_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, on a line from standard input. Python, because an ioctl by number
/// takes unsafe code in Rust.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys
folder = os.open(sys.argv[1], os.O_RDONLY)
print('ready', flush=True)
sys.stdin.readline()
fcntl.ioctl(folder, 0x8004587D, struct.pack('I', 2))";

/// An ext4 on a file, mounted as long as this value lives.
pub(super) struct Ext4 {
    image: Folder,
    mounted_on: PathBuf,
}

impl Ext4 {
    /// Mounts a new one over `folder`; `Err` says why that cannot be.
    fn over(folder: &Path) -> Result<Self, String> {
        let disk = Self { image: Folder::new("ext4"), mounted_on: folder.to_owned() };
        let file = std::fs::File::create(disk.image_path()).unwrap();
        file.set_len(1 << 30).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(disk.image_path()))?;
        disk.mount()?;
        Ok(disk)
    }

    fn image_path(&self) -> PathBuf {
        self.image.path().join("image")
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image_path()).arg(&self.mounted_on))
    }

    /// Makes everything so far durable.
    fn flush(&self) {
        run(Command::new("sync").arg("-f").arg(&self.mounted_on)).unwrap();
    }

    /// A switch for the power, ready to be used.
    pub(super) fn switch(&self) -> Switch {
        let mut command = tied_command("python3", "KILL", None);
        command.args(["-c", SHUT_DOWN]).arg(&self.mounted_on).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        Switch(child)
    }

    /// Mounts what is on the image.
    pub(super) fn power_on(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = run(Command::new("umount").arg(&self.mounted_on)) {
            assert!(Instant::now() < deadline, "{error}");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.mount().unwrap();
    }
}

pub(super) struct Switch(Child);

impl Switch {
    /// Nothing reaches the image once this returns. What happens after `power` is false counts as not seen.
    pub(super) fn cut(mut self, power: &AtomicBool) {
        power.store(false, Ordering::SeqCst);
        self.0.stdin.take().unwrap().write_all(b"now\n").unwrap();
        assert!(self.0.wait().unwrap().success(), "the file system was not shut down");
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mounted_on).stderr(Stdio::null()).status();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = || format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.status.success().then_some(()).ok_or_else(said)
}

/// The transaction that a caller puts under a number: small ones, some of many rows, a few larger than a segment.
pub(super) fn transaction(caller: u64, number: u64) -> Value {
    let width = match number {
        n if n % 61 == 17 => 120_000,
        n if n % 10 == 3 => 5_000,
        _ => 40,
    };
    transaction_of(width, caller, number)
}

/// The same, with rows that are so wide.
pub(super) fn transaction_of(width: usize, caller: u64, number: u64) -> Value {
    let rows = 1 + number % 4;
    let row = |row| {
        let id = format!("{caller}-{number}-{row}");
        let after =
            json!({"id": id, "caller": caller, "number": number, "row": row, "of": rows, "text": "x".repeat(width)});
        json!({"op": "INSERT", "table": format!("t.c{caller}"), "key": ["id"], "after": after})
    };
    json!({"xid": format!("{caller}-{number}"), "operations": (0..rows).map(row).collect::<Vec<_>>()})
}

/// Row `row` of the transaction of that caller and number.
pub(super) type Row = (u64, u64, u64);

/// One caller: the next number, and how many were acknowledged.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Caller {
    pub(super) acknowledged: u64,
    /// Acknowledgements that came for a transaction asked for in an earlier life.
    repeated: u64,
}

/// Sends a request; `None` when no answer came.
fn ask(port: u16, method: &str, target: &str, body: &str) -> Option<Answer> {
    let authorization = Basic::new(USER, PASSWORD);
    let headers = [("Authorization", authorization.header()), ("Content-Type", "application/json")];
    http::request(port, method, target, &headers, body.as_bytes()).ok()
}

/// Puts one after the other until one is not acknowledged; that one is the first of the next life.
pub(super) fn keep_putting(
    port: u16,
    number: u64,
    caller: &mut Caller,
    power: &AtomicBool,
    transaction: fn(u64, u64) -> Value,
) {
    let first = caller.acknowledged + 1;
    while power.load(Ordering::SeqCst) {
        let next = caller.acknowledged + 1;
        let body = transaction(number, next).to_string();
        let answer = ask(port, "POST", "/services/v2/trails/a1/transactions", &body);
        if answer.is_none_or(|answer| answer.status != 200) || !power.load(Ordering::SeqCst) {
            return;
        }
        caller.acknowledged = next;
        caller.repeated += u64::from(next == first && first > 1);
    }
}

/// What the catalog was told and said yes to: by path, whether it is there. What was asked without an answer is in
/// neither state and left out.
type Resources = BTreeMap<String, bool>;

/// Makes streams, trails and users, and deletes some, until a request is not acknowledged.
fn keep_changing(port: u16, life: u32, resources: &mut Resources, power: &AtomicBool) {
    for number in 0_u32.. {
        let (path, body) = match number % 8 {
            3 => (format!("/services/v2/trails/t{life}-{number}"), json!({})),
            5 => (format!("/services/v2/users/u{life}-{number}"), json!({"role": "User", "password": "not-checked-9"})),
            _ => (format!("/services/v2/stream/s{life}_{number}"), json!({"source": {"trail": "a1"}})),
        };
        let mut request = |method: &str, body: &str, there: bool| {
            if !power.load(Ordering::SeqCst) {
                return false;
            }
            resources.remove(&path);
            match ask(port, method, &path, body) {
                Some(answer) if answer.status == 200 && power.load(Ordering::SeqCst) => {
                    resources.insert(path.clone(), there);
                    true
                }
                Some(answer) if power.load(Ordering::SeqCst) => panic!("{method} {path}: {answer}"),
                _ => false,
            }
        };
        if !request("POST", &body.to_string(), true) || (number % 3 == 0 && !request("DELETE", "", false)) {
            return;
        }
    }
}

/// Follows the stream from life to life by position, as a client would.
#[derive(Debug, Default)]
struct Watcher {
    rows: Vec<Row>,
    position: Option<String>,
}

impl Watcher {
    fn watch(&mut self, port: u16, power: &AtomicBool) {
        let begin = self.position.as_ref().map_or_else(|| "begin=earliest".to_owned(), |pos| format!("begin={pos}"));
        let Ok(mut subscriber) = subscribe(port, "s1", &begin, &Basic::new(USER, PASSWORD)) else { return };
        loop {
            match subscriber.next(Duration::from_millis(50)) {
                Next::Record(record) => {
                    if !power.load(Ordering::SeqCst) {
                        return;
                    }
                    if let Some(pos) = record.pos() {
                        self.rows.push(row_of(&record.json));
                        self.position = Some(pos.to_owned());
                    }
                }
                Next::Quiet if !power.load(Ordering::SeqCst) => return,
                Next::Quiet => {}
                Next::Ended(_) => return,
            }
        }
    }
}

fn row_of(record: &Value) -> Row {
    let after = &record["after"];
    let cell = |name: &str| after[name].as_u64().unwrap_or_else(|| panic!("no {name} in a record"));
    (cell("caller"), cell("number"), cell("row"))
}

/// Every row of the trail from there up to the marker of this life.
pub(super) fn read_all(server: &Server, life: u32, begin: &str) -> Result<Vec<Row>, String> {
    let marker = server.put("a1", &[transaction(MARKER, u64::from(life))]);
    if marker.status != 200 {
        return Err(format!("a put after the cut is refused: {marker}"));
    }
    let mut reader = server.subscribe("s1", begin).map_err(|refused| format!("{refused:?}"))?;
    let mut rows = Vec::new();
    loop {
        match reader.next(PATIENCE) {
            Next::Record(record) if record.pos().is_some() => {
                let row = row_of(&record.json);
                rows.push(row);
                if row == (MARKER, u64::from(life), record.json["after"]["of"].as_u64().unwrap() - 1) {
                    return Ok(rows);
                }
            }
            Next::Record(_) => {}
            other => return Err(format!("after {} rows, without the marker of life {life}: {other:?}", rows.len())),
        }
    }
}

/// Whether each caller's transactions are there whole, once, in order and without a gap, as far as acknowledged, and at
/// most one further.
fn each_once_and_in_order(rows: &[Row], callers: &[Caller]) -> Result<(), String> {
    let mut whole: BTreeMap<u64, u64> = BTreeMap::new();
    let mut at = 0;
    while at < rows.len() {
        let (caller, number, _) = rows[at];
        let last = whole.entry(caller).or_default();
        if number != *last + 1 {
            return Err(format!("caller {caller}: {number} comes after {last}"));
        }
        *last = number;
        for row in 0..1 + number % 4 {
            if rows.get(at) != Some(&(caller, number, row)) {
                return Err(format!("caller {caller}: row {row} of {number} is not where it belongs"));
            }
            at += 1;
        }
    }
    for (caller, state) in (1..).zip(callers) {
        let found = whole.get(&caller).copied().unwrap_or_default();
        if found < state.acknowledged {
            return Err(format!("caller {caller}: {} acknowledged, {found} there", state.acknowledged));
        }
        if found > state.acknowledged + 1 {
            return Err(format!("caller {caller}: {} acknowledged, {found} there: never asked", state.acknowledged));
        }
    }
    Ok(())
}

fn starts_with(what: &str, rows: &[Row], start: &[Row]) -> Result<(), String> {
    let part = start.iter().zip(rows).position(|(a, b)| a != b).unwrap_or(start.len().min(rows.len()));
    let show = |rows: &[Row]| rows.get(part).map_or_else(|| "the end".to_owned(), |row| format!("{row:?}"));
    match part == start.len() {
        true => Ok(()),
        false => Err(format!("{what} had {} as row {part}; now there is {}", show(start), show(rows))),
    }
}

/// Whether the catalog has what it acknowledged to have, and nothing that it acknowledged to have deleted.
fn catalog_has(server: &Server, resources: &Resources) -> Result<(), String> {
    let mut there = BTreeSet::new();
    for collection in ["/services/v2/stream", "/services/v2/trails", "/services/v2/users"] {
        let items = server.get(collection).expect(200).response()["items"].clone();
        let names = items.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned());
        there.extend(names.map(|name| format!("{collection}/{name}")));
    }
    let wrong = resources.iter().find(|(path, is_there)| there.contains(*path) != **is_there);
    wrong.map_or(Ok(()), |(path, is_there)| {
        Err(format!(
            "{path} was acknowledged as {}",
            if *is_there { "made and is gone" } else { "deleted and is back" }
        ))
    })
}

pub(super) fn verifies(server: &Server) -> Result<(), String> {
    run(Command::new(Server::program()).args(["trail", "verify", "a1", "--data-dir"]).arg(server.data_dir()))
}

/// A server whose whole data folder lies on the file system whose power is cut; `None` when there can be none here.
pub(super) fn server_on_ext4(segment_bytes: u64, environment: &[(&str, &str)]) -> Option<(Server, Ext4)> {
    let mut server = Server::start();
    server.kill();
    let disk = match Ext4::over(server.data_dir()) {
        Ok(disk) => disk,
        Err(why) => {
            skip(&format!("no ext4 on a loop device can be had here (needs root, e2fsprogs, mount): {why}"));
            return None;
        }
    };
    if run(Command::new("python3").arg("--version")).is_err() {
        skip("the ioctl that cuts the power needs python3");
        return None;
    }
    server.start_again();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    server.kill();
    let description = server.data_dir().join("trails/a1/trail.json");
    let mut described: Value = serde_json::from_slice(&std::fs::read(&description).unwrap()).unwrap();
    described["segmentBytes"] = segment_bytes.into();
    std::fs::write(&description, described.to_string()).unwrap();
    disk.flush();
    environment.iter().for_each(|(name, value)| server.set_environment(name, Some(value)));
    server.start_again();
    Some((server, disk))
}

/// The whole experiment; the verdict says what was lost, or how much was put.
fn cut_many_times(cuts: u32, flushes: bool) -> Option<Result<u64, String>> {
    let environment = if flushes { [].as_slice() } else { &[("TRAILCAST_TEST_NO_FLUSH", "1")] };
    let (mut server, disk) = server_on_ext4(SEGMENT_BYTES, environment)?;
    let mut chance = Random::of_this_run();
    let mut callers = [Caller::default(); CALLERS as usize];
    let (mut resources, mut watcher, mut history) = (Resources::new(), Watcher::default(), Vec::new());
    let lives_with_work = AtomicUsize::new(0);
    for life in 1..=cuts {
        let (port, power, switch) = (server.port(), AtomicBool::new(true), disk.switch());
        let before: u64 = callers.iter().map(|caller| caller.acknowledged).sum();
        let last_commit = |trail: &Value| trail["lastCommit"].as_u64().unwrap_or_default();
        let commits_before = last_commit(&server.get("/services/v2/trails/a1").expect(200).response());
        std::thread::scope(|scope| {
            let power = &power;
            for (number, caller) in (1..).zip(&mut callers) {
                scope.spawn(move || keep_putting(port, number, caller, power, transaction));
            }
            // Changes of the catalog flush the journal of the whole file system: for the control they would do the work.
            if flushes {
                let resources = &mut resources;
                scope.spawn(move || keep_changing(port, life, resources, power));
            }
            let watcher = &mut watcher;
            scope.spawn(move || watcher.watch(port, power));
            // On a busy machine the first put may take a while, and a cut before it would prove nothing.
            server.get_until("/services/v2/trails/a1", |trail| last_commit(trail) > commits_before);
            std::thread::sleep(chance.millis(100, 1_200));
            switch.cut(power);
            // The server meets the dead disk for a while, or dies with it.
            std::thread::sleep(chance.millis(0, 50));
            server.kill();
        });
        let now: u64 = callers.iter().map(|caller| caller.acknowledged).sum();
        lives_with_work.fetch_add(usize::from(now > before), Ordering::SeqCst);
        disk.power_on();
        server.start_again();
        let verdict = read_all(&server, life, "begin=earliest").and_then(|rows| {
            each_once_and_in_order(&rows, &callers)?;
            starts_with("the trail before the cut", &rows, &history)?;
            starts_with("a subscriber", &rows, &watcher.rows)?;
            catalog_has(&server, &resources)?;
            verifies(&server)?;
            history = rows;
            Ok(())
        });
        if let Err(lost) = verdict {
            return Some(Err(format!("cut {life}: {lost}")));
        }
    }
    let acknowledged = callers.iter().map(|caller| caller.acknowledged).sum();
    let repeated: u64 = callers.iter().map(|caller| caller.repeated).sum();
    println!(
        "{cuts} cuts, {acknowledged} puts acknowledged, {} rows read, {} seen live, {repeated} puts sent again, {} resources, {} segments",
        history.len(),
        watcher.rows.len(),
        resources.len(),
        std::fs::read_dir(server.data_dir().join("trails/a1"))
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "seg"))
            .count(),
    );
    assert!(
        lives_with_work.load(Ordering::SeqCst) * 10 >= cuts as usize * 9,
        "too many lives in which nothing was put"
    );
    // The file system goes last.
    drop(server);
    Some(Ok(acknowledged))
}

fn cuts_wanted() -> u32 {
    let chosen = std::env::var("TRAILCAST_CUTS").ok().and_then(|cuts| cuts.parse().ok());
    chosen.unwrap_or(if std::env::var_os("TRAILCAST_TEST_LONG").is_some() { 50 } else { 5 })
}

#[test]
fn no_power_cut_loses_repeats_or_reorders_what_was_acknowledged() {
    let cuts = cuts_wanted();
    let Some(verdict) = cut_many_times(cuts, true) else { return };
    let acknowledged = verdict.unwrap_or_else(|lost| panic!("{lost}"));
    assert!(acknowledged > u64::from(cuts) * 20, "too little was put to prove anything: {acknowledged}");
}

#[test]
fn a_server_that_flushes_nothing_is_seen_to_lose_at_a_power_cut() {
    if !cfg!(feature = "fault-injection") {
        return skip("the control needs --features fault-injection");
    }
    let Some(verdict) = cut_many_times(5, false) else { return };
    let lost = verdict.expect_err("five power cuts without any flush, and no loss was seen");
    println!("lost, as it should: {lost}");
    assert!(lost.contains("acknowledged"), "{lost}");
}

#[test]
fn the_check_after_a_cut_sees_a_lost_a_torn_a_doubled_and_a_swapped_transaction() {
    let rows = |numbers: &[u64]| -> Vec<Row> {
        numbers.iter().flat_map(|number| (0..1 + number % 4).map(|row| (1, *number, row))).collect()
    };
    let callers = [Caller { acknowledged: 3, repeated: 0 }];
    assert_eq!(each_once_and_in_order(&rows(&[1, 2, 3]), &callers), Ok(()));
    assert_eq!(each_once_and_in_order(&rows(&[1, 2, 3, 4]), &callers), Ok(()), "one was on its way");
    for wrong in [&[1, 2][..], &[1, 3], &[1, 2, 2, 3], &[2, 1, 3], &[1, 2, 3, 4, 5]] {
        assert!(each_once_and_in_order(&rows(wrong), &callers).is_err(), "{wrong:?}");
    }
    let mut torn = rows(&[1, 2, 3]);
    torn.remove(3);
    assert!(each_once_and_in_order(&torn, &callers).is_err());
    assert!(starts_with("x", &rows(&[1, 2]), &rows(&[1, 2, 3])).is_err());
    assert!(starts_with("x", &rows(&[1, 2, 3]), &rows(&[1, 2])).is_ok());
}
