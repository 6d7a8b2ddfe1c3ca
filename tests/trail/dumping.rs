//! Goal: `trail dump` beside a server goes on where retention removes segments under it, and says what is missing. Method: a
//! trail of more segments than a process holds open, and a reader of the output that lets the dump wait at its pipe
//! while the oldest segments go.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::support::{Folder, Server, small_trail};

const TRANSACTIONS: u64 = 2_800;
const ROW_BYTES: usize = 8_000;
/// Of more than 300; the last 256 of them are open when the dump begins.
const REMOVED: usize = 40;

#[test]
fn a_dump_overtaken_by_retention_says_what_is_missing_and_goes_on_behind_it() {
    let data = Folder::new("data");
    let folder = data.path().join("trails").join("a1");
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    small_trail::make(&folder, TRANSACTIONS, ROW_BYTES);
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|name| name == "seg")).collect();
    segments.sort();
    assert!(segments.len() > 256 + REMOVED, "{} segments are all open at once", segments.len());

    let mut command = Command::new(Server::program());
    command.args(["trail", "dump", "a1", "--json", "--data-dir"]).arg(data.path());
    let mut dump = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(dump.stdout.take().unwrap()).lines();
    let mut read = vec![lines.next().unwrap().unwrap()];
    // The pipe is full long before the dump comes to the last of these.
    segments[..REMOVED].iter().for_each(|segment| std::fs::remove_file(segment).unwrap());
    read.extend(lines.map(Result::unwrap));
    let output = dump.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let read: Vec<serde_json::Value> = read.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (mut next, mut removed) = (1, 0);
    for line in &read {
        if line["op_type"] == "REMOVED" {
            // A transaction may have been printed but for its end, which said that it was whole.
            let first = line["first_csn"].as_u64().unwrap();
            assert!(first == next || first + 1 == next, "{line} after {next}");
            removed += 1;
            next = line["next_csn"].as_u64().unwrap();
        } else {
            assert_eq!(line["csn"], next);
            next += 1;
        }
    }
    assert_eq!((removed, next), (1, TRANSACTIONS + 1), "{} lines", read.len());
}
