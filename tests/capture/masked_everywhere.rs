//! Goal: no masked text in any byte of the data folder, of what streams give, of `info` and of the log. Method: tables, masks,
//! identities and operations by chance, with texts that stand nowhere else; what the masks do not hide has to be found, so that the
//! search is seen to find. A seed is told: `TRAILCAST_SEED` repeats it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::extract::{info, until_info};
use crate::support::random::Random;
use crate::support::subscriber::Next;
use crate::support::waiting::PATIENCE;
use crate::support::{Postgres, Server};

/// How the types of columns are made and what a text becomes in them.
const TYPES: [(&str, &str); 5] = [
    ("text", "'{}'"),
    ("varchar(20000)", "'{}'"),
    ("jsonb", "jsonb_build_object('k', '{}')"),
    ("text[]", "array['{}', null]"),
    ("bytea", "convert_to('{}', 'UTF8')"),
];
const MASKS: [&str; 5] = ["drop", "null", "text", "hash", ""];
const TABLES: usize = 4;
const COLUMNS: usize = 5;
const STATEMENTS: usize = 40;

/// A schema with its masks.
struct Plan {
    random: Random,
    ddl: String,
    masks: Vec<Value>,
    /// Of each column, whether it is masked and how a text is put into it.
    columns: BTreeMap<(usize, usize), (bool, &'static str)>,
    texts: usize,
}

impl Plan {
    fn new(mut random: Random) -> Self {
        let (mut ddl, mut masks, mut columns) = (String::new(), Vec::new(), BTreeMap::new());
        let mut pick = |count: usize| (random.number() % count as u64) as usize;
        for table in 0..TABLES {
            let mut list = vec!["id int primary key".to_owned()];
            let mut storage = String::new();
            for column in 0..COLUMNS {
                let (type_name, form) = TYPES[pick(TYPES.len())];
                list.push(format!("c{column} {type_name}"));
                if pick(2) == 0 {
                    storage += &format!("alter table t{table} alter c{column} set storage external;");
                }
                let mask = MASKS[pick(MASKS.len())];
                columns.insert((table, column), (!mask.is_empty(), form));
                if mask.is_empty() {
                    continue;
                }
                let mut entry =
                    json!({"table": format!("public.t{table}"), "column": format!("c{column}"), "mask": mask});
                match mask {
                    "text" => entry["text"] = "***".into(),
                    "hash" => entry["key"] = "a key of more than sixteen bytes".into(),
                    _ => {}
                }
                masks.push(entry);
            }
            let identity = if pick(2) == 0 { "full" } else { "default" };
            ddl += &format!("create table t{table} ({}); {storage}", list.join(", "));
            ddl += &format!("alter table t{table} replica identity {identity};");
        }
        Self { random, ddl, masks, columns, texts: 0 }
    }

    fn pick(&mut self, count: usize) -> usize {
        (self.random.number() % count as u64) as usize
    }

    /// A text that stands nowhere else and says whether it may be shown, in the form of the column, and long now and then. What is
    /// hidden keeps its first characters whatever it is encoded as: see [`needles`].
    fn value(&mut self, table: usize, column: usize) -> String {
        let (masked, form) = self.columns[&(table, column)];
        self.texts += 1;
        let word = if masked { HIDDEN } else { SHOWN };
        let text = format!("{word}{:06}", self.texts);
        let text = if self.pick(3) == 0 { text.repeat(600) } else { text };
        if self.pick(8) == 0 { "null".into() } else { form.replace("{}", &text) }
    }

