//! Goal: whoever is narrowed by grants sees, over every route and in every session, what they cover and nothing else, as long as
//! they do and no longer. Method: a server full of names, records and documents of which each has a mark of its own, callers
//! with roles and grants by chance, every operation of the server's own description; and the same with grants that nobody
//! asks, in which the marks must show.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::{self, Answer, Basic};
use crate::support::openapi::{Document, Operation};
use crate::support::random::Random;
use crate::support::subscriber::{Ended, Next, Refused};
use crate::support::{Server, Subscriber};

const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct-horse-9";
const USERS: &str = "/services/v2/users";
const STREAM: &str = "/services/v2/stream";
const TRAILS: &str = "/services/v2/trails";
const TOKENS: &str = "/services/v2/tokens";

fn as_user(server: &Server, method: &str, target: &str, user: &Basic, body: &Value) -> Answer {
    let headers = [("Authorization", user.header()), ("Content-Type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = if body.is_empty() { &headers[..1] } else { &headers };
    http::request(server.port(), method, target, headers, body.as_bytes()).unwrap()
}

fn add(server: &Server, name: &str, role: &str, grants: &Value) -> Basic {
    let body = json!({"role": role, "password": PASSWORD, "grants": grants});
    server.post(&format!("{USERS}/{name}"), &body).expect(200);
    Basic::new(name, PASSWORD)
}

fn row(id: u64) -> Value {
    json!({"operations": [{"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": id}}]})
}

/// A server with the trails a1 and b1, a row in each, and the streams s1 and s2 over them.
fn server() -> Server {
    let server = Server::start();
    for (trail, stream) in [("a1", "s1"), ("b1", "s2")] {
        server.make_trail(trail);
        server.make_stream(stream, trail);
        server.put(trail, &[row(1)]).expect(200);
    }
    server
}

#[test]
fn grants_are_stored_shown_changed_and_taken_away_and_bad_ones_are_named() {
    let mut server = server();
    let grants = json!([{"trails": ["a*"], "streams": ["*"], "may": ["read"]}]);
    add(&server, "ann", "Operator", &grants);
    let shown = |server: &Server| server.get(&format!("{USERS}/ann")).expect(200).response()["grants"].clone();
    assert_eq!(shown(&server), grants);
    assert!(server.terminate().success());
    server.start_again();
    assert_eq!(shown(&server), grants);
    let listed = server.get(USERS).expect(200).response();
    let of = |name: &str| listed["items"].as_array().unwrap().iter().find(|user| user["name"] == name).unwrap().clone();
    assert_eq!((of("ann")["grants"].clone(), of("admin").get("grants").cloned()), (grants, None));

    let patch = |body: &Value| server.patch(&format!("{USERS}/ann"), body);
    patch(&json!({"role": "User"})).expect(200);
    assert!(shown(&server).is_array(), "what is not in the patch stays");
    patch(&json!({"grants": ["write trails=b1"]})).expect(200);
    assert_eq!(shown(&server), json!([{"trails": ["b1"], "may": ["write"]}]));
    for (grants, says) in [
        (json!([]), "grants: must be a list of 1 to 32 grants"),
        (json!([{"trails": ["a b"], "may": ["read"]}]), "grants[0].trails[0]: must be a pattern of 1 to 64 characters"),
        (json!([{"trails": ["a"], "may": ["see"]}]), "grants[0].may[0]: must be"),
        (json!([{"trails": ["a"], "may": ["read"], "tables": []}]), "grants[0].tables: unknown member"),
    ] {
        let refused = patch(&json!({ "grants": grants })).expect(400).titles();
        assert!(refused.contains(says), "{refused}");
        let new = json!({"role": "User", "password": PASSWORD, "grants": grants});
        assert!(server.post(&format!("{USERS}/eve"), &new).expect(400).titles().contains(says));
        let token = server.post(TOKENS, &json!({"stream": "s1", "grants": grants})).expect(400);
        assert!(token.titles().contains(says), "{token}");
    }
    assert_eq!(shown(&server), json!([{"trails": ["b1"], "may": ["write"]}]));
    patch(&json!({"grants": null})).expect(200);
    assert_eq!(shown(&server), Value::Null);
}

#[test]
fn the_last_administrator_stays_without_grants_and_those_with_grants_change_no_users() {
    let server = server();
    let everything = json!(["read,write,manage trails=* streams=*"]);
    server.patch(&format!("{USERS}/admin"), &json!({"grants": everything})).expect(409);
    let narrow = add(&server, "narrow", "Administrator", &everything);
    server.patch(&format!("{USERS}/admin"), &json!({"role": "User"})).expect(409);
    let ask = |method: &str, target: &str, body: &Value| as_user(&server, method, target, &narrow, body);
    ask("PATCH", &format!("{USERS}/narrow"), &json!({"grants": null})).expect(403);
    ask("POST", &format!("{USERS}/eve"), &json!({"role": "Administrator", "password": PASSWORD})).expect(403);
    ask("DELETE", &format!("{USERS}/admin"), &Value::Null).expect(403);
    ask("GET", USERS, &Value::Null).expect(403);
    ask("GET", "/services/v2/credentials", &Value::Null).expect(403);
    ask("PUT", "/services/v2/credentials/d/a", &json!({"password": "p"})).expect(403);
    ask("PATCH", "/services/v2/retention", &json!({"age": {"status": "running"}})).expect(403);
    // What is of trails and streams is theirs.
    ask("POST", &format!("{TRAILS}/c1"), &json!({})).expect(200);
    ask("POST", &format!("{STREAM}/s3"), &json!({"source": {"trail": "c1"}})).expect(200);
    ask("DELETE", &format!("{STREAM}/s3"), &Value::Null).expect(200);
    ask("DELETE", &format!("{TRAILS}/c1"), &Value::Null).expect(200);
}

#[test]
fn each_verb_allows_its_own_and_the_role_is_needed_all_the_same() {
    let server = server();
    let putter = add(&server, "putter", "Operator", &json!(["write trails=a1"]));
    let reader = add(&server, "reader", "Operator", &json!(["read trails=a1 streams=*"]));
    let manager = add(&server, "manager", "Administrator", &json!(["manage trails=a* streams=*", "read trails=a1"]));
    let helpless = add(&server, "helpless", "User", &json!(["read,write,manage trails=* streams=*"]));
    let ask = |user: &Basic, method: &str, target: &str, body: Value| as_user(&server, method, target, user, &body);
    let put = |user: &Basic, trail: &str| ask(user, "POST", &format!("{TRAILS}/{trail}/transactions"), row(2)).status;
    assert_eq!([&putter, &reader, &manager, &helpless].map(|user| put(user, "a1")), [200, 403, 403, 403]);
    assert_eq!((put(&putter, "b1"), put(&putter, "none")), (403, 403));
    let names = |answer: Answer| -> Vec<String> {
        let items = answer.expect(200).response()["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let seen = |user: &Basic| [TRAILS, STREAM].map(|list| names(ask(user, "GET", list, Value::Null)));
    assert_eq!(seen(&putter), [Vec::<String>::new(), Vec::new()]);
    assert_eq!(seen(&reader), [["a1"], ["s1"]]);
    assert_eq!(seen(&manager), [vec!["a1".to_owned()], Vec::new()]);
    // A stream over a trail that is not granted is not there; a name that is not granted is refused.
    assert_eq!(ask(&reader, "GET", &format!("{STREAM}/s2"), Value::Null).status, 404);
    assert_eq!(ask(&manager, "GET", &format!("{STREAM}/s1"), Value::Null).status, 403);
    ask(&manager, "POST", &format!("{STREAM}/s3"), json!({"source": {"trail": "b1"}})).expect(403);
    ask(&manager, "POST", &format!("{STREAM}/s3"), json!({"source": {"trail": "a1"}})).expect(200);
    ask(&manager, "PATCH", &format!("{STREAM}/s3"), json!({"source": {"trail": "b1"}})).expect(403);
    ask(&manager, "PATCH", &format!("{TRAILS}/a1"), json!({"retention": {"bytes": 1_000_000_000}})).expect(200);
    ask(&manager, "DELETE", &format!("{TRAILS}/b1"), Value::Null).expect(403);
    ask(&manager, "POST", &format!("{TRAILS}/a2"), json!({})).expect(200);
    ask(&reader, "POST", TOKENS, json!({"stream": "s2"})).expect(404);
    ask(&reader, "POST", TOKENS, json!({"stream": "s1"})).expect(200);
    // Of a trail that is being deleted, only those readers are named that may be read.
    let gone = ask(&manager, "DELETE", &format!("{TRAILS}/a1"), Value::Null).expect(200).titles();
    assert!(!gone.contains("s1") && !gone.contains("s3"), "{gone}");
}

#[test]
fn a_stored_credential_goes_to_no_server_that_somebody_with_grants_names() {
    let server = Server::start();
    server.post("/services/v2/credentials/d/alias", &json!({"password": "secret-of-the-source"})).expect(200);
    let ann = add(&server, "ann", "Administrator", &json!(["read,write,manage trails=* streams=*"]));
    let source = |secret: Value| {
        let mut source = json!({"type": "postgresql", "host": "127.0.0.1", "port": 1, "database": "d", "user": "u"});
        source.as_object_mut().unwrap().extend(secret.as_object().unwrap().clone());
        source
    };
    let stored = source(json!({"credentials": {"domain": "d", "alias": "alias"}}));
    let extract =
        |source: &Value| json!({"source": source, "tables": ["public.*"], "trail": "c1", "status": "stopped"});
    let make = |name: &str, source: &Value, user: &Basic| {
        as_user(&server, "POST", &format!("/services/v2/extracts/{name}"), user, &extract(source))
    };
    make("e1", &stored, &ann).expect(403);
    make("e1", &source(json!({"password": "given"})), &ann).expect(200);
    as_user(&server, "PATCH", "/services/v2/extracts/e1", &ann, &json!({"source": stored})).expect(403);
    server.patch("/services/v2/extracts/e1", &json!({"source": stored})).expect(200);
    let moved =
        json!({"source": source(json!({"host": "127.0.0.2", "credentials": {"domain": "d", "alias": "alias"}}))});
    as_user(&server, "PATCH", "/services/v2/extracts/e1", &ann, &moved).expect(403);
    as_user(&server, "PATCH", "/services/v2/extracts/e1", &ann, &json!({"tables": ["public.t"]})).expect(200);
}

#[test]
fn the_figures_of_a_stream_stay_with_the_trail_that_they_are_of() {
    let server = server();
    let mut reader = open(&server, "s1", server.credentials());
    let counted = || server.get(&format!("{STREAM}/s1/info")).expect(200).response().to_string().contains("app.t");
    crate::support::until(|| {
        let _ = reader.next(Duration::from_millis(20));
        if counted() { Ok(()) } else { Err("no record is counted".into()) }
    });
    server.patch(&format!("{STREAM}/s1"), &json!({"source": {"trail": "b1"}})).expect(200);
    assert!(!counted());
}

fn open(server: &Server, stream: &str, user: &Basic) -> Subscriber {
    let mut subscriber =
        Subscriber::connect(server.port(), &format!("{STREAM}/{stream}?begin=earliest"), Some(user)).unwrap();
    subscriber.expect_data(PATIENCE);
    subscriber
}

/// How a session ends, and how long that took.
fn end_of(subscriber: &mut Subscriber) -> (u16, Duration) {
    let started = Instant::now();
    loop {
        match subscriber.next(PATIENCE) {
            Next::Ended(Ended::Closed(code, _)) => return (code, started.elapsed()),
            Next::Record(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn other_grants_end_within_a_second_the_sessions_that_they_no_longer_cover_and_no_others() {
    let server = server();
    for (less, ends) in [
        (json!(["read trails=b* streams=*"]), true),
        (json!(["read trails=* streams=s2"]), true),
        (json!(["write,manage trails=* streams=*"]), true),
        (json!(["read trails=a1", "read streams=s?"]), false),
        (Value::Null, false),
    ] {
        let ann = add(&server, "ann", "Operator", &json!(["read trails=a* streams=s*"]));
        let eve = add(&server, "eve", "Operator", &json!(["read trails=a* streams=s*"]));
        let token = as_user(&server, "POST", TOKENS, &ann, &json!({"stream": "s1"})).expect(200);
        let token = token.response()["token"].as_str().unwrap().to_owned();
        let by_token = format!("{STREAM}/s1?begin=earliest&access_token={token}");
        let mut sessions = [open(&server, "s1", &ann), Subscriber::connect(server.port(), &by_token, None).unwrap()];
        sessions[1].expect_data(PATIENCE);
        let mut others = open(&server, "s1", &eve);
        server.patch(&format!("{USERS}/ann"), &json!({"grants": less})).expect(200);
        for session in &mut sessions {
            if ends {
                let (code, took) = end_of(session);
                assert!(code == 4001 && took < Duration::from_secs(1), "{code} after {took:?}");
            }
        }
        server.put("a1", &[row(3)]).expect(200);
        others.expect_data(PATIENCE);
        if !ends {
            sessions.iter_mut().for_each(|session| drop(session.expect_data(PATIENCE)));
        }
        server.delete(&format!("{USERS}/ann")).expect(200);
        server.delete(&format!("{USERS}/eve")).expect(200);
    }
}

#[test]
fn a_token_has_what_its_user_has_and_its_own_grants_both_allow() {
    let server = server();
    let ann = add(&server, "ann", "Operator", &Value::Null);
    let token = |grants: Value| {
        let made = as_user(&server, "POST", TOKENS, &ann, &json!({"stream": "s1", "grants": grants}));
        made.expect(200).response()["token"].as_str().unwrap().to_owned()
    };
    let read = |token: &str| {
        let bearer = format!("Bearer {token}");
        let header = [("Authorization", bearer.as_str())];
        http::request(server.port(), "GET", &format!("{STREAM}/s1"), &header, b"").unwrap().status
    };
    let (open, narrow, elsewhere, writes) = (
        token(Value::Null),
        token(json!(["read trails=a* streams=s1"])),
        token(json!(["read trails=b* streams=s1"])),
        token(json!(["write trails=* streams=*"])),
    );
    assert_eq!([&open, &narrow, &elsewhere, &writes].map(|token| read(token)), [200, 200, 404, 403]);
    server.patch(&format!("{USERS}/ann"), &json!({"grants": ["read trails=b* streams=*"]})).expect(200);
    assert_eq!([&open, &narrow].map(|token| read(token)), [404, 404]);
    let long: Vec<String> = (0..32).map(|_| format!("read trails={}", "a".repeat(64))).collect();
    let long: Vec<String> = long.iter().map(|line| format!("{line} streams={}", "b".repeat(64))).collect();
    server.patch(&format!("{USERS}/ann"), &json!({"grants": null})).expect(200);
    let refused = as_user(&server, "POST", TOKENS, &ann, &json!({"stream": "s1", "grants": long})).expect(400);
    assert!(refused.titles().contains("at most 4096 bytes"), "{refused}");
}

// --- by chance --------------------------------------------------------------------------------------------------------------

/// A name or text that stands for itself wherever it shows.
type Mark = String;

struct Trail {
    name: Mark,
    /// In its records: a table's name and a value.
    record: Mark,
    /// The extract that writes it, and the host that this captures from.
    extract: Option<(Mark, Mark)>,
}

struct Stream {
    name: Mark,
    trail: usize,
    /// In its configuration, and in the document that was set for it.
    document: Mark,
}

struct World {
    server: Server,
    document: Document,
    trails: Vec<Trail>,
    streams: Vec<Stream>,
    /// Of what is no trail's: a user, credentials' domain and alias.
    user: Mark,
    credentials: [Mark; 2],
}

/// A caller, as the test itself judges him.
struct Caller {
    basic: Basic,
    role: usize,
    grants: Vec<Value>,
}

const ROLES: [&str; 3] = ["User", "Operator", "Administrator"];

fn mark(random: &mut Random, kind: &str) -> Mark {
    let letters: String = (0..7).map(|_| char::from(b'a' + (random.number() % 26) as u8)).collect();
    format!("{kind}{letters}")
}

fn pick<'c, T>(random: &mut Random, choices: &'c [T]) -> &'c T {
    &choices[(random.number() % choices.len() as u64) as usize]
}

/// Whether a name is as a pattern says, by the shortest way to say it.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.first(), name.first()) {
        (None, None) => true,
        (Some(b'*'), _) => fits(&pattern[1..], name) || !name.is_empty() && fits(pattern, &name[1..]),
        (Some(wanted), Some(found)) if *wanted == b'?' || wanted == found => fits(&pattern[1..], &name[1..]),
        _ => false,
    }
}

impl Caller {
    fn may(&self, verb: &str, kind: &str, name: &str) -> bool {
        let lists = |grant: &Value, member: &str, fitting: &dyn Fn(&str) -> bool| {
            grant[member].as_array().is_some_and(|list| list.iter().any(|one| fitting(one.as_str().unwrap())))
        };
        self.grants.iter().any(|grant| {
            lists(grant, "may", &|one| one == verb) && lists(grant, kind, &|one| fits(one.as_bytes(), name.as_bytes()))
        })
    }

    fn trail(&self, verb: &str, trail: &Trail) -> bool {
        self.may(verb, "trails", &trail.name)
    }

    fn stream(&self, verb: &str, stream: &Stream, world: &World) -> bool {
        self.may(verb, "streams", &stream.name) && self.trail("read", &world.trails[stream.trail])
    }
}

impl World {
    fn new(random: &mut Random, environment: &[(&str, &str)]) -> Self {
        let server = Server::start_with(&[], environment);
        let mut trails = Vec::new();
        for number in 0..7 {
            let (name, record) = (mark(random, "t"), mark(random, "r"));
            let extract = (number >= 5).then(|| (mark(random, "x"), mark(random, "h")));
            if let Some((extract, host)) = &extract {
                let source = json!({"type": "postgresql", "host": host, "database": "d", "user": "u", "password": "p"});
                let body = json!({"source": source, "tables": ["p.*"], "trail": name, "status": "stopped"});
                server.post(&format!("/services/v2/extracts/{extract}"), &body).expect(200);
            } else {
                server.make_trail(&name);
                let after = json!({"id": 1, "text": record});
                let operation =
                    json!({"op": "INSERT", "table": format!("app.{record}"), "key": ["id"], "after": after});
                server.put(&name, &[json!({"operations": [operation]})]).expect(200);
            }
            trails.push(Trail { name, record, extract });
        }
        let mut streams = Vec::new();
        for number in 0..9 {
            let (name, trail, document) = (mark(random, "s"), number % trails.len(), mark(random, "d"));
            let config = json!({"source": {"trail": trails[trail].name}, "description": document});
            server.post(&format!("{STREAM}/{name}"), &config).expect(200);
            if number % 2 == 0 {
                let set = json!({"asyncapi": "3.0.0", "info": {"title": document, "version": "1"}, "channels": {}, "operations": {}});
                server.patch(&format!("{STREAM}/{name}/yaml"), &set).expect(200);
            }
            streams.push(Stream { name, trail, document });
        }
        let (user, credentials) = (mark(random, "u"), [mark(random, "c"), mark(random, "k")]);
        server.post(&format!("{USERS}/{user}"), &json!({"role": "User", "password": PASSWORD})).expect(200);
        let secret = format!("/services/v2/credentials/{}/{}", credentials[0], credentials[1]);
        server.request("PUT", &secret, &[("Content-Type", "application/json")], br#"{"password": "p"}"#).expect(200);
        let document = Document::new(server.get("/openapi.json").expect(200).json());
        Self { server, document, trails, streams, user, credentials }
    }

    fn caller(&self, random: &mut Random, number: usize, role: usize) -> Caller {
        let pattern = |random: &mut Random, name: &str| match random.number() % 5 {
            0 => format!("{}*", &name[..2 + (random.number() % 3) as usize]),
            1 => format!("*{}", &name[4..]),
            2 => format!("{}?{}", &name[..3], &name[4..]),
            3 if random.number().is_multiple_of(4) => "*".to_owned(),
            _ => name.to_owned(),
        };
        let grant = |random: &mut Random| {
            let mut grant = json!({});
            for kind in ["trails", "streams"] {
                let patterns: Vec<String> = (0..random.number() % 4)
                    .map(|_| {
                        let name = match kind {
                            "trails" => &pick(random, &self.trails).name,
                            _ => &pick(random, &self.streams).name,
                        };
                        pattern(random, name)
                    })
                    .collect();
                if !patterns.is_empty() {
                    grant[kind] = json!(patterns);
                }
            }
            if grant == json!({}) {
                grant["streams"] = json!(["*"]);
            }
            let verbs: Vec<&str> =
                ["read", "read", "write", "manage"].into_iter().filter(|_| random.number().is_multiple_of(2)).collect();
            let verbs = if verbs.is_empty() { vec!["read"] } else { verbs };
            grant["may"] = if verbs.starts_with(&["read", "read"]) { json!(verbs[1..]) } else { json!(verbs) };
            grant
        };
        let grants: Vec<Value> = (0..1 + random.number() % 3).map(|_| grant(random)).collect();
        let basic = add(&self.server, &format!("caller{number}"), ROLES[role], &json!(grants));
        Caller { basic, role, grants }
    }

    /// The marks in `text` that this caller may not see, told what he named himself.
    fn leaks(&self, caller: &Caller, named: &str, text: &str) -> Vec<String> {
        let mut leaks = Vec::new();
        let mut look = |kind: &str, mark: &str, may: bool| {
            if !may && text.contains(mark) && !named.contains(mark) {
                leaks.push(format!("{kind} {mark}"));
            }
        };
        for trail in &self.trails {
            let reads = caller.trail("read", trail);
            look("record", &trail.record, reads);
            // Whoever manages a trail may ask for it, and for its extract, by their names.
            let extract = trail.extract.as_ref().map(|(extract, _)| extract.as_str());
            let is_named = [Some(trail.name.as_str()), extract].iter().flatten().any(|name| named.contains(name));
            let sees = reads || is_named && caller.trail("manage", trail);
            look("name", &trail.name, sees);
            if let Some((extract, host)) = &trail.extract {
                look("name", extract, sees);
                look("document", host, sees);
            }
        }
        for stream in &self.streams {
            let reads = caller.stream("read", stream, self);
            look("name", &stream.name, reads);
            let changes = named.contains(&stream.name) && caller.stream("manage", stream, self);
            look("document", &stream.document, reads || changes);
        }
        for other in [&self.user, &self.credentials[0], &self.credentials[1]] {
            look("name", other, false);
        }
        leaks
    }

    /// Each way to ask an operation for something that is there, or not: the target and the body.
    fn requests(&self, random: &mut Random, operation: &Operation) -> Vec<(String, Option<Value>)> {
        let parameters = self.document.names_in(&operation.path);
        let of_trails = || self.trails.iter().map(|trail| trail.name.clone());
        let of_extracts = || self.trails.iter().filter_map(|trail| Some(trail.extract.as_ref()?.0.clone()));
        let of_streams = || self.streams.iter().map(|stream| stream.name.clone());
        let path = operation.path.as_str();
        let mut targets = vec![path.to_owned()];
        for parameter in parameters {
            let name = parameter["name"].as_str().unwrap();
            let names: Vec<String> = match name {
                "report" => vec![],
                "domain" => vec![self.credentials[0].clone()],
                "alias" => vec![self.credentials[1].clone()],
                _ if path.contains("/metadata-catalog/") => vec!["dataStream".into()],
                "group" => vec!["g1".into()],
                _ if path.contains("/stream/") => of_streams().chain([mark(random, "s")]).collect(),
                _ if path.contains("/trails/") => of_trails().chain([mark(random, "t")]).collect(),
                _ if path.contains("/extracts/") => of_extracts().chain([mark(random, "x")]).collect(),
                _ if path.contains("/users/") => vec![self.user.clone()],
                _ => panic!("{path}: say which names it takes"),
            };
            let placeholder = format!("{{{name}}}");
            let filled = targets.iter().flat_map(|target| names.iter().map(|name| target.replace(&placeholder, name)));
            targets = if name == "report" {
                let extract = |target: &String| target.split('/').nth(4).unwrap_or_default().to_owned();
                targets.iter().map(|target| target.replace(&placeholder, &format!("{}.rpt", extract(target)))).collect()
            } else {
                filled.collect()
            };
        }
        let trail = pick(random, &self.trails);
        let body = |target: &str| -> Option<Value> {
            operation.described.get("requestBody")?;
            let extract = |trail: &str| {
                let source = json!({"type": "postgresql", "host": "nowhere.invalid", "database": "d", "user": "u", "password": "p"});
                json!({"source": source, "tables": ["p.*"], "trail": trail, "status": "stopped"})
            };
            Some(match operation.id.trim_end_matches("WithSlash") {
                "makeStream" => json!({"source": {"trail": trail.name}}),
                "makeTrail" | "changeTrail" | "changeStream" | "changeExtract" | "changeUser" => json!({}),
                "makeExtract" | "checkNewExtract" => extract(&trail.name),
                "replaceStreamDocument" => {
                    json!({"asyncapi": "3.0.0", "info": {"title": "T", "version": "1"}, "channels": {}, "operations": {}})
                }
                "putTransactions" => {
                    let known = self.trails.iter().find(|trail| target.contains(&trail.name));
                    let table = known.map_or("none", |trail| trail.record.as_str());
                    json!({"operations": [{"op": "INSERT", "table": format!("app.{table}"), "key": ["id"], "after": {"id": 2}}]})
                }
                "changePartitions" => json!({"split": {"partition": 0}}),
                "confirmClock" => json!({"age": {"status": "running"}}),
                "addUser" => json!({"role": "User", "password": PASSWORD}),
                "addCredentials" | "putCredentials" => json!({"password": "p"}),
                "askExtract" => json!({"command": "STATUS"}),
                "resetGroup" => json!({"begin": "earliest"}),
                "loadTables" => json!({"tables": ["p.*"]}),
                "changeLoad" => json!({"status": "paused"}),
                "execute" => {
                    json!({"name": "stop", "processName": of_extracts().nth(usize::from(target.len().is_multiple_of(2))).unwrap()})
                }
                "makeToken" => json!({"stream": of_streams().nth(random_stream(target)).unwrap()}),
                other => panic!("{other}: say what body it takes"),
            })
        };
        targets.into_iter().map(|target| (target.clone(), body(&target))).collect()
    }

    /// Whether this would take away or replace what the others are to find, and so is not asked.
    fn would_spoil(&self, caller: &Caller, operation: &Operation, target: &str) -> bool {
        let spoils = match operation.method.as_str() {
            "DELETE" => true,
            "POST" => operation.id.starts_with("make") && operation.id != "makeToken",
            _ => operation.id == "replaceStreamDocument",
        };
        let is_known = |name: &str| target.ends_with(name) || target.contains(&format!("{name}/"));
        let is_there = self.trails.iter().map(|trail| &trail.name).any(|name| is_known(name))
            || self.streams.iter().any(|stream| is_known(&stream.name));
        let name = target.split('/').nth(4).unwrap_or_default();
        let kind = if target.contains("/stream/") { "streams" } else { "trails" };
        let manages = caller.may("manage", kind, name) || operation.path.contains("/extracts/");
        let asks_in_vain = operation.method == "POST" && is_there;
        spoils && caller.role == 2 && manages && !asks_in_vain
    }

    /// What this caller is shown although he may not see it, over every route.
    fn asks_every_route(&self, random: &mut Random, caller: &Caller) -> Vec<String> {
        let mut found = Vec::new();
        for operation in self.document.operations() {
            for (target, body) in self.requests(random, &operation) {
                if self.would_spoil(caller, &operation, &target) {
                    continue;
                }
                let body = body.unwrap_or_default();
                let answer = as_user(&self.server, &operation.method, &target, &caller.basic, &body);
                let text = format!("{:?}\n{}", answer.headers, answer.text());
                let about = |what: String| format!("{} {target} {body}: {what} in {answer}", operation.method);
                found.extend(self.leaks(caller, &format!("{target} {body}"), &text).into_iter().map(about));
                let is_the_servers = operation.path.contains("/users") || operation.path.contains("/credentials");
                if is_the_servers && answer.status != 403 {
                    found.push(format!("name: {} {target} is answered with {}", operation.method, answer.status));
                }
            }
        }
        found
    }

    /// The same over lists, whose contents are known, and over what stands under names.
    fn sees_all_and_only_its_own(&self, caller: &Caller) -> Vec<String> {
        let mut wrong = Vec::new();
        let ask = |target: &str| as_user(&self.server, "GET", target, &caller.basic, &Value::Null);
        let mut list = |target: &str, wanted: Vec<&str>| {
            let items = ask(target).expect(200).response()["items"].as_array().unwrap().clone();
            let mut names: Vec<&str> = items.iter().map(|item| item["name"].as_str().unwrap()).collect();
            let mut wanted = wanted;
            names.sort_unstable();
            wanted.sort_unstable();
            if names != wanted {
                wrong.push(format!("name: {target} lists {names:?} in place of {wanted:?}"));
            }
        };
        let readable = || self.trails.iter().filter(|trail| caller.trail("read", trail));
        list(TRAILS, readable().map(|trail| trail.name.as_str()).collect());
        list(
            "/services/v2/extracts",
            readable().filter_map(|trail| Some(trail.extract.as_ref()?.0.as_str())).collect(),
        );
        let streams = || self.streams.iter().filter(|stream| caller.stream("read", stream, self));
        list(STREAM, streams().map(|stream| stream.name.as_str()).collect());
        let mut state = |target: String, wanted: u16| {
            let status = ask(&target).status;
            if status != wanted {
                wrong.push(format!("name: {target} is answered with {status} in place of {wanted}"));
            }
        };
        for trail in &self.trails {
            let sees = caller.trail("read", trail) || caller.trail("manage", trail);
            state(format!("{TRAILS}/{}", trail.name), if sees { 200 } else { 403 });
            if let Some((extract, _)) = &trail.extract {
                state(format!("/services/v2/extracts/{extract}/info"), if sees { 200 } else { 404 });
            }
        }
        for stream in &self.streams {
            let by_name = if caller.may("read", "streams", &stream.name) { 404 } else { 403 };
            let wanted = if caller.stream("read", stream, self) { 200 } else { by_name };
            state(format!("{STREAM}/{}/info", stream.name), wanted);
        }
        wrong
    }

    /// The same over sessions.
    fn reads_every_stream(&self, caller: &Caller) -> Vec<String> {
        let mut found = Vec::new();
        for stream in &self.streams {
            let target = format!("{STREAM}/{}?begin=earliest", stream.name);
            let may = caller.role > 0 && caller.stream("read", stream, self);
            match Subscriber::connect(self.server.port(), &target, Some(&caller.basic)) {
                Err(Refused::Answer(answer)) => {
                    assert!(!may && matches!(answer.status, 403 | 404), "{target}: {answer}");
                    found.extend(self.leaks(caller, &target, &answer.text()));
                }
                Err(broken) => panic!("{target}: {broken:?}"),
                Ok(mut session) => {
                    let trail = &self.trails[stream.trail];
                    let has_rows = trail.extract.is_none();
                    let patience = if has_rows { PATIENCE } else { Duration::from_millis(50) };
                    while let Next::Record(record) = session.next(patience) {
                        found.extend(self.leaks(caller, &target, &record.text));
                        if record.is_dml() {
                            break;
                        }
                    }
                    if !may {
                        found.push(format!("record: a session of {target}"));
                    }
                }
            }
        }
        found
    }
}

/// One of the streams, another for each target.
fn random_stream(target: &str) -> usize {
    target.bytes().map(usize::from).sum::<usize>() % 9
}

fn shown_to(roles: &[usize], environment: &[(&str, &str)]) -> Vec<String> {
    let mut random = Random::of_this_run();
    let world = World::new(&mut random, environment);
    let mut found = Vec::new();
    for (number, role) in roles.iter().enumerate() {
        let caller = world.caller(&mut random, number, *role);
        found.extend(world.asks_every_route(&mut random, &caller));
        found.extend(world.sees_all_and_only_its_own(&caller));
        found.extend(world.reads_every_stream(&caller));
    }
    found
}

#[test]
fn no_route_and_no_session_shows_a_record_a_name_or_a_document_outside_the_grants() {
    let found = shown_to(&[1, 2, 0, 2, 1, 2, 1, 2, 0, 2, 1, 2, 1, 2, 2, 1], &[]);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_grants_hold_back_shows_where_nobody_asks_them() {
    let found = shown_to(&[1, 1], &[("TRAILCAST_TEST_NO_GRANTS", "1")]);
    for kind in ["record", "name", "document"] {
        assert!(found.iter().any(|leak| leak.contains(kind)), "no {kind} in {found:#?}");
    }
}
