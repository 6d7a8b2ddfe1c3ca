//! Goal: a data folder of any earlier format opens, and whoever used it notices nothing: same records, saved positions resume,
//! log-ins work, a repeated put is not appended again, all configurations are there. Method: copies of
//! `tests/fixtures/folder-*`, each with what its users may count on in `expected.json`; a server of today on each copy.

mod newer;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use trailcast::codec::token;

use crate::support::http::{self, Basic};
use crate::support::subscriber::{Ended, Next, Refused};
use crate::support::waiting::wait_for_file;
use crate::support::{Folder, Postgres, Program, Server, Subscriber, extract, process, server};

const PATIENCE: Duration = Duration::from_secs(30);

/// A folder that an earlier version made, and what is expected of it.
struct Fixture {
    folder: PathBuf,
    expected: Value,
}

/// Every one there is.
fn fixtures() -> Vec<Fixture> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    assert!(folders.iter().any(|path| path.ends_with("folder-0.1")), "{folders:?}");
    let read = |folder: PathBuf| {
        let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        Fixture { folder, expected: serde_json::from_str(&text).unwrap() }
    };
    folders.into_iter().map(read).collect()
}

impl Fixture {
    /// A copy of the data folder.
    fn copy(&self) -> Folder {
        let path = Folder::unused_path("upgraded");
        process::copy_folder(&self.folder.join("data"), &path);
        Folder::adopt(path)
    }

    fn start(&self) -> Server {
        Server::start_on(self.copy(), &[])
    }

    fn members<'a>(&'a self, of: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let object = self.expected[of].as_object().unwrap_or_else(|| panic!("no {of}"));
        object.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Where a subscriber that wants all records of a stream begins.
    fn begin_of(&self, stream: &str) -> &str {
        let trail = self.expected["streams"][stream]["source"]["trail"].as_str().unwrap();
        // Of 0.1 only one trail has a gap.
        let gap = if trail == "puts" { &self.expected["gap"] } else { &self.expected["gaps"][trail] };
        gap.as_str().unwrap_or("earliest")
    }
}

fn texts(lines: &Value) -> Vec<&str> {
    lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
}

/// The position as it is written today. It is the same position: nothing is lost by reading and writing it.
fn of_today(position: &str) -> String {
    let token = token::decode(position).unwrap_or_else(|error| panic!("{position}: {error}"));
    token::encode_token(&token).as_str().to_owned()
}

/// A record of a stream as it was sent, byte for byte, but with its position as it is written today.
fn record_of_today(text: &str) -> String {
    let record: Value = serde_json::from_str(text).unwrap();
    let position = record["pos"].as_str().unwrap_or_else(|| panic!("no position: {text}"));
    text.replace(&format!("\"pos\":\"{position}\""), &format!("\"pos\":\"{}\"", of_today(position)))
}

fn subscribe(server: &Server, stream: &str, begin: &str) -> Subscriber {
    server.subscribe(stream, &format!("begin={begin}")).unwrap()
}

/// Sees to it that these records come, and none before them.
fn expect_records(subscriber: &mut Subscriber, expected: &[&str], about: &str) {
    for text in expected {
        assert_eq!(subscriber.expect_record(PATIENCE).text, record_of_today(text), "{about}");
    }
}

/// Whether everything that `known` says is also in `now`, which may say more.
fn holds(now: &Value, known: &Value) -> bool {
    match (now, known) {
        (Value::Object(now), Value::Object(known)) => {
            known.iter().all(|(name, value)| now.get(name).is_some_and(|now| holds(now, value)))
        }
        (Value::Array(now), Value::Array(known)) => {
            now.len() == known.len() && now.iter().zip(known).all(|(now, known)| holds(now, known))
        }
        _ => now == known,
    }
}

fn trail_command(data: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(Server::program());
    process::output(command.arg("trail").args(arguments).arg("--data-dir").arg(data))
}

#[test]
fn a_stream_of_an_earlier_version_gives_the_same_records_and_resumes_at_every_saved_position() {
    for fixture in fixtures() {
        let server = fixture.start();
        for (stream, records) in fixture.members("records") {
            let records = texts(records);
            expect_records(&mut subscribe(&server, stream, fixture.begin_of(stream)), &records, stream);
            for saved in texts(&fixture.expected["saved"][stream]) {
                let at = records.iter().position(|record| record.contains(saved)).unwrap();
                let about = format!("{stream} after {saved}");
                expect_records(&mut subscribe(&server, stream, saved), &records[at + 1..], &about);
            }
        }
    }
}

