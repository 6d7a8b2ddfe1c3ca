//! Goal: within one epoch the order of positions as text is the trail's, so that a client that keeps them in a database finds
//! the last one by `max(pos)`, next to those that earlier versions gave out. Method: positions of a real stream and of puts, and made
//! ones with numbers of every size, in tables of a real PostgreSQL and a real MariaDB, whose own collations compare them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use trailcast::codec::token::{self, ContractHash, Token, TokenScope};
use trailcast::record::{Epoch, Position};

use super::earlier_position;
use super::mariadb::MariaDb;
use crate::support::postgres::{Installation, Postgres, installations};
use crate::support::random::Random;
use crate::support::{Folder, Server, skip};

const PATIENCE: Duration = Duration::from_secs(60);

/// A position that a client keeps.
struct Kept {
    /// Its place in its trail, from 0.
    place: usize,
    /// Which trail.
    trail: usize,
    is_last: bool,
    text: String,
    /// As an earlier version wrote it.
    earlier: String,
}

/// The positions of one trail, in its order.
fn kept(trail: usize, tokens: impl IntoIterator<Item = Token>) -> Vec<Kept> {
    let tokens: Vec<Token> = tokens.into_iter().collect();
    let of = |(place, token): (usize, &Token)| Kept {
        place,
        trail,
        is_last: place + 1 == tokens.len(),
        text: token::encode_token(token).as_str().to_owned(),
        earlier: earlier_position::written(token),
    };
    tokens.iter().enumerate().map(of).collect()
}

/// What a client of a server sees: the positions of a stream's records, and, behind the last record of each transaction, not
/// the record's but what was answered to the put.
fn of_a_server() -> Vec<Kept> {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let row = |id: u64| json!({"op": "INSERT", "table": "t.rows", "key": ["id"], "after": {"id": id}});
    let mut answered = Vec::new();
    let mut rows = 0;
    for transaction in 0..40_u64 {
        let next = rows + 1 + transaction * 7 % 41;
        let operations: Vec<Value> = (rows..next).map(row).collect();
        let answer = server.put("a1", &[json!({ "operations": operations })]).expect(200).response();
        answered.push(token::decode(answer["pos"].as_str().unwrap()).unwrap());
        rows = next;
    }
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let record = |_| token::decode(subscriber.expect_data(PATIENCE).pos().unwrap()).unwrap();
    let mut tokens: Vec<Token> = (0..rows).map(record).collect();
    for token in &mut tokens {
        if let Some(answer) = answered.iter().find(|answer| answer.position == token.position) {
            *token = *answer;
        }
    }
    assert_eq!(tokens.iter().filter(|token| token.scope == TokenScope::Trail).count(), answered.len());
    kept(0, tokens)
}

/// Positions of trails with numbers of every size.
fn made(trail: usize) -> Vec<Kept> {
    // The same in each run.
    let mut random = Random::new(trail as u64);
    let mut chance = move || random.number();
    let epoch = Epoch(chance());
    let mut tokens = BTreeMap::new();
    while tokens.len() < 4_000 {
        let commit = (chance() >> (chance() % 64)).max(1);
        let record = (chance() >> 32 >> (chance() % 33)) as u32;
        for record in [record, record.wrapping_add(1)] {
            let scope =
                if chance() % 2 == 0 { TokenScope::Trail } else { TokenScope::Stream(ContractHash(chance() as u32)) };
            let position = Position { epoch, commit, record, xid_hash: chance() as u32 };
            tokens.insert((commit, record), Token { position, scope });
        }
    }
    kept(trail, tokens.into_values())
}

/// A table `kept` with all of them: `pos` for those of today, `earlier` for the same ones as an earlier version wrote them.
/// The rows come in no order.
fn table(kept: &[Kept]) -> String {
    let mut rows: Vec<&Kept> = kept.iter().collect();
    rows.sort_by_key(|kept| crc32c::crc32c(kept.text.as_bytes()));
    let mut sql = "create table kept (trail int, place int, pos varchar(64), earlier varchar(64));\n".to_owned();
    for rows in rows.chunks(1_000) {
        let row = |kept: &&Kept| format!("({},{},'{}','{}')", kept.trail, kept.place, kept.text, kept.earlier);
        let rows: Vec<String> = rows.iter().map(row).collect();
        writeln!(sql, "insert into kept values {};", rows.join(",")).unwrap();
    }
    sql
}

/// What a database answers to a statement: a row a line.
type Answers<'a> = &'a dyn Fn(&str) -> String;

/// How many are not in their place when the database sorts them.
fn out_of_place(sql: Answers<'_>, compared: &str) -> u64 {
    let sorted =
        format!("select place, row_number() over (partition by trail order by {compared}) - 1 as found from kept");
    sql(&format!("select count(*) from ({sorted}) sorted where place <> found")).parse().unwrap()
}

/// The greatest text of each trail.
fn greatest(sql: Answers<'_>, compared: &str, rows: &str) -> Vec<String> {
    let greatest = sql(&format!("select max({compared}) from {rows} group by trail order by trail"));
    greatest.lines().map(str::to_owned).collect()
}

/// Positions of one kind, as text.
fn those(kept: &[Kept], is_it: fn(&Kept) -> bool, text: fn(&Kept) -> &str) -> Vec<&str> {
    kept.iter().filter(|kept| is_it(kept)).map(text).collect()
}

