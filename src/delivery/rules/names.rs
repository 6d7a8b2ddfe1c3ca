//! Names of tables with `*` and `?`, matched without regular expressions: a stream may name thousands.
//!
//! In double quotes a backslash takes the wildcard behind it literally: `"TOTAL\\*"` is the table `TOTAL*` (Oracle GoldenGate,
//! "Asterisks or Question Marks as Literals in Object Names"). The names of a table as a rule may give them: its last parts,
//! its own name with the source's database before it, and, of a name in three parts, its first part with `*` behind it.

use std::collections::HashMap;

use super::pattern::BadPattern;
use crate::catalog::table_pattern::{Glyph, wild_match};
use crate::record::{NamePart, TableName};

/// A table's name with `*` and `?`, in 1 to 3 parts.
#[derive(Debug)]
pub(super) struct NamePattern(Vec<Part>);

#[derive(Debug)]
struct Part {
    /// Folded unless case counts.
    wanted: Wanted,
    exact_case: bool,
}

#[derive(Debug)]
enum Wanted {
    /// This text.
    Plain(Box<str>),
    /// What these say.
    Wild(Box<[Glyph]>),
}

impl Part {
    fn new(text: &str, quoted: bool) -> Self {
        let glyphs = glyphs(text, quoted).into_iter().map(|glyph| match glyph {
            Glyph::Is(character) if !quoted => Glyph::Is(fold(character)),
            other => other,
        });
        let glyphs: Vec<_> = glyphs.collect();
        let plain = glyphs.iter().map(|glyph| if let Glyph::Is(character) = glyph { Some(*character) } else { None });
        let wanted = match plain.collect::<Option<String>>() {
            Some(plain) => Wanted::Plain(plain.into()),
            None => Wanted::Wild(glyphs.into()),
        };
        Self { wanted, exact_case: quoted }
    }

    fn matches(&self, name: &str) -> bool {
        match (&self.wanted, self.exact_case) {
            (Wanted::Plain(text), true) => *name == **text,
            (Wanted::Plain(text), false) => text.chars().eq(name.chars().map(fold)),
            (Wanted::Wild(glyphs), true) => wild_match(glyphs.iter().copied(), name.chars()),
            (Wanted::Wild(glyphs), false) => wild_match(glyphs.iter().copied(), name.chars().map(fold)),
        }
    }

    fn plain(&self) -> Option<&str> {
        if let Wanted::Plain(text) = &self.wanted { Some(text) } else { None }
    }

    fn is_anything(&self) -> bool {
        matches!(&self.wanted, Wanted::Wild(glyphs) if **glyphs == [Glyph::Any])
    }

    fn memory(&self) -> usize {
        let text = match &self.wanted {
            Wanted::Plain(text) => text.len(),
            Wanted::Wild(glyphs) => size_of_val(&**glyphs),
        };
        size_of::<Self>() + text
    }
}

/// What a part asks for, character by character. A backslash that does not stand before one of these three is itself.
fn glyphs(text: &str, quoted: bool) -> Vec<Glyph> {
    let mut characters = text.chars().peekable();
    let mut glyphs = Vec::new();
    while let Some(character) = characters.next() {
        let literal = if quoted && character == '\\' {
            characters.next_if(|next| matches!(next, '*' | '?' | '\\'))
        } else {
            None
        };
        glyphs.push(literal.map_or(Glyph::from(character), Glyph::Is));
    }
    glyphs
}

impl NamePattern {
    pub(super) fn compile(text: &str) -> Result<Self, BadPattern> {
        let parts = TableName::parse(text).map_err(|error| BadPattern(error.to_string()))?;
        let parts = parts.parts().iter().zip(quoted_parts(text));
        Ok(Self(parts.map(|(part, quoted)| Part::new(part, quoted)).collect()))
    }