#[test]
fn a_position_that_an_earlier_version_answered_to_a_put_is_taken_by_every_stream_of_its_trail() {
    for fixture in fixtures() {
        let server = fixture.start();
        let records = texts(&fixture.expected["records"]["plain"]);
        let mut resumed = 0;
        for (xid, put) in fixture.members("repeated") {
            let own = format!("\"xid\":\"{xid}\"");
            // Of what came before a gap the records are not among those of the stream.
            let Some(last) = records.iter().rposition(|record| record.contains(&own)) else { continue };
            let mut subscriber = subscribe(&server, "plain", put["pos"].as_str().unwrap());
            expect_records(&mut subscriber, &records[last + 1..], xid);
            resumed += 1;
        }
        assert!(resumed > 1);
    }
}

#[test]
fn tail_goes_on_after_a_position_that_an_earlier_version_saved_and_saves_those_of_today() {
    for fixture in fixtures() {
        let server = fixture.start();
        let folder = Folder::new("resume");
        for (stream, records) in fixture.members("records") {
            let fields = &fixture.expected["streams"][stream]["encoding"]["json"]["metaFields"];
            if fields["opType"].is_string() {
                // Its fields have other names and nothing describes them: no client knows which is the position.
                continue;
            }
            let (records, saved) = (texts(records), texts(&fixture.expected["saved"][stream]));
            let at = records.iter().position(|record| record.contains(saved[0])).unwrap();
            let file = folder.path().join(stream);
            // As `tail` itself writes it.
            std::fs::write(&file, format!("{}\n", saved[0])).unwrap();
            let mut command = Command::new(Server::program());
            command.args(["tail", stream, "--json", "--resume"]).arg(&file).env("TRAILCAST_URL", server.url("http"));
            let mut tail = Program::start(command);
            let expected: Vec<String> = records[at + 1..].iter().map(|text| record_of_today(text)).collect();
            let printed = tail.lines_until(PATIENCE, |line| line == expected[expected.len() - 1]);
            assert_eq!(printed, expected, "{stream}");
            let last: Value = serde_json::from_str(&expected[expected.len() - 1]).unwrap();
            wait_for_file(&file, last["pos"].as_str().unwrap());
            tail.signal("INT");
            assert!(tail.ends_well(PATIENCE), "{}", tail.complaints());
        }
    }
}

