//! Goal: consumer groups are listed, described, reset and removed from the command line, which asks first. Method: run it.

use super::command::{client, done, fails, lines, run, stdout};
use crate::support::Server;
use crate::support::server::PASSWORD;

#[test]
fn groups_are_listed_described_reset_and_removed() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let row = |id: u64| serde_json::json!({"operations": [{"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": id}}]});
    server.put("a1", &[row(1), row(2)]).expect(200);
    let group = |arguments: &[&str]| run(client(&server, &[&["group"], arguments].concat()), "");
    assert_eq!(stdout(&group(&["ls"])), "");
    fails(&group(&["describe", "s1", "g1"]), 1, "stream s1 has no consumer group g1");
    drop(server.subscribe("s1", "group=g1&begin=now").unwrap());
    server.get_until("/services/v2/stream/s1/groups/g1", |group| group["members"] == serde_json::json!([]));
    let listed = lines(&group(&["ls", "--json"]));
    assert_eq!((&listed[0]["group"], &listed[0]["lagTransactions"]), (&"g1".into(), &0.into()));
    assert!(stdout(&group(&["ls"])).contains("0 members  lag 0 transactions"));
    fails(&group(&["reset", "s1", "g1", "--begin", "earliest"]), 2, "there is no terminal: give --yes");
    fails(&group(&["rm", "s1", "g1"]), 2, "there is no terminal: give --yes");
    fails(&group(&["reset", "s1", "g1", "--begin", "soon", "--yes"]), 1, "begin must be");
    let reset = stdout(&group(&["reset", "s1", "g1", "--begin", "earliest", "--yes"]));
    assert!(reset.contains("(commit 0)  lag 2 transactions"), "{reset}");
    assert!(stdout(&group(&["describe", "s1", "g1"])).contains("lag 2 transactions"));
    done(&group(&["rm", "s1", "g1", "--yes"]), "consumer group g1 of stream s1 removed\n");
    fails(&group(&["rm", "s1", "g1", "--yes"]), 1, "stream s1 has no consumer group g1");
    assert!(!stdout(&group(&["ls"])).contains(PASSWORD));
}
