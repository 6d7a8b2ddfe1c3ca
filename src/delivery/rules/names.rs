//! Names of tables and partitions with `*` and `?`, matched without regular expressions: a stream may name thousands.

use std::collections::HashMap;

use super::pattern::BadPattern;
use crate::catalog::table_pattern::wild_match;
use crate::record::TableName;

/// A table's name with `*` and `?`, in 1 to 3 parts.
#[derive(Debug)]
pub(super) struct NamePattern(Vec<Part>);

#[derive(Debug)]
struct Part {
    /// Folded unless case counts.
    text: Box<str>,
    exact_case: bool,
    wild: bool,
}

impl Part {
    fn new(text: &str, exact_case: bool) -> Self {
        let wild = text.contains(['*', '?']);
        Self { text: if exact_case { text.into() } else { folded(text).into() }, exact_case, wild }
    }

    fn matches(&self, name: &str) -> bool {
        let wanted = self.text.chars();
        match (self.exact_case, self.wild) {
            (true, false) => *name == *self.text,
            (true, true) => wild_match(wanted, name.chars()),
            (false, false) => wanted.eq(name.chars().map(fold)),
            (false, true) => wild_match(wanted, name.chars().map(fold)),
        }
    }
}

impl NamePattern {
    pub(super) fn compile(text: &str) -> Result<Self, BadPattern> {
        let parts = TableName::parse(text).map_err(|error| BadPattern(error.to_string()))?;
        let parts = parts.parts().iter().zip(quoted_parts(text));
        Ok(Self(parts.map(|(part, quoted)| Part::new(part, quoted)).collect()))
    }

    /// Whether it matches the table's last parts. A pattern of more parts than the table has does not.
    pub(super) fn matches(&self, table: &TableName) -> bool {
        let parts = table.parts();
        let Some(skipped) = parts.len().checked_sub(self.0.len()) else { return false };
        self.0.iter().zip(&parts[skipped..]).all(|(pattern, part)| pattern.matches(part))
    }

    /// The name itself, if it is one without wildcards whose parts are quoted all or none; whether they are.
    fn plain(&self) -> Option<(bool, String)> {
        let exact_case = self.0.first()?.exact_case;
        let plain = self.0.iter().all(|part| !part.wild && part.exact_case == exact_case);
        plain.then(|| (exact_case, key(self.0.iter().map(|part| &*part.text))))
    }

    fn memory(&self) -> usize {
        self.0.iter().map(|part| size_of::<Part>() + part.text.len()).sum::<usize>() + size_of::<Self>()
    }
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

/// A partition's name with `*` and `?`, without regard to case.
#[derive(Debug)]
pub(super) struct PartitionPattern(Part);

impl PartitionPattern {
    pub(super) fn new(text: &str) -> Self {
        Self(Part::new(text, false))
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }
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

    /// The rules that are about a table, in order. A statement that names no table is matched by no name.
    pub(super) fn rules_of(&self, table: Option<&TableName>) -> Vec<usize> {
        let mut found = self.unnamed.clone();
        if let Some(table) = table {
            for (exact_case, known) in self.plain.iter().enumerate().filter(|(_, known)| !known.is_empty()) {
                let parts: Vec<String> = match exact_case {
                    0 => table.parts().iter().map(|part| folded(part)).collect(),
                    _ => table.parts().iter().map(|part| part.to_string()).collect(),
                };
                for first in 0..parts.len() {
                    let rules = known.get(&key(parts[first..].iter().map(String::as_str)));
                    found.extend(rules.into_iter().flatten());
                }
            }
            found.extend(self.patterns.iter().filter(|(_, name)| name.matches(table)).map(|(rule, _)| *rule));
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
        assert_eq!(index.rules_of(Some(&table("app.orders"))), [0, 2, 3, 4]);
        assert_eq!(index.rules_of(Some(&table("App.Orders"))), [0, 2]);
        assert_eq!(index.rules_of(Some(&table("db.app.orders"))), [0, 2, 3, 4, 5]);
        assert_eq!(index.rules_of(None), [2]);
        assert_eq!(
            index.patterns.len(),
            2,
            "of the names only one with a wildcard and one that is quoted in part are tried"
        );
    }
}