    fn statement(&mut self) -> String {
        let (table, id) = (self.pick(TABLES), self.pick(6));
        match self.pick(5) {
            0 | 1 => {
                let values: Vec<_> = (0..COLUMNS).map(|column| self.value(table, column)).collect();
                let columns: Vec<_> = (0..COLUMNS).map(|column| format!("c{column} = excluded.c{column}")).collect();
                let (values, columns) = (values.join(", "), columns.join(", "));
                format!("insert into t{table} values ({id}, {values}) on conflict (id) do update set {columns};")
            }
            2 => {
                let column = self.pick(COLUMNS);
                format!("update t{table} set c{column} = {} where id = {id};", self.value(table, column))
            }
            3 => format!(
                "update t{table} set id = id + 10 where id = {id} and not exists (select from t{table} where id = {id} + 10);"
            ),
            _ => format!("delete from t{table} where id = {id};"),
        }
    }
}

const HIDDEN: &str = "hIdDeNtExTs";
const SHOWN: &str = "sHoWnTeXtss";

/// A word as it may stand somewhere: as it is, in base64 at each of the three places it may begin at, in hexadecimal digits.
fn needles(word: &str) -> Vec<Vec<u8>> {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    let mut needles = vec![word.as_bytes().to_vec()];
    for before in 0..3 {
        let encoded = engine.encode([&b"\0\0\0"[..before], word.as_bytes()].concat());
        // Without what the bytes around it have a part in.
        let (start, end) = (if before == 0 { 0 } else { 4 }, encoded.len() / 4 * 4 - 4);
        needles.push(encoded.as_bytes()[start..end].to_vec());
    }
    needles.push(word.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes());
    needles
}

fn holds(bytes: &[u8], word: &str) -> bool {
    needles(word).iter().any(|needle| memchr::memmem::find(bytes, needle).is_some())
}

/// Every file of a folder and of those in it, one after another.
fn contents(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => all.extend(contents(&path)),
            path => all.extend(std::fs::read(path).unwrap_or_default()),
        }
    }
    all
}

fn one_run(cluster: &Postgres, random: Random) {
    let mut plan = Plan::new(random);
    cluster.psql(&plan.ddl);
    let server = Server::start_with(&["--log", "debug"], &[]);
    let body =
        json!({"source": cluster.source(), "tables": ["public.*"], "trail": "a1", "columns": plan.masks.clone()});
    server.post("/services/v2/extracts/e1", &body).expect(200);
    until_info(&server, "e1", |info| info["status"] == "running");
    for _ in 0..STATEMENTS {
        let count = 1 + plan.pick(4);
        let statements: String = (0..count).map(|_| plan.statement()).collect();
        let end = if plan.pick(6) == 0 { "rollback" } else { "commit" };
        cluster.psql(&format!("begin; {statements} {end};"));
    }
    // The last row is one to wait for.
    let (_, form) = plan.columns[&(0, 0)];
    let masked = plan.columns[&(0, 0)].0;
    let last = form.replace("{}", if masked { HIDDEN } else { SHOWN });
    cluster.psql(&format!("insert into t0 (id, c0) values (1000, {last})"));
    server.make_stream("s1", "a1");
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let mut streamed = Vec::new();
    loop {
        match subscriber.next(PATIENCE) {
            Next::Record(record) => {
                streamed.extend_from_slice(record.json.to_string().as_bytes());
                if record.json["after"]["id"] == 1000 {
                    break;
                }
            }
            other => panic!("{other:?}: {}", info(&server, "e1")),
        }
    }
    let shown = info(&server, "e1").to_string();
    let described = server.get("/services/v2/extracts/e1").expect(200).text();
    let log = server.log_text();
    let folder = contents(server.data_dir());
    for (what, bytes) in [
        ("the data folder", &folder[..]),
        ("the stream", &streamed),
        ("info", shown.as_bytes()),
        ("the extract", described.as_bytes()),
        ("the log", log.as_bytes()),
    ] {
        assert!(!holds(bytes, HIDDEN), "{what} holds what is masked");
    }
    let hides_all = plan.columns.values().all(|(masked, _)| *masked);
    assert!(hides_all || holds(&folder, SHOWN) && holds(&streamed, SHOWN), "nothing was captured");
}

#[test]
fn no_masked_text_is_anywhere() {
    Postgres::on_each_major(|cluster| {
        let mut random = Random::of_this_run();
        for _ in 0..3 {
            let seed = random.number();
            println!("TRAILCAST_SEED={seed}");
            one_run(&cluster, Random::new(seed));
            cluster.psql("drop table t0, t1, t2, t3");
            cluster.drop_slot("trailcast_e1");
            cluster.psql("drop publication trailcast_e1");
        }
    });
}

#[test]
fn the_search_finds_a_word_however_it_is_encoded() {
    use base64::Engine;
    for before in ["", "a", "ab", "abc"] {
        let text = format!("{before}{HIDDEN}1");
        let encoded = base64::engine::general_purpose::STANDARD.encode(&text);
        assert!(holds(text.as_bytes(), HIDDEN) && holds(encoded.as_bytes(), HIDDEN), "{before}");
    }
    assert!(!holds(b"nothing of it", HIDDEN));
}
