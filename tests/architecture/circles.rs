//! No circle of files inside a folder: a file that uses another of its folder is not, through others, used by it. Whoever reads
//! such files has to read all of them to understand one.
//!
//! A file and the folder of the same name are one. The folder's own file (`mod.rs`) puts the others together, so it is in no
//! circle; a name that it passes on (`pub use`) belongs to the file that it comes from.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, files_below};

/// Today's circles, a folder and the files of one of its circles each. The list may only shrink.
const CIRCLES: &[&str] = &[
    "cli/bench: positions tally",
    "cli: failure logging output",
    "cli: furnish server",
    "codec/asyncapi: payload single",
];

/// A path as it stands in the code, or where it leads from the crate's root.
type Path = Vec<String>;

/// One file, read for what it uses.
struct Module {
    /// Where it is from the crate's root.
    place: Path,
    /// Every path in it, but for what it passes on.
    uses: Vec<Path>,
    /// Names that it brings in, and what they stand for.
    imports: BTreeMap<String, Path>,
}

// --- reading a file -----------------------------------------------------------------------------------------------------

fn place_of(path: &str) -> Path {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

fn tokens_of(source: &Source) -> Vec<String> {
    let mut tokens = Vec::new();
    for (_, line) in source.code() {
        let mut rest = line.as_str();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len());
            let length = match word {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                word => word,
            };
            let token = &rest[..length];
            if !token.trim().is_empty() {
                tokens.push(token.to_owned());
            }
            rest = &rest[length..];
        }
    }
    tokens
}

fn is_word(token: Option<&String>) -> bool {
    token.is_some_and(|token| token.starts_with(|char: char| char.is_alphabetic() || char == '_'))
}

/// Reads the path, or the group of paths, at the start of the tokens, as names and what they stand for; how many tokens that
/// were.
fn read_paths(tokens: &[String], before: &Path, found: &mut Vec<(String, Path)>) -> usize {
    let (mut path, mut at) = (before.clone(), 0);
    while is_word(tokens.get(at)) {
        path.push(tokens[at].clone());
        at += 1;
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        match tokens.get(at + 1).map(String::as_str) {
            Some("{") => {
                at += 2;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at += read_paths(&tokens[at..], &path, found).max(1);
                }
                return at + 1;
            }
            _ if is_word(tokens.get(at + 1)) => at += 1,
            _ => break,
        }
    }
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if tokens.get(at).is_some_and(|token| token == "as") {
        name = tokens.get(at + 1).cloned().unwrap_or_default();
        at += 2;
    }
    if at > 0 {
        found.push((name, path));
    }
    at
}

impl Module {
    fn read(source: &Source) -> Self {
        let tokens = tokens_of(source);
        let (mut passed_on, mut imports, mut uses) = (Vec::new(), Vec::new(), Vec::new());
        let mut at = 0;
        while at < tokens.len() {
            let follows_a_word = at > 0 && tokens[at - 1] == "::";
            if tokens[at] == "use" {
                let is_passed_on = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
                let into = if is_passed_on { &mut passed_on } else { &mut imports };
                at += 1 + read_paths(&tokens[at + 1..], &Path::new(), into);
            } else if is_word(Some(&tokens[at])) && !follows_a_word {
                at += read_paths(&tokens[at..], &Path::new(), &mut uses).max(1);
            } else {
                at += 1;
            }
        }
        uses.extend(imports.iter().cloned());
        imports.extend(passed_on);
        Self {
            place: place_of(&source.path),
            uses: uses.into_iter().map(|(_, path)| path).collect(),
            imports: imports.into_iter().collect(),
        }
    }
}

// --- what uses what -----------------------------------------------------------------------------------------------------

/// The modules of the crate by their places.
struct Modules(BTreeMap<Path, Module>);

impl Modules {
    fn read(sources: &[Source]) -> Self {
        let modules = sources.iter().filter(|source| !matches!(source.path.as_str(), "main.rs" | "lib.rs"));
        Self(modules.map(Module::read).map(|module| (module.place.clone(), module)).collect())
    }

    /// Whether there is a file or a folder of that place.
    fn is_there(&self, place: &[String]) -> bool {
        self.0.keys().any(|known| known.starts_with(place))
    }