    /// Whether it matches the table's last parts, or all of them behind the source's database, or is all of its container.
    /// Any other pattern of more parts than the table has does not.
    pub(super) fn matches(&self, table: &TableName, database: Option<&str>) -> bool {
        let parts = table.parts();
        let are = |patterns: &[Part], parts: &[NamePart]| {
            patterns.iter().zip(parts).all(|(pattern, part)| pattern.matches(part))
        };
        match (&*self.0, database, parts.len().checked_sub(self.0.len())) {
            ([first, rest @ ..], Some(database), None) => {
                qualified(table) && rest.len() == parts.len() && first.matches(database) && are(rest, parts)
            }
            (_, _, None) => false,
            (patterns, _, Some(skipped)) => are(patterns, &parts[skipped..]) || self.is_container_of(parts),
        }
    }

    /// `PDB1.*`: everything in the container PDB1. Not where the container has wildcards itself: `A*.*` is about schemas.
    fn is_container_of(&self, parts: &[NamePart]) -> bool {
        match (&*self.0, parts) {
            ([container, all], [first, _, _]) => {
                all.is_anything() && container.plain().is_some() && container.matches(first)
            }
            _ => false,
        }
    }

    /// The name itself, if it is one without wildcards whose parts are quoted all or none; whether they are.
    fn plain(&self) -> Option<(bool, String)> {
        let exact_case = self.0.first()?.exact_case;
        let plain = self.0.iter().map(|part| part.plain().filter(|_| part.exact_case == exact_case));
        Some((exact_case, key(plain.collect::<Option<Vec<_>>>()?.into_iter())))
    }

    fn memory(&self) -> usize {
        self.0.iter().map(Part::memory).sum::<usize>() + size_of::<Self>()
    }
}

/// Whether the table has a schema and no container, so that the source's database is around it.
fn qualified(table: &TableName) -> bool {
    table.parts().len() == 2
}

/// Which parts stand in double quotes; the text was parsed as a table's name before.
fn quoted_parts(text: &str) -> Vec<bool> {
    let mut parts = vec![text.starts_with('"')];
    let mut inside = false;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            // A doubled quote turns it twice, so it stays inside.
            b'"' => inside = !inside,
            b'.' if !inside => parts.push(bytes.get(at + 1) == Some(&b'"')),
            _ => {}
        }
    }
    parts
}

/// Which rules name which tables: plain names are looked up, patterns are tried one after the other.
#[derive(Debug, Default)]
pub(super) struct NameIndex {
    /// Rules by names in which case does not count, and in which it does.
    plain: [HashMap<String, Vec<usize>>; 2],
    patterns: Vec<(usize, NamePattern)>,
    /// Rules that name no table, and so are about any.
    unnamed: Vec<usize>,
    memory: usize,
}

impl NameIndex {
    /// Takes in a rule by its number, after those before it.
    pub(super) fn add(&mut self, rule: usize, names: Vec<NamePattern>) {
        if names.is_empty() {
            self.unnamed.push(rule);
        }
        for name in names {
            self.memory += name.memory();
            match name.plain() {
                Some((exact_case, name)) => {
                    // A place in a table of hashes, a text and a list of one.
                    self.memory += name.len() + 96;
                    let rules = self.plain[usize::from(exact_case)].entry(name).or_default();
                    if rules.last() != Some(&rule) {
                        rules.push(rule);
                    }
                }
                None => self.patterns.push((rule, name)),
            }
        }
    }

