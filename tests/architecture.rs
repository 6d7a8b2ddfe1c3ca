//! Goal: the house stays as the crate's documentation draws it. Method: read `src/` as text and look for what must not be
//! there; each rule is also shown a sample that breaks it, so that no rule passes because it cannot fail.

mod asked;
mod circles;
mod protocols;

use std::path::{Path, PathBuf};

/// Folders and files of the crate, the lowest floor first; those of one line are siblings.
const FLOORS: &[&[&str]] = &[
    &["limits", "process"],
    &["record", "tasks", "log_output", "repeats"],
    // The clock tells its time as a `record::Timestamp`.
    &["clock", "codec"],
    &["trail"],
    &["catalog"],
    &["access"],
    &["capture", "delivery"],
    &["service"],
    &["listen"],
    &["face"],
    &["client", "config"],
    &["cli"],
];
const FILE_LINES_MAX: usize = 600;

/// A source file: its path below `src/`, and its text.
struct Source {
    path: String,
    text: String,
}

/// A line that breaks a rule.
#[derive(Debug, PartialEq)]
struct Breach {
    path: String,
    line: usize,
    what: String,
}

impl Source {
    fn sample(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// The folder or file directly below `src/` that it belongs to.
    fn house_part(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn is(&self, place: &str) -> bool {
        if place.ends_with('/') { self.path.starts_with(place) } else { self.path == place }
    }

    fn is_any(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.is(place))
    }

    /// Numbered lines of the program itself: without comments, without what only tests compile.
    fn code(&self) -> Vec<(usize, String)> {
        let mut code = Vec::new();
        let mut skipped_indent: Option<usize> = None;
        for (number, line) in self.text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            if let Some(start) = skipped_indent {
                let block_ends =
                    indent == start && (line.trim_start().starts_with('}') || line.trim_end().ends_with([';', ',']));
                if block_ends {
                    skipped_indent = None;
                }
                continue;
            }
            if line.trim_start().starts_with("#[cfg(test)]") {
                skipped_indent = Some(indent);
                continue;
            }
            code.push((number + 1, without_comment_and_strings(line)));
        }
        code
    }

    fn breaches(&self, says: impl Fn(&str) -> Option<String>) -> Vec<Breach> {
        let lines = self.code().into_iter();
        lines
            .filter_map(|(line, code)| says(&code).map(|what| Breach { path: self.path.clone(), line, what }))
            .collect()
    }

    fn breaches_of_words(&self, words: &[&str]) -> Vec<Breach> {
        self.breaches(|code| words.iter().find(|word| code.contains(**word)).map(|word| (*word).to_owned()))
    }
}

/// One line without its comment and with its string literals emptied. Literals over several lines are left as they
/// are, which is on the strict side.
fn without_comment_and_strings(line: &str) -> String {
    let mut code = String::new();
    let mut characters = line.chars().peekable();
    let mut in_string = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' if in_string => {
                characters.next();
            }
            '\'' if !in_string && characters.peek() == Some(&'"') => {
                characters.next();
            }
            '"' => {
                in_string = !in_string;
                code.push('"');
            }
            _ if in_string => {}
            '/' if characters.peek() == Some(&'/') => break,
            _ => code.push(character),
        }
    }
    code
}

/// Every file below a folder of the project; a file `tests.rs` is compiled for tests only.
fn files_below(root: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push(Source { path: name, text: std::fs::read_to_string(&path).unwrap() });
            }
        }
    }
    assert!(found.len() > 5, "the source of the crate was not found");
    found
}

fn nothing_breaks(rule: impl Fn(&Source) -> Vec<Breach>) {
    nothing_breaks_below("src", rule);
}

fn nothing_breaks_below(root: &str, rule: impl Fn(&Source) -> Vec<Breach>) {
    let breaches: Vec<Breach> = files_below(root).iter().flat_map(rule).collect();
    let list: Vec<String> = breaches.iter().map(|b| format!("{root}/{}:{}: {}", b.path, b.line, b.what)).collect();
    assert!(list.is_empty(), "\n{}", list.join("\n"));
}

fn breaks(rule: impl Fn(&Source) -> Vec<Breach>, path: &str, text: &str) -> bool {
    !rule(&Source::sample(path, text)).is_empty()
}

// --- floors ---------------------------------------------------------------------------------------------------------

fn floor_of(part: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&part))
}

fn floors(source: &Source) -> Vec<Breach> {
    let part = source.house_part();
    if matches!(part, "main" | "lib") {
        return Vec::new();
    }
    let Some(floor) = floor_of(part) else {
        let what = format!("`{part}` has no floor: add it to the design and to FLOORS");
        return vec![Breach { path: source.path.clone(), line: 1, what }];
    };
    source.breaches(|code| {
        let used = crate_paths(code);
        used.into_iter().find(|used| used != part && !may_use(floor, used)).map(|used| format!("{part} uses {used}"))
    })
}

