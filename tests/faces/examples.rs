//! Goal: what the documentation tells people to run does what it says. Method: run the very files against the server.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::extract::capture;
use crate::support::waiting::wait_for_file;
use crate::support::{Folder, Postgres, Program, Server, clients, lookalike};

const PATIENCE: Duration = Duration::from_secs(60);

fn orders(from: u64, to: u64) -> Vec<Value> {
    let row = |id| json!({"op": "INSERT", "table": "app.orders", "key": ["id"], "after": {"id": id, "city": "Köln"}});
    (from..=to).map(|id| json!({"xid": format!("order-{id}"), "operations": [row(id)]})).collect()
}

/// The row's `id` in the JSON at the end of a line that an example printed.
fn printed_id(line: &str) -> u64 {
    let rest: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    lookalike::id_of(&rest).unwrap()
}

fn server_with_stream() -> Server {
    let server = Server::start();
    server.make_trail("events");
    server.make_stream("orders", "events");
    server
}

/// Starts the example twice and restarts the server in between; all rows must be printed, in order, and none again that
/// was printed well before the first run ended.
fn resumes_where_it_was(start: impl Fn(&str, &str) -> Program) {
    let mut server = server_with_stream();
    let folder = Folder::new("position");
    let position = folder.path().join("position.txt");
    let url = format!("{}/services/v2/stream/orders", server.url("ws"));
    server.put("events", &orders(1, 20)).expect(200);

    let mut first = start(&url, position.to_str().unwrap());
    let lines = first.lines_until(PATIENCE, |line| printed_id(line) == 20);
    assert_eq!(lines.iter().map(|line| printed_id(line)).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    assert!(lines[0].contains("INSERT app.orders") && lines[0].contains("Köln"), "{}", lines[0]);

    server.kill();
    server.start_again();
    server.put("events", &orders(21, 30)).expect(200);
    let lines = first.lines_until(PATIENCE, |line| printed_id(line) == 30);
    assert_eq!(lines.iter().map(|line| printed_id(line)).collect::<Vec<_>>(), (21..=30).collect::<Vec<_>>());
    // The position is saved after the line is printed: wait until the file has the last one.
    wait_for_file(&position, &position_of(&server, 30));
    first.signal("INT");
    first.ends_well(PATIENCE);

    server.put("events", &orders(31, 35)).expect(200);
    let second = start(&url, position.to_str().unwrap());
    let lines = second.lines_until(PATIENCE, |line| printed_id(line) == 35);
    assert_eq!(lines.iter().map(|line| printed_id(line)).collect::<Vec<_>>(), (31..=35).collect::<Vec<_>>());
}

/// The position of the row with this id.
fn position_of(server: &Server, id: u64) -> String {
    let mut subscriber = server.subscribe("orders", "begin=earliest").unwrap();
    loop {
        let record = subscriber.expect_data(PATIENCE);
        if record.json["after"]["id"] == id {
            return record.pos().unwrap().to_owned();
        }
    }
}

#[test]
fn the_python_example_resumes_from_its_saved_position() {
    if clients::python().is_none() {
        return;
    }
    resumes_where_it_was(|url, position| {
        let mut python = clients::python().unwrap();
        python.args(["examples/python/subscribe.py", url, position]);
        Program::start(python)
    });
}

#[test]
fn the_javascript_example_resumes_from_its_saved_position() {
    let Some((_, folder)) = clients::node("examples/javascript/subscribe.mjs") else { return };
    resumes_where_it_was(|url, position| {
        let mut node = std::process::Command::new("node");
        node.arg(folder.path().join("subscribe.mjs")).args([url, position]);
        Program::start(node)
    });
}

/// The `id` of the row in a record that a member printed.
fn id_in_record(line: &str) -> u64 {
    let record: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    record["after"]["id"].as_u64().unwrap()
}

/// One member takes what there is and is stopped; the next one goes on behind what it had acknowledged.
fn goes_on_where_the_group_is(start: impl Fn(&str) -> Program) {
    let server = server_with_stream();
    let url = format!("{}/services/v2/stream/orders", server.url("ws"));
    server.put("events", &orders(1, 10)).expect(200);
    let mut first = start(&url);
    let lines = first.lines_until(PATIENCE, |line| id_in_record(line) == 10);
    assert_eq!(lines.iter().map(|line| id_in_record(line)).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    let group = "/services/v2/stream/orders/groups/billing";
    server.get_until(group, |group| group["lagTransactions"] == 0);
    first.signal("INT");
    first.ends_well(PATIENCE);
    server.put("events", &orders(11, 15)).expect(200);
    let second = start(&url);
    let lines = second.lines_until(PATIENCE, |line| id_in_record(line) == 15);
    assert_eq!(lines.iter().map(|line| id_in_record(line)).collect::<Vec<_>>(), (11..=15).collect::<Vec<_>>());
}

#[test]
fn the_python_member_goes_on_where_its_group_is() {
    if clients::python().is_none() {
        return;
    }
    goes_on_where_the_group_is(|url| {
        let mut python = clients::python().unwrap();
        python.args(["examples/python/member.py", url, "billing"]);
        Program::start(python)
    });
}

#[test]
fn the_javascript_member_goes_on_where_its_group_is() {
    let Some((_, folder)) = clients::node("examples/javascript/member.mjs") else { return };
    goes_on_where_the_group_is(|url| {
        let mut node = std::process::Command::new("node");
        node.arg(folder.path().join("member.mjs")).args([url, "billing"]);
        Program::start(node)
    });
}

/// Runs the example on streams whose columns are named like metadata, interrupts it, puts what the columns would skip, and
/// runs it again.
fn takes_no_column_for_the_position(start: impl Fn(&str, &str) -> Program) {
    let server = Server::start();
    lookalike::make(&server);
    lookalike::put(&server, 1, 3);
    let folder = Folder::new("position");
    let start = |shape: &lookalike::Shape| {
        let position = folder.path().join(shape.stream);
        let url = format!("{}/services/v2/stream/{}", server.url("ws"), shape.stream);
        (start(&url, position.to_str().unwrap()), position)
    };
    for shape in lookalike::shapes() {
        let (mut first, position) = start(&shape);
        let lines = first.lines_until(PATIENCE, |line| printed_id(line) == 3);
        assert_eq!(lines.iter().map(|line| printed_id(line)).collect::<Vec<_>>(), [1, 2, 3], "{}", shape.stream);
        assert!(lines[0].contains("INSERT t.rows"), "{}: {}", shape.stream, lines[0]);
        wait_for_file(&position, &lookalike::position_of(&server, &shape, 3));
        first.signal("INT");
        first.ends_well(PATIENCE);
    }
    lookalike::put(&server, 4, 6);
    for shape in lookalike::shapes() {
        let (second, _) = start(&shape);
        let lines = second.lines_until(PATIENCE, |line| printed_id(line) == 6);
        assert_eq!(lines.iter().map(|line| printed_id(line)).collect::<Vec<_>>(), [4, 5, 6], "{}", shape.stream);
    }
}

#[test]
fn the_python_example_takes_no_column_for_the_position() {
    if clients::python().is_none() {
        return;
    }
    takes_no_column_for_the_position(|url, position| {
        let mut python = clients::python().unwrap();
        python.args(["examples/python/subscribe.py", url, position]);
        Program::start(python)
    });
}

#[test]
fn the_javascript_example_takes_no_column_for_the_position() {
    let Some((_, folder)) = clients::node("examples/javascript/subscribe.mjs") else { return };
    takes_no_column_for_the_position(|url, position| {
        let mut node = std::process::Command::new("node");
        node.arg(folder.path().join("subscribe.mjs")).args([url, position]);
        Program::start(node)
    });
}

#[test]
fn the_python_example_of_a_put_is_acknowledged_and_read_back() {
    let Some(mut python) = clients::python() else { return };
    let server = server_with_stream();
    python.args(["examples/python/put.py", &server.url("http"), "events"]);
    let put = Program::start(python);
    let lines = put.lines_until(PATIENCE, |_| true);
    assert!(lines[0].starts_with("1 "), "{lines:?}");
    let mut subscriber = server.subscribe("orders", "begin=earliest").unwrap();
    let tables: Vec<_> = (0..2).map(|_| subscriber.expect_data(PATIENCE).table().unwrap().to_owned()).collect();
    assert_eq!(tables, ["app.orders", "app.order_items"]);
}

/// A stream that is not there, a wrong password, no server: words, and no traceback of the interpreter's.
fn says_why_it_ends(start: impl Fn(&str, &str) -> Program) {
    let server = server_with_stream();
    let folder = Folder::new("position");
    let position = folder.path().join("position.txt");
    let said = |url: &str| {
        let mut example = start(url, position.to_str().unwrap());
        assert!(!example.ends_well(PATIENCE));
        example.last_words()
    };
    let url = server.url("ws");
    let missing = said(&format!("{url}/services/v2/stream/nothing"));
    assert_eq!(missing.trim(), "refused: 404 stream nothing does not exist.");
    let unknown = said(&format!("{}/services/v2/stream/orders", url.replace("admin:", "nobody:")));
    assert!(unknown.starts_with("refused: 401 Not authenticated: "), "{unknown}");
    assert_eq!((unknown.lines().count(), unknown.contains("Traceback")), (1, false), "{unknown}");
    let no_address = said("nonsense");
    assert_eq!((no_address.lines().count(), no_address.contains("Traceback")), (1, false), "{no_address}");
}

#[test]
fn the_python_example_says_why_it_ends() {
    if clients::python().is_none() {
        return;
    }
    says_why_it_ends(|url, position| {
        let mut python = clients::python().unwrap();
        python.args(["examples/python/subscribe.py", url, position]);
        Program::start(python)
    });
}

#[test]
fn the_javascript_example_says_why_it_ends() {
    let Some((_, folder)) = clients::node("examples/javascript/subscribe.mjs") else { return };
    says_why_it_ends(|url, position| {
        let mut node = std::process::Command::new("node");
        node.arg(folder.path().join("subscribe.mjs")).args([url, position]);
        Program::start(node)
    });
}

#[test]
fn the_python_example_of_a_put_says_why_it_ends() {
    if clients::python().is_none() {
        return;
    }
    let server = server_with_stream();
    let said = |url: &str, trail: &str| {
        let mut python = clients::python().unwrap();
        python.args(["examples/python/put.py", url, trail]);
        let mut put = Program::start(python);
        assert!(!put.ends_well(PATIENCE));
        put.last_words()
    };
    assert_eq!(said(&server.url("http"), "nothing").trim(), "refused: 404 trail nothing does not exist.");
    let held = crate::support::port::Port::hold();
    let unreachable = said(&format!("http://a:b@127.0.0.1:{}", held.number()), "events");
    assert!(unreachable.starts_with("no answer: ") && unreachable.lines().count() == 1, "{unreachable}");
}

/// A number of 5,000 digits, one beyond what any type of the language holds, and half a surrogate pair, as PostgreSQL keeps
/// them in `json`: the rows behind them must come too.
fn survives_what_json_may_hold(start: impl Fn(&str, &str) -> Program) -> Option<Vec<String>> {
    let postgres = Postgres::newest()?;
    postgres.psql("create table t (id int primary key, n numeric, j json)");
    let server = Server::start();
    capture(&server, &postgres, "e1", &["public.*"], "a1");
    server.make_stream("s1", "a1");
    let digits = "7".repeat(5_000);
    postgres.psql(&format!(
        "insert into t values (1, {digits}, '{{\"half\": \"\\ud800\"}}'), (2, 1.10, '[1e400, 1e99999999999999999999, -{digits}]'), \
         (3, null, '\"\\ud83d\\ude00\"')"
    ));
    let folder = Folder::new("position");
    let url = format!("{}/services/v2/stream/s1", server.url("ws"));
    let mut example = start(&url, folder.path().join("position.txt").to_str().unwrap());
    let lines = example.lines_until(PATIENCE, |line| line.contains("\"id\": 3") || line.contains("\"id\":3"));
    wait_for_file(&folder.path().join("position.txt"), &position_of_row(&server, 3));
    example.signal("INT");
    example.ends_well(PATIENCE);
    Some(lines)
}

/// The position of the row with this id; others may hold what the tests' own JSON library does not read.
fn position_of_row(server: &Server, id: u64) -> String {
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    loop {
        let record = subscriber.expect_record(PATIENCE);
        if record.json["after"]["id"] == id {
            return record.pos().unwrap().to_owned();
        }
    }
}

#[test]
fn the_python_example_survives_numbers_and_texts_that_python_does_not_take() {
    if clients::python().is_none() {
        return;
    }
    let lines = survives_what_json_may_hold(|url, position| {
        let mut python = clients::python().unwrap();
        python.args(["examples/python/subscribe.py", url, position]).env("PYTHONIOENCODING", "utf-8");
        Program::start(python)
    });
    let Some(lines) = lines else { return };
    assert!(lines[0].contains(&"7".repeat(5_000)) && lines[0].contains(r#""\ud800""#), "{}", lines[0]);
    assert!(lines[1].contains("1.10") && lines[1].contains("1e99999999999999999999"), "{}", lines[1]);
    assert!(lines[2].contains('😀'), "{}", lines[2]);
}

#[test]
fn the_javascript_example_survives_numbers_and_texts_beyond_those_of_javascript() {
    let Some((_, folder)) = clients::node("examples/javascript/subscribe.mjs") else { return };
    let lines = survives_what_json_may_hold(|url, position| {
        let mut node = std::process::Command::new("node");
        node.arg(folder.path().join("subscribe.mjs")).args([url, position]);
        Program::start(node)
    });
    let Some(lines) = lines else { return };
    assert!(lines[0].contains(r#""\ud800""#) && lines[2].contains('😀'), "{lines:?}");
}

#[test]
fn the_program_of_goldengates_documentation_prints_a_tables_history_while_inserts_run() {
    const ROWS: u64 = 400;
    let Some(mut python) = clients::python() else { return };
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql("create table public.orders (id bigint primary key, city text not null)");
    let server = Server::start();
    capture(&server, &postgres, "e1", &["public.*"], "a1");
    let half = ROWS / 2;
    let inserts = |from: u64, to: u64| -> String {
        (from..=to).map(|id| format!("insert into public.orders values ({id}, 'city {id}');\n")).collect()
    };
    postgres.psql(&inserts(1, half));
    python.args([
        "tests/clients/goldengate_example.py",
        crate::support::server::USER,
        crate::support::server::PASSWORD,
    ]);
    python.args([&format!("localhost:{}", server.port()), "a1", "s1"]);
    let program = Program::start(python);
    postgres.psql(&inserts(half + 1, ROWS));
    let mut ids = Vec::new();
    program.lines_until(PATIENCE, |line| {
        let record: Value = serde_json::from_str(line).unwrap();
        if record["op_type"] == "INSERT" && record["qual_table"] == "public.orders" {
            ids.push(record["after"]["id"].as_u64().unwrap());
        }
        ids.last() == Some(&ROWS)
    });
    assert_eq!(ids, (1..=ROWS).collect::<Vec<_>>());
}