    /// The rules that are about a table of that database, in order. A statement that names no table is matched by no name.
    pub(super) fn rules_of(&self, table: Option<&TableName>, database: Option<&str>) -> Vec<usize> {
        let mut found = self.unnamed.clone();
        if let Some(table) = table {
            for (exact_case, known) in self.plain.iter().enumerate().filter(|(_, known)| !known.is_empty()) {
                let around = database.filter(|_| qualified(table));
                let parts = around.into_iter().chain(table.parts().iter().map(|part| &**part));
                let parts: Vec<String> = match exact_case {
                    0 => parts.map(folded).collect(),
                    _ => parts.map(str::to_owned).collect(),
                };
                for first in 0..parts.len() {
                    let rules = known.get(&key(parts[first..].iter().map(String::as_str)));
                    found.extend(rules.into_iter().flatten());
                }
            }
            found.extend(self.patterns.iter().filter(|(_, name)| name.matches(table, database)).map(|(rule, _)| *rule));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Names that are tried one after the other for each new table.
    pub(super) fn patterns(&self) -> usize {
        self.patterns.len()
    }

    /// What it takes, in bytes, about.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }
}

/// Parts of a name as one text: a zero, which no part holds, stands between them.
fn key<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut key = String::new();
    for part in parts {
        key.push_str(part);
        key.push('\0');
    }
    key
}

/// The text with each character folded.
fn folded(text: &str) -> String {
    text.chars().map(fold).collect()
}

/// One for all characters that differ in case alone (simple case folding of Unicode).
fn fold(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    match character {
        // The dotless i has the capital I for its own, which is that of another letter.
        'ı' => return character,
        // Pairs without a single capital between them.
        '\u{1FD3}' => return '\u{390}',
        '\u{1FE3}' => return '\u{3B0}',
        '\u{FB05}' => return '\u{FB06}',
        _ => {}
    }
    let upper = single(character.to_uppercase()).unwrap_or(character);
    single(upper.to_lowercase()).unwrap_or(upper)
}

fn single(mut characters: impl Iterator<Item = char>) -> Option<char> {
    let first = characters.next()?;
    characters.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use regex::Regex;

    use super::*;

    #[test]
    fn characters_fold_as_regular_expressions_without_regard_to_case_have_it() {
        let has_case =
            |character: &char| fold(*character) != *character || character.to_uppercase().next() != Some(*character);
        let cased: Vec<char> = ('\0'..=char::MAX).filter(has_case).chain(['\u{1FD3}', '\u{390}', 'i', 'ı']).collect();
        let mut groups: BTreeMap<char, Vec<char>> = BTreeMap::new();
        for character in cased {
            let group = groups.entry(fold(character)).or_default();
            if !group.contains(&character) {
                group.push(character);
            }
            if !group.contains(&fold(character)) {
                group.push(fold(character));
            }
        }
        assert!(groups.len() > 1_300, "{}", groups.len());
        let all: String = groups.values().flatten().collect();
        let unassigned = Regex::new(r"^\p{Cn}$").unwrap();
        for group in groups.values_mut() {
            // Letters that Unicode got later than the expressions' tables.
            if group.iter().any(|character| unassigned.is_match(&character.to_string())) {
                continue;
            }
            group.sort_unstable();
            for character in group.iter() {
                let pattern = Regex::new(&format!("(?i){}", regex::escape(&character.to_string()))).unwrap();
                let mut same: Vec<char> = pattern.find_iter(&all).flat_map(|found| found.as_str().chars()).collect();
                same.sort_unstable();
                same.dedup();
                assert_eq!(&same, group, "{character:?}");
            }
        }
    }

    #[test]
    fn each_rule_of_a_name_is_found_once_and_in_order_however_the_name_is_given() {
        let mut index = NameIndex::default();
        let names = |names: &[&str]| names.iter().map(|name| NamePattern::compile(name).unwrap()).collect::<Vec<_>>();
        index.add(0, names(&["app.orders", "ORDERS", "app.ord*"]));
        index.add(1, names(&["other.orders"]));
        index.add(2, Vec::new());
        index.add(3, names(&["\"orders\""]));
        index.add(4, names(&["\"app\".Orders"]));
        index.add(5, names(&["db.app.orders"]));
        let table = |name: &str| TableName::parse(name).unwrap();
        assert_eq!(index.rules_of(Some(&table("app.orders")), None), [0, 2, 3, 4]);
        assert_eq!(index.rules_of(Some(&table("App.Orders")), None), [0, 2]);
        assert_eq!(index.rules_of(Some(&table("db.app.orders")), Some("other")), [0, 2, 3, 4, 5]);
        assert_eq!(index.rules_of(Some(&table("app.orders")), Some("DB")), [0, 2, 3, 4, 5]);
        assert_eq!(index.rules_of(Some(&table("app.orders")), Some("other")), [0, 2, 3, 4]);
        assert_eq!(index.rules_of(None, Some("db")), [2]);
        assert_eq!(
            index.patterns.len(),
            2,
            "of the names only one with a wildcard and one that is quoted in part are tried"
        );
    }
}