fn may_use(floor: usize, used: &str) -> bool {
    // A macro, a constant of the crate's root or the like has no floor, and nothing of the kind is wanted there.
    floor_of(used).is_some_and(|other| other < floor)
}

/// What follows each `crate::` of a line, with the members of `crate::{a, b::c}` one by one.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut member = String::new();
            for character in group.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => paths.push(first_word(&std::mem::take(&mut member))),
                    _ if depth == 0 => member.push(character),
                    _ => {}
                }
            }
            paths.push(first_word(&member));
        } else {
            paths.push(first_word(rest));
        }
    }
    paths.retain(|path| !path.is_empty());
    paths
}

fn first_word(text: &str) -> String {
    text.trim().chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

#[test]
fn a_folder_uses_lower_floors_only() {
    nothing_breaks(floors);
}

#[test]
fn the_rule_of_floors_sees_higher_floors_and_siblings() {
    assert!(breaks(floors, "trail/local/writer.rs", "use crate::service::Health;"));
    assert!(breaks(floors, "capture/run.rs", "use crate::{limits, delivery::Session};"));
    assert!(breaks(floors, "delivery/session.rs", "fn f() { crate::capture::run() }"));
    assert!(breaks(floors, "cellar/mod.rs", "//! A folder without a floor."));
    assert!(!breaks(
        floors,
        "capture/run.rs",
        "use crate::{limits, record::{Position, Timestamp}, trail};\nuse crate::capture::x;"
    ));
    assert!(!breaks(
        floors,
        "record/name.rs",
        "// crate::service is above\n#[cfg(test)]\nmod tests {\n    use crate::service::X;\n}"
    ));
}

// --- who may touch what ---------------------------------------------------------------------------------------------

fn files(source: &Source) -> Vec<Breach> {
    let outside = [
        "trail/local/disk.rs",
        // Reads what the kernel says of the process, and writes nothing.
        "process.rs",
        "catalog/",
        "catalog.rs",
        "client/",
        "config/",
        "config.rs",
        "cli/",
        "cli.rs",
        "main.rs",
    ];
    if source.is_any(&outside) {
        return Vec::new();
    }
    let words = ["std::fs", "tokio::fs", "fs::File", "File::open", "File::create", "OpenOptions", "use std::{fs"];
    source.breaches_of_words(&words)
}

#[test]
fn only_the_disk_of_the_trail_and_the_catalog_touch_files() {
    nothing_breaks(files);
}

#[test]
fn the_rule_of_files_sees_them() {
    assert!(breaks(files, "service/streams.rs", "use std::fs::File;"));
    assert!(breaks(files, "trail/local/index.rs", "    let file = tokio::fs::read(path).await?;"));
    assert!(breaks(files, "delivery/session.rs", "    let f = OpenOptions::new();"));
    assert!(!breaks(files, "trail/local/disk.rs", "use std::fs::File;"));
    assert!(!breaks(files, "trail/local/index.rs", "//! Nothing here opens a file: std::fs is disk.rs's."));
}

fn http(source: &Source) -> Vec<Breach> {
    if source.is_any(&["listen/", "listen.rs", "face/", "face.rs"]) {
        return Vec::new();
    }
    let words: &[&str] =
        if source.is("client/") { &["axum"] } else { &["axum::", "axum;", "hyper::", "hyper_util", "hyper;"] };
    source.breaches_of_words(words)
}

#[test]
fn only_listen_and_face_name_the_http_server() {
    nothing_breaks(http);
}

#[test]
fn the_rule_of_http_sees_it() {
    assert!(breaks(http, "service/records.rs", "use axum::Json;"));
    assert!(breaks(http, "delivery/fanout.rs", "use hyper_util::rt::TokioIo;"));
    assert!(breaks(http, "client/connect.rs", "use axum::Router;"));
    assert!(!breaks(http, "client/connect.rs", "use hyper::Request;"));
    assert!(!breaks(http, "face/goldengate/streams.rs", "use axum::Json;"));
}

fn wall_clock(source: &Source) -> Vec<Breach> {
    if source.is("clock.rs") {
        return Vec::new();
    }
    source.breaches_of_words(&["SystemTime::now", "Utc::now", "Local::now", "UNIX_EPOCH.elapsed", "clock_gettime"])
}

#[test]
fn only_the_clock_reads_the_wall_clock() {
    nothing_breaks(wall_clock);
}

#[test]
fn the_rule_of_the_wall_clock_sees_it() {
    assert!(breaks(wall_clock, "trail/local/writer.rs", "let now = SystemTime::now();"));
    assert!(breaks(wall_clock, "cli/demo/mod.rs", "let now = chrono::Utc::now();"));
    assert!(!breaks(wall_clock, "clock.rs", "SystemTime::now()"));
}

fn tasks(source: &Source) -> Vec<Breach> {
    let owners =
        ["service/supervisor.rs", "listen/", "listen.rs", "trail/writer.rs", "client/", "cli/", "cli.rs", "main.rs"];
    if source.is_any(&owners) {
        return Vec::new();
    }
    let spawns = ["tokio::spawn", "task::spawn(", "thread::spawn", "thread::Builder", ".spawn(", "JoinSet"];
    source.breaches_of_words(&spawns)
}

#[test]
fn long_lived_tasks_start_in_the_supervisor_and_the_listener() {
    nothing_breaks(tasks);
}

#[test]
fn the_rule_of_tasks_sees_them() {
    assert!(breaks(tasks, "capture/run.rs", "        tokio::spawn(async move {"));
    assert!(breaks(tasks, "trail/local/reader.rs", "std::thread::spawn(move || {"));
    assert!(breaks(tasks, "delivery/fanout.rs", "let handle = runtime.spawn(work);"));
    assert!(!breaks(tasks, "trail/local/reader.rs", "tokio::task::spawn_blocking(move || read())"));
    assert!(!breaks(tasks, "service/supervisor.rs", "tokio::spawn(task)"));
}

/// Database products are named in their own folders. Beside these: where the product is chosen, its configuration and the members
/// that this has in the file, and the command line that makes load.
fn products(source: &Source) -> Vec<Breach> {
    let at_home = [
        "capture/postgres/",
        "capture/mod.rs",
        "capture/source.rs",
        "capture/extract_status.rs",
        "catalog/extract/",
        "config/members.rs",
        "cli/bench/",
    ];
    if source.is_any(&at_home) {
        return Vec::new();
    }
    let words = ["postgres", "pgoutput", "mysql", "mariadb"];
    let lines: Vec<&str> = source.text.lines().collect();
    let named = |(line, _): (usize, String)| {
        // Texts are read by people too: only comments may name them.
        let code = without_comment(lines[line - 1]).to_lowercase();
        let word = words.iter().find(|word| code.contains(**word))?;
        Some(Breach { path: source.path.clone(), line, what: (*word).to_owned() })
    };
    source.code().into_iter().filter_map(named).collect()
}

/// One line without its comment, with its texts.
fn without_comment(line: &str) -> &str {
    let mut in_string = false;
    let mut before = ' ';
    for (at, character) in line.char_indices() {
        match character {
            '"' if before != '\\' => in_string = !in_string,
            '/' if !in_string && before == '/' => return &line[..at - 1],
            _ => {}
        }
        before = character;
    }
    line
}

#[test]
fn a_database_product_is_named_in_its_folder_only() {
    nothing_breaks(products);
}

#[test]
fn the_rule_of_products_sees_them() {
    assert!(breaks(products, "service/extracts.rs", "use crate::capture::postgres::Lsn;"));
    assert!(breaks(products, "capture/intake.rs", "    let product = \"PostgreSQL\"; // the only one"));
    assert!(breaks(products, "service/collisions.rs", "    before.mysql != after.mysql"));
    assert!(breaks(products, "face/goldengate/extracts.rs", "    write!(text, \"https://mariadb.com\")"));
    assert!(!breaks(
        products,
        "limits.rs",
        "/// Twice what MySQL allows.\npub const NAME_MAX: usize = 7; // PostgreSQL: 63"
    ));
    assert!(!breaks(products, "capture/postgres/lsn.rs", "//! Of PostgreSQL.\nconst NAME: &str = \"PostgreSQL\";"));
    assert!(!breaks(
        products,
        "config/file.rs",
        "#[cfg(test)]\nmod tests {\n    const TYPE: &str = \"postgresql\";\n}"
    ));
}

// --- habits ---------------------------------------------------------------------------------------------------------

fn panics(source: &Source) -> Vec<Breach> {
    source.breaches_of_words(&[".unwrap()", ".expect(", "todo!", "unimplemented!", "panic!("])
}

#[test]
fn the_program_neither_unwraps_nor_postpones() {
    nothing_breaks(panics);
}

#[test]
fn the_rule_of_panics_sees_them() {
    assert!(breaks(panics, "trail/mod.rs", "let a = b.unwrap();"));
    assert!(breaks(panics, "trail/mod.rs", "fn f() { todo!() }"));
    assert!(breaks(
        panics,
        "trail/mod.rs",
        "#[cfg(test)]\nmod tests {\n    x.unwrap();\n}\nfn f() { b.expect(\"x\"); }"
    ));
    assert!(breaks(panics, "trail/mod.rs", "#[cfg(test)]\nuse a::b;\nfn f() { b.unwrap(); }"));
    assert!(!breaks(panics, "trail/mod.rs", "let a = b.unwrap_or(0); // never .unwrap()"));
    assert!(!breaks(panics, "trail/mod.rs", "#[cfg(test)]\nmod tests {\n    fn f() {\n        a.unwrap();\n    }\n}"));
}

fn shape(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut breach = |line, what: &str| breaches.push(Breach { path: source.path.clone(), line, what: what.into() });
    if !source.text.starts_with("//!") {
        breach(1, "does not open with //! on what it owns");
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        breach(lines, "is longer than a file may be");
    }
    let nameless = ["util", "utils", "common", "types", "helper", "helpers", "misc"];
    if source.path.trim_end_matches(".rs").split('/').any(|name| nameless.contains(&name)) {
        breach(1, "has a name that names nothing");
    }
    for (line, code) in source.code() {
        let declared = code.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ").strip_prefix("mod ");
        if declared.is_some_and(|name| nameless.contains(&first_word(name).as_str())) {
            breach(line, "declares a module whose name names nothing");
        }
    }
    breaches
}

#[test]
fn files_say_what_they_own_and_stay_small() {
    nothing_breaks(shape);
}

#[test]
fn the_rule_of_shape_sees_it() {
    assert!(breaks(shape, "record/name.rs", "use std::fmt;"));
    assert!(breaks(shape, "record/name.rs", &format!("//! Long.\n{}", "\n".repeat(FILE_LINES_MAX))));
    assert!(breaks(shape, "record/util.rs", "//! Anything."));
    assert!(breaks(shape, "service/helpers/mod.rs", "//! Anything."));
    assert!(breaks(shape, "record/mod.rs", "//! Values.\npub(crate) mod common;"));
    assert!(!breaks(shape, "record/name.rs", "//! Names."));
}

// --- tests that hold on a busy machine ------------------------------------------------------------------------------

/// A log so far is for the message of a test that fails; a port that is looked up and given back may be anybody's.
fn single_looks(source: &Source) -> Vec<Breach> {
    if source.is("architecture.rs") {
        return Vec::new();
    }
    let words = ["log_text().", "= server.log_text();", "complaints().", "complaints() ", "complaints(),"];
    let in_a_message = |code: &str| code.contains("panic!") || code.contains("assert!(") && code.contains(", \"\", ");
    let looks = |code: &str| words.iter().find(|word| code.contains(**word)).map(|word| (*word).to_owned());
    let port = |code: &str| {
        let given_back = code.contains("TcpListener::bind") && code.contains("local_addr()");
        given_back.then(|| "a port that nobody holds".to_owned())
    };
    source.breaches(|code| looks(code).filter(|_| !in_a_message(code)).or_else(|| port(code)))
}

#[test]
fn tests_wait_for_what_arrives_later() {
    nothing_breaks_below("tests", single_looks);
}

#[test]
fn the_rule_of_single_looks_sees_them() {
    assert!(breaks(single_looks, "faces/a.rs", "    assert!(server.log_text().contains(\"x\"));"));
    assert!(breaks(single_looks, "faces/a.rs", "    let log = server.log_text();"));
    assert!(breaks(single_looks, "faces/a.rs", "    assert_eq!(tail.complaints(), \"\");"));
    let port = "    let port = TcpListener::bind(\"127.0.0.1:0\").unwrap().local_addr().unwrap().port();";
    assert!(breaks(single_looks, "faces/a.rs", port));
    assert!(!breaks(single_looks, "faces/a.rs", "    assert!(done, \"{}\", server.log_text());"));
    assert!(!breaks(single_looks, "faces/a.rs", "    assert!(demo.ends_well(PATIENCE), \"{}\", demo.complaints());"));
}

// --- the first command ----------------------------------------------------------------------------------------------

/// Whether `cargo run` with a manifest like this one starts `trailcast`, whatever other programs stand beside it.
fn runs_trailcast(manifest: &str) -> bool {
    let manifest: toml::Table = manifest.parse().unwrap();
    let package = &manifest["package"];
    package.get("default-run").and_then(toml::Value::as_str) == Some("trailcast")
}

#[test]
fn cargo_run_needs_no_word_on_which_program_to_run() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(
        runs_trailcast(&manifest),
        "README's first command, `cargo run --release -- demo`, would not know what to run"
    );
    assert!(!runs_trailcast(
        "[package]\nname = \"trailcast\"\n[[bin]]\nname = \"trailcast\"\n[[bin]]\nname = \"peers\"\n"
    ));
}
