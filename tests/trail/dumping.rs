//! Goal: `trail dump` beside a server goes on where retention removes segments under it, and says what is missing. Method: a
//! trail of more segments than a process holds open, and a reader of the output that lets the dump wait at its pipe
//! while the oldest segments go; where it is damage that stops the dump, nothing is printed again.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::{Folder, Server, trail};

const TRANSACTIONS: u64 = 2_800;
const ROW_BYTES: usize = 8_000;
/// Of more than 300; the last 256 of them are open when the dump begins.
const REMOVED: usize = 40;

/// A trail a1 of small segments; their files, in order.
fn make(data: &Folder, transactions: u64) -> Vec<PathBuf> {
    let folder = data.path().join("trails").join("a1");
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    trail::make_small(&folder, transactions, ROW_BYTES);
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|name| name == "seg")).collect();
    segments.sort();
    segments
}

fn start_dump(data: &Folder) -> Child {
    let mut command = Command::new(Server::program());
    command.args(["trail", "dump", "a1", "--json", "--data-dir"]).arg(data.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_dump_overtaken_by_retention_says_what_is_missing_and_goes_on_behind_it() {
    let data = Folder::new("data");
    let segments = make(&data, TRANSACTIONS);
    assert!(segments.len() > 256 + REMOVED, "{} segments are all open at once", segments.len());

    let mut dump = start_dump(&data);
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
    // More than one, when the dump looks between two removals.
    assert!(removed >= 1 && next == TRANSACTIONS + 1, "{removed} removed, {next} next, {} lines", read.len());
}

#[test]
fn a_dump_that_meets_damage_fails_and_prints_nothing_twice_although_retention_works_beside_it() {
    let data = Folder::new("data");
    let segments = make(&data, 240);
    assert!(segments.len() > 24, "{} segments", segments.len());
    let mut bytes = std::fs::read(&segments[20]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segments[20], bytes).unwrap();

    let mut dump = start_dump(&data);
    let mut lines = BufReader::new(dump.stdout.take().unwrap()).lines();
    let mut read = vec![lines.next().unwrap().unwrap()];
    // The pipe is full long before the dump comes to the damage.
    segments[..5].iter().for_each(|segment| std::fs::remove_file(segment).unwrap());
    read.extend(lines.map(Result::unwrap));
    let output = dump.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("is damaged"), "{said}");
    for (line, csn) in read.iter().zip(1..) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["csn"], csn, "{line}");
    }
    assert!(read.len() > 100, "{} lines", read.len());
}

#[test]
fn names_and_values_cannot_steer_the_terminal() {
    let server = Server::start();
    server.make_trail("a1");
    let row = serde_json::json!({"op": "INSERT", "table": "a.\u{1b}[2Jt", "after": {"c\u{7f}": "v\u{9b}31m\u{2028}"}});
    let ddl = serde_json::json!({"op": "DDL", "table": "a.\nb", "ddl": "drop \u{1b}[31m\r table\nline"});
    let xid = "\u{1b}[31mX\n";
    server.put("a1", &[serde_json::json!({"xid": xid, "operations": [row, ddl]})]).expect(200);
    let dump = |json: &[&str]| {
        let mut command = Command::new(Server::program());
        command.args(["trail", "dump", "a1", "--data-dir"]).arg(server.data_dir()).args(json);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = dump(&[]);
    let steers = |character: char| character != '\n' && (character.is_control() || character == '\u{2028}');
    assert!(!text.contains(steers) && text.lines().count() == 2, "{text:?}");
    // For machines nothing is taken away.
    let first: serde_json::Value = serde_json::from_str(dump(&["--json"]).lines().next().unwrap()).unwrap();
    assert_eq!((&first["xid"], &first["qual_table"]), (&xid.into(), &"a.\u{1b}[2Jt".into()));
}