    /// The path from the crate's root, if it leads into the crate.
    fn absolute(&self, from: &Module, path: &Path) -> Option<Path> {
        let mut whole = from.place.clone();
        let mut rest = path.as_slice();
        match path[0].as_str() {
            "crate" => {
                whole.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    whole.pop();
                    rest = &rest[1..];
                }
            }
            child => {
                whole.push(child.to_owned());
                if !self.is_there(&whole) {
                    return None;
                }
                rest = &rest[1..];
            }
        }
        whole.extend_from_slice(rest);
        Some(whole)
    }

    /// The same path without names that are only passed on.
    fn resolved(&self, path: Path) -> Path {
        let mut path = path;
        // More often than any name is passed on.
        for _ in 0..8 {
            let passed_on = (1..path.len()).find_map(|at| {
                let (place, rest) = path.split_at(at);
                let target = self.0.get(place)?.imports.get(&rest[0])?;
                (!self.is_there(&path[..=at])).then_some(())?;
                let mut target = self.absolute(&self.0[place], target)?;
                target.extend_from_slice(&rest[1..]);
                Some(target)
            });
            match passed_on {
                Some(target) => path = target,
                None => break,
            }
        }
        path
    }

    /// Of each folder, which of its files uses which.
    fn uses_by_folder(&self) -> BTreeMap<String, BTreeSet<(String, String)>> {
        let mut found: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
        for module in self.0.values() {
            for path in module.uses.iter().filter_map(|path| self.absolute(module, path)) {
                let used = self.resolved(path);
                let common = module.place.iter().zip(&used).take_while(|(own, other)| own == other).count();
                if common == 0 {
                    continue;
                }
                let (Some(own), Some(other)) = (module.place.get(common), used.get(common)) else { continue };
                if own != other && self.is_there(&used[..=common]) {
                    found.entry(used[..common].join("/")).or_default().insert((own.clone(), other.clone()));
                }
            }
        }
        found
    }
}

/// Each folder with the files of one of its circles, as [`CIRCLES`] lists them.
fn circles(sources: &[Source]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (folder, uses) in Modules::read(sources).uses_by_folder() {
        let reached_from = |start: &str| {
            let (mut reached, mut next) = (BTreeSet::new(), vec![start.to_owned()]);
            while let Some(file) = next.pop() {
                for (_, used) in uses.iter().filter(|(user, _)| *user == file) {
                    if reached.insert(used.clone()) {
                        next.push(used.clone());
                    }
                }
            }
            reached
        };
        let files: BTreeSet<&String> = uses.iter().map(|(user, _)| user).collect();
        let reached: BTreeMap<&String, BTreeSet<String>> =
            files.iter().map(|file| (*file, reached_from(file))).collect();
        for (file, others) in &reached {
            if others.contains(*file) {
                let circle = others.iter().filter(|other| reached.get(other).is_some_and(|back| back.contains(*file)));
                let names: Vec<&str> = circle.map(String::as_str).collect();
                found.insert(format!("{folder}: {}", names.join(" ")));
            }
        }
    }
    found
}

#[test]
fn files_of_a_folder_do_not_use_each_other_in_circles() {
    let found = circles(&files_below("src"));
    let listed: BTreeSet<String> = CIRCLES.iter().map(|circle| (*circle).to_owned()).collect();
    let new: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "circles that CIRCLES does not list: {new:#?}\ncircles that it lists and that are no more: {gone:#?}"
    );
}

#[test]
fn the_rule_of_circles_sees_them() {
    let found = |files: &[(&str, &str)]| -> Vec<String> {
        let sources: Vec<Source> = files.iter().map(|(path, text)| Source::sample(path, text)).collect();
        circles(&sources).into_iter().collect()
    };
    // One after the other, in each way that a file can be named.
    let chain = [
        ("trail/mod.rs", "mod a;\nmod b;\nmod c;\npub use c::{Deep, Other as Renamed};"),
        ("trail/a.rs", "use super::b::B;"),
        ("trail/b.rs", "fn f(c: crate::trail::c::C) {}"),
        ("trail/c.rs", "pub struct Deep; // use super::a;\n#[cfg(test)]\nmod tests {\n    use super::super::a::A;\n}"),
    ];
    assert_eq!(found(&chain), Vec::<String>::new());
    for back in [
        "use super::a::A;",
        "use crate::{limits, trail::{a::{self, A}, other}};",
        "fn f() { crate::trail::a::run(); }",
        "fn f(a: super::a::A) {}",
    ] {
        let mut circle = chain;
        circle[3] = ("trail/c.rs", back);
        assert_eq!(found(&circle), ["trail: a b c"], "{back}");
    }
    // By a name that the folder's own file passes on.
    for user in ["use super::Deep;", "use crate::trail::Renamed as Mine;", "fn f(deep: super::Deep) {}"] {
        let mut circle = chain;
        circle[1] = ("trail/a.rs", user);
        circle[3] = ("trail/c/mod.rs", "use super::a::A;");
        assert_eq!(found(&circle), ["trail: a c"], "{user}");
    }
    // The folder's own file may use what uses it.
    let own = [("trail/mod.rs", "mod a;\npub struct Own(a::A);"), ("trail/a.rs", "use super::Own;")];
    assert_eq!(found(&own), Vec::<String>::new());
    // A file and its folder are one, and circles inside that folder are that folder's.
    let nested = [
        ("trail/a.rs", "mod x;\nmod y;\nuse x::X;"),
        ("trail/a/x.rs", "use super::y::Y;"),
        ("trail/a/y.rs", "use super::x::X;"),
    ];
    assert_eq!(found(&nested), ["trail/a: x y"]);
}