/// A database and what it holds.
struct Database<'a> {
    sql: Answers<'a>,
    kept: &'a [Kept],
}

impl Database<'_> {
    /// Sees to it that positions are in order when `{}` is compared so.
    fn keeps_the_order(&self, collation: &str, compared: &str) {
        let (sql, kept) = (self.sql, self.kept);
        let (today, earlier) = (compared.replace("{}", "pos"), compared.replace("{}", "earlier"));
        let last = |text| those(kept, |one| one.is_last, text);
        let first = those(kept, |one| one.place == 0, |one| &one.text);
        assert_eq!(out_of_place(sql, &today), 0, "{collation}");
        assert_eq!(greatest(sql, &today, "kept"), last(|one| &one.text), "{collation}");
        // The first of today is greater than all that earlier versions gave out.
        let both = "(select trail, earlier as pos from kept union all select trail, pos from kept where place = 0) as both_kinds";
        assert_eq!(greatest(sql, &today, both), first, "{collation}");
        // Control: those of earlier versions are in no order, and both questions show it.
        assert!(out_of_place(sql, &earlier) > 0, "{collation}");
        assert_ne!(greatest(sql, &earlier, "kept"), last(|one| &one.earlier), "{collation}");
    }

    /// Sees to it that they are not, as the page for clients says.
    fn loses_the_order(&self, collation: &str, compared: &str) {
        assert!(out_of_place(self.sql, &compared.replace("{}", "pos")) > 0, "{collation} keeps the order");
    }
}

fn all() -> Vec<Kept> {
    let mut all = of_a_server();
    (1..=3).for_each(|trail| all.extend(made(trail)));
    all
}

/// The locale en_US.UTF-8 in a folder of its own, which `LOCPATH` names; `None`, said loudly, where it cannot be made.
fn american_locale() -> Option<Folder> {
    let folder = Folder::new("locales");
    let made = Command::new("localedef")
        .args(["-i", "en_US", "-f", "UTF-8", "--no-archive"])
        .arg(folder.path().join("en_US.utf8"))
        .output();
    if made.is_ok() && folder.path().join("en_US.utf8/LC_COLLATE").exists() {
        return Some(folder);
    }
    skip("no en_US.utf8: localedef and the package locales are wanted");
    None
}

/// Whether this one was built with ICU.
fn in_postgres(installation: &'static Installation, locales: Option<&Path>, kept: &[Kept]) -> bool {
    let cluster: Postgres = installation.start_with_locales(locales);
    let sql = |text: &str| cluster.psql(text);
    sql(&table(kept));
    let database = Database { sql: &sql, kept };
    database.keeps_the_order("C", "{} collate \"C\"");
    if locales.is_some() {
        sql("create collation american (provider = libc, locale = 'en_US.utf8')");
        database.keeps_the_order("en_US.utf8", "{} collate american");
    }
    if sql("select count(*) from pg_collation where collname = 'en-US-x-icu'") == "0" {
        return false;
    }
    for language in ["und", "en", "en-US", "de", "fr", "es", "it", "pt", "nl", "sv", "pl", "fi", "ja", "zh"] {
        database.keeps_the_order(language, &format!("{{}} collate \"{language}-x-icu\""));
    }
    // These take two letters for one (ch, aa), or compare digits as numbers.
    for language in ["cs", "sk", "da", "nb", "hu", "hr", "cy"] {
        database.loses_the_order(language, &format!("{{}} collate \"{language}-x-icu\""));
    }
    sql("create collation numeric_one (provider = icu, locale = 'und-u-kn-true')");
    database.loses_the_order("a numeric collation", "{} collate numeric_one");
    true
}

#[test]
fn the_greatest_text_is_the_last_position_in_postgresql() {
    if installations().is_empty() {
        return skip("no PostgreSQL is installed");
    }
    let locales = american_locale();
    let kept = all();
    let locales = locales.as_ref().map(Folder::path);
    let with_icu = installations().iter().filter(|installation| in_postgres(installation, locales, &kept)).count();
    if with_icu == 0 {
        skip("no PostgreSQL here was built with ICU");
    }
}

#[test]
fn the_greatest_text_is_the_last_position_in_mariadb() {
    let Some(server) = MariaDb::start() else { return };
    let sql = |text: &str| server.sql(text);
    let kept = all();
    sql(&table(&kept));
    let database = Database { sql: &sql, kept: &kept };
    database.keeps_the_order(&format!("its default, {}", sql("select @@collation_database")), "{}");
    let known = sql("select collation_name from information_schema.collations");
    let known = |name: &str| known.lines().any(|known| known == name || format!("utf8mb4_{known}") == name);
    // The defaults of Debian and of MariaDB 11.5 and later, and others that are in use.
    for collation in
        ["utf8mb4_general_ci", "utf8mb4_uca1400_ai_ci", "utf8mb4_unicode_ci", "utf8mb4_bin", "latin1_swedish_ci"]
    {
        let charset = collation.split('_').next().unwrap();
        if known(collation) {
            database.keeps_the_order(collation, &format!("convert({{}} using {charset}) collate {collation}"));
        } else {
            skip(&format!("this MariaDB has no {collation}"));
        }
    }
    for collation in ["utf8mb4_czech_ci", "utf8mb4_danish_ci"] {
        database.loses_the_order(collation, &format!("convert({{}} using utf8mb4) collate {collation}"));
    }
}