#[test]
fn a_session_meets_the_gap_of_an_earlier_repair_and_positions_from_before_it_are_refused() {
    for fixture in fixtures() {
        let server = fixture.start();
        let mut subscriber = subscribe(&server, "plain", "earliest");
        let end = loop {
            match subscriber.next(PATIENCE) {
                Next::Record(_) => {}
                Next::Ended(Ended::Closed(code, reason)) => break (code, reason),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(end.0, 4014, "{}", end.1);
        let before = fixture.expected["beforeRepair"].as_str().unwrap();
        match server.subscribe("plain", &format!("begin={before}")) {
            Err(Refused::Answer(answer)) => assert_eq!(answer.status, 409, "{answer}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_session_meets_the_gap_that_capture_left_and_is_told_the_table() {
    let mut met = 0;
    for fixture in fixtures() {
        let Some(gap) = fixture.expected["gaps"]["captured"].as_str() else { continue };
        let server = fixture.start();
        let mut subscriber = subscribe(&server, "rows", "earliest");
        let (code, reason) = loop {
            match subscriber.next(PATIENCE) {
                Next::Record(_) => {}
                Next::Ended(Ended::Closed(code, reason)) => break (code, reason),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(code, 4014, "{reason}");
        let told = format!("rows of sales.order_a may be missing; go on after {}", &of_today(gap)[..9]);
        assert!(reason.starts_with(&told), "{reason}, not {told}");
        met += 1;
    }
    assert!(met > 0);
}

#[test]
fn trail_dump_prints_what_it_printed_and_verify_finds_every_segment_good() {
    for fixture in fixtures() {
        let data = fixture.copy();
        for (trail, lines) in fixture.members("dumps") {
            let expected = texts(lines);
            let dumped = trail_command(data.path(), &["dump", trail, "--json"]);
            let now: Vec<&str> = dumped.lines().collect();
            assert_eq!(now.len(), expected.len(), "{trail}");
            for (now, expected) in now.iter().zip(expected) {
                let expected = record_of_today(expected);
                let read = |text| serde_json::from_str::<Value>(text).unwrap();
                assert!(holds(&read(now), &read(&expected)), "{now}\nwas\n{expected}");
            }
            trail_command(data.path(), &["verify", trail]);
            let repaired = trail_command(data.path(), &["repair", trail]);
            assert!(repaired.contains("nothing to repair"), "{repaired}");
        }
    }
}

#[test]
fn users_of_every_role_log_in_with_the_passwords_they_had() {
    for fixture in fixtures() {
        let server = fixture.start();
        for user in fixture.expected["users"].as_array().unwrap() {
            let text = |member: &str| user[member].as_str().unwrap();
            let status = |password: &str, target: &str| {
                let credentials = Basic::new(text("name"), password);
                let headers = [("Authorization", credentials.header())];
                http::request(server.port(), "GET", target, &headers, b"").unwrap().status
            };
            assert_eq!(status(text("password"), "/services/v2/stream"), 200, "{user}");
            assert_eq!(status("another-password", "/services/v2/stream"), 401, "{user}");
            let may_see_users = if text("role") == "Administrator" { 200 } else { 403 };
            assert_eq!(status(text("password"), "/services/v2/users"), may_see_users, "{user}");
        }
    }
}

#[test]
fn a_token_made_by_an_earlier_version_is_still_one_that_the_server_made_for_its_user() {
    use trailcast::access::stream_token::StreamToken;
    use trailcast::catalog::{Catalog, Shelf, User, Vault};
    for fixture in fixtures() {
        let data = fixture.copy();
        let token = StreamToken::read(fixture.expected["token"].as_str().unwrap()).unwrap();
        let key = Vault::open_folder(data.path()).unwrap().key_for("stream tokens").unwrap();
        let catalog = Catalog::open(data.path()).unwrap();
        let user: User = catalog.get(Shelf::Users, &token.user).unwrap().unwrap();
        assert!(token.is_of(&key, &user));
        assert!(!token.is_of(&[7; 32], &user));
    }
}

#[test]
fn a_repeated_put_is_answered_with_the_position_it_had_and_a_new_one_is_appended_behind() {
    for fixture in fixtures() {
        let mut server = fixture.start();
        let last = fixture.expected["lastCommit"]["puts"].as_u64().unwrap();
        let last_commit =
            |server: &Server| server.get("/services/v2/trails/puts").expect(200).response()["lastCommit"].clone();
        for round in 0..2 {
            for (xid, put) in fixture.members("repeated") {
                let answer = server.put("puts", &[put["transaction"].clone()]).expect(200).response();
                assert_eq!(answer["pos"], of_today(put["pos"].as_str().unwrap()), "{xid}");
            }
            assert_eq!(last_commit(&server), json!(last + round));
            let new = json!({"xid": format!("new-{round}"), "operations": [
                {"op": "INSERT", "table": "shop.orders", "key": ["id"], "after": {"id": -1, "since": "today"}}]});
            let answer = server.put("puts", &[new]).expect(200).response();
            assert_eq!(last_commit(&server), json!(last + round + 1));
            let earlier = texts(&fixture.expected["records"]["plain"]);
            let saved = serde_json::from_str::<Value>(earlier[earlier.len() - 1]).unwrap();
            let mut behind = subscribe(&server, "plain", saved["pos"].as_str().unwrap());
            for number in 0..=round {
                assert_eq!(behind.expect_record(PATIENCE).json["xid"], format!("new-{number}"));
            }
            assert!(answer["pos"].is_string());
            server.kill();
            server.start_again();
        }
        let data = server.data_dir().to_owned();
        server.terminate();
        trail_command(&data, &["verify", "puts"]);
    }
}

#[test]
fn streams_extracts_and_trails_are_configured_as_they_were() {
    for fixture in fixtures() {
        let server = fixture.start();
        for (kind, path) in [("streams", "stream"), ("extracts", "extracts"), ("trails", "trails")] {
            for (name, known) in fixture.members(kind) {
                let mut now = server.get(&format!("/services/v2/{path}/{name}")).expect(200).response();
                let mut known = known.clone();
                for figure in ["bytes", "segments", "info"] {
                    known.as_object_mut().unwrap().remove(figure);
                    now.as_object_mut().unwrap().remove(figure);
                }
                assert!(holds(&now, &known), "{now}\nwas\n{known}");
            }
        }
    }
}

#[test]
fn a_credential_that_an_earlier_version_sealed_opens_a_source() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql("create table t (id int primary key)");
    for (number, fixture) in fixtures().into_iter().enumerate() {
        let mut server = fixture.start();
        let credential = &fixture.expected["credential"];
        assert_eq!(
            credential["password"],
            postgres.password(),
            "the fixture's password is that of the tests' clusters"
        );
        let mut source = postgres.source();
        source.as_object_mut().unwrap().remove("password");
        source["credentials"] = json!({"domain": credential["domain"], "alias": credential["alias"]});
        extract::capture_from(&server, &postgres, source, "e2", &["public.*"], "fresh");
        postgres.psql(&format!("insert into t values ({number})"));
        server.make_stream("fresh", "fresh");
        let row = server::subscribe(server.port(), "fresh", "", server.credentials()).unwrap().expect_data(PATIENCE);
        assert_eq!(row.json["after"], json!({ "id": number }));
        server.terminate();
        postgres.drop_slot("trailcast_e2");
    }
}
