//! Goal: what a newer program wrote is refused in words and left as it is, never called damaged, and stops nothing else.
//! Method: numbers of formats are raised by hand in a data folder that is otherwise whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

use crate::support::{Folder, Server};

/// A number that no program of ours will have for long.
const NEWER: u16 = 900;

/// A server's data folder with two trails of one row each.
fn filled() -> Folder {
    let mut server = Server::start();
    for trail in ["a1", "b1"] {
        server.make_trail(trail);
        server.make_stream(trail, trail);
        let row = json!({"operations": [{"op": "INSERT", "table": "t", "key": ["id"], "after": {"id": 1}}]});
        server.put(trail, &[row]).expect(200);
    }
    server.terminate();
    server.into_data()
}

fn trail(data: &Folder) -> PathBuf {
    data.path().join("trails/a1")
}

/// A trail of which one file says that it is newer.
fn raised() -> Vec<(&'static str, Folder)> {
    let of_description = filled();
    let file = trail(&of_description).join("trail.json");
    let mut description: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    description["format"] = json!(NEWER);
    // Something that a program of today has never heard of.
    description["colour"] = json!("blue");
    std::fs::write(&file, description.to_string()).unwrap();

    let of_segment = filled();
    let file = trail(&of_segment).join("0000000000000001.seg");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8..10].copy_from_slice(&NEWER.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    vec![("trail.json", of_description), ("0000000000000001.seg", of_segment)]
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn run(data: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(Server::program());
    command.args(arguments).arg("--data-dir").arg(data.path()).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_tool_says_that_a_newer_version_wrote_the_trail_and_changes_nothing() {
    for (file, data) in raised() {
        let before = contents(&trail(&data));
        let backup = Folder::unused_path("backup");
        let commands: [&[&str]; 9] = [
            &["trail", "ls"],
            &["trail", "ls", "--json"],
            &["trail", "info", "a1"],
            &["trail", "dump", "a1"],
            &["trail", "verify", "a1"],
            &["trail", "repair", "a1"],
            &["trail", "repair", "a1", "--dry-run"],
            &["trail", "new-epoch", "a1"],
            &["backup", backup.to_str().unwrap()],
        ];
        for arguments in commands {
            let output = run(&data, arguments);
            let said = text(&output);
            assert!(!output.status.success(), "{arguments:?}: {said}");
            let words = format!("trail a1 was written by a newer version of Trailcast: {file} has format {NEWER}");
            assert!(said.contains(&words) && said.contains("start a program at least as new"), "{arguments:?}: {said}");
            assert!(!said.contains("damage") && !said.contains("DAMAGE"), "{arguments:?}: {said}");
        }
        assert!(text(&run(&data, &["trail", "ls"])).contains("b1"), "the other one is listed");
        assert!(backup.join("trails/b1/trail.json").is_file(), "the other one is in the backup");
        assert_eq!(contents(&trail(&data)), before, "{file}");
        std::fs::remove_dir_all(backup).unwrap();
    }
}

#[test]
fn a_server_serves_the_other_trails_and_says_why_it_does_not_serve_this_one() {
    for (file, data) in raised() {
        let before = contents(&trail(&data));
        let server = Server::start_on(data, &[]);
        let row = json!({"operations": [{"op": "INSERT", "table": "t", "key": ["id"], "after": {"id": 2}}]});
        server.put("b1", std::slice::from_ref(&row)).expect(200);
        let words = "was written by a newer version of Trailcast";
        let told = server.get("/services/v2/trails/a1").expect(200).text();
        assert!(told.contains(words) && !told.contains("damage"), "{told}");
        let refused = server.put("a1", &[row]);
        assert!(refused.status >= 400 && refused.text().contains(words), "{refused}");
        assert!(server.log_text().contains(words), "{}", server.log_text());
        assert!(server.subscribe("a1", "").is_err());
        let path = server.data_dir().join("trails/a1");
        assert_eq!(contents(&path), before, "{file}");
    }
}

#[test]
fn a_damaged_version_number_is_damage_all_the_same() {
    let data = filled();
    let file = trail(&data).join("0000000000000001.seg");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8..10].copy_from_slice(&NEWER.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();
    let said = text(&run(&data, &["trail", "verify", "a1"]));
    assert!(said.contains("damaged") && !said.contains("newer version"), "{said}");
}
