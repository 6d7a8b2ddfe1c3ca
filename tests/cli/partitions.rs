//! Goal: trails with partitions are made, shown, split and merged from the command line. Method: run it.

use serde_json::json;

use super::command::{client, lines, run, stderr, stdout};
use crate::support::Server;

#[test]
fn trails_are_made_and_their_partitions_changed_from_the_command_line() {
    let server = Server::start();
    let trail = |arguments: &[&str]| run(client(&server, &[&["trail"], arguments].concat()), "");
    let done = |arguments: &[&str]| {
        let output = trail(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        output
    };
    assert_eq!(stdout(&done(&["make", "events", "--partitions", "2"])), "trail events made, with 2 partitions\n");
    assert_eq!(stdout(&done(&["make", "plain"])), "trail plain made, with 1 partition\n");
    let shown = stdout(&done(&["split", "events", "1", "--at", &(u128::MAX - 9).to_string()]));
    assert!(shown.contains(&format!("1     closed {}", 1_u128 << 127)), "{shown}");
    assert!(shown.contains("from 1, after commit 0"), "{shown}");
    let merged = lines(&done(&["merge", "events", "0", "2", "--json"]));
    assert_eq!((merged.len(), &merged[4]["parents"]), (5, &json!([0, 2])));
    assert_eq!(lines(&done(&["partitions", "events", "--json"])), merged);
    let refused = trail(&["split", "events", "0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("partition 0 is closed"), "{}", stderr(&refused));
}
