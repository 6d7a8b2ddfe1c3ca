//! Goal: a full disk refuses puts with 507, loses nothing that was acknowledged, keeps readers going, and passes by
//! itself once there is room. Method: the trails lie on a small file system in memory that a filler file fills up.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Server, skip};

/// A file system of a few megabytes, there as long as this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn over(folder: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(folder)
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }

    fn fill(&self) {
        let filler = std::fs::File::create(self.0.join("filler")).unwrap();
        let block = [0_u8; 4096];
        while std::io::Write::write_all(&mut &filler, &block).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_puts_and_passes_when_there_is_room_again() {
    let server = Server::start();
    let Some(disk) = SmallDisk::over(&server.data_dir().join("trails")) else {
        skip("no file system can be mounted here (needs root)");
        return;
    };
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let mut acknowledged = Vec::new();
    let mut put = |number: u64| {
        let row = json!({"id": number, "text": "x".repeat(20_000)});
        let operation = json!({"op": "INSERT", "table": "t.rows", "key": ["id"], "after": row});
        let answer = server.put("a1", &[json!({"xid": format!("x{number}"), "operations": [operation]})]);
        if answer.status == 200 {
            acknowledged.push(number);
        }
        answer
    };
    for number in 0..20 {
        assert_eq!(put(number).status, 200);
    }
    disk.fill();
    let full = (20..400).map(&mut put).find(|answer| answer.status != 200).expect("the disk never filled up");
    assert_eq!(full.status, 507, "{full}");
    assert!(full.titles().contains("disk is full"), "{full}");
    assert_eq!(put(1_000).status, 507);
    // Readers go on.
    let mut reader = server.subscribe("s1", "begin=earliest").unwrap();
    assert_eq!(reader.expect_data(Duration::from_secs(20)).json["after"]["id"], 0);
    assert_eq!(server.get("/readyz").status, 503);
    disk.free();
    let deadline = Instant::now() + Duration::from_secs(30);
    while put(2_000).status != 200 {
        assert!(Instant::now() < deadline, "puts did not resume within 30 s");
    }
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(put(2_001).status, 200);
    let mut again = server.subscribe("s1", "begin=earliest").unwrap();
    for number in acknowledged {
        assert_eq!(again.expect_data(Duration::from_secs(20)).json["after"]["id"], number);
    }
}
