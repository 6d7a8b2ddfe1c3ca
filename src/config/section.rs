//! Reads the members of one table, and notes everything that is wrong instead of stopping at the first.

use super::problem::Problems;

/// A table of the file, where it stands, and where problems go.
#[derive(Debug, Clone)]
pub(super) struct Section<'t> {
    path: String,
    table: &'t toml::Table,
    problems: &'t Problems,
}

impl<'t> Section<'t> {
    /// The file itself.
    pub(super) fn of_file(table: &'t toml::Table, problems: &'t Problems) -> Self {
        Self { path: String::new(), table, problems }
    }

    /// A member's path.
    pub(super) fn path_of(&self, member: &str) -> String {
        if self.path.is_empty() { member.to_owned() } else { format!("{}.{member}", self.path) }
    }

    /// The members.
    pub(super) fn table(&self) -> &'t toml::Table {
        self.table
    }

    /// Whether something in this table is wrong already.
    pub(super) fn has_problems(&self) -> bool {
        self.problems.has_below(&self.path)
    }

    /// The members of this table that are wrong already, by their paths in it.
    pub(super) fn wrong_members(&self) -> Vec<String> {
        self.problems.below(&self.path)
    }

    /// Whether a member, or something in it, is wrong already.
    pub(super) fn is_wrong(&self, member: &str) -> bool {
        self.problems.has_below(&self.path_of(member))
    }

    /// Notes that a member is wrong.
    pub(super) fn problem(&self, member: &str, what: impl std::fmt::Display) {
        self.problems.add(&self.path_of(member), what);
    }

    /// What worked, or a note that it did not.
    pub(super) fn noted<T, E: std::fmt::Display>(&self, member: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problem(member, error)).ok()
    }

    /// A text that is not empty.
    pub(super) fn text(&self, member: &str) -> Option<&'t str> {
        match self.table.get(member)? {
            toml::Value::String(text) if !text.is_empty() => Some(text),
            _ => {
                self.problem(member, "must be a string that is not empty");
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn need(&self, member: &str) -> Option<&'t str> {
        if !self.table.contains_key(member) {
            self.problem(member, "is missing");
        }
        self.text(member)
    }

    /// A text that is read further.
    pub(super) fn parsed<T: std::str::FromStr>(&self, member: &str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        self.noted(member, self.text(member)?.parse())
    }

    /// A list of texts, those that are some; none when it is not there.
    pub(super) fn texts(&self, member: &str) -> Vec<String> {
        self.numbered_texts(member).into_iter().map(|(_, text)| text).collect()
    }

    /// The same, with the number of each in the list.
    pub(super) fn numbered_texts(&self, member: &str) -> Vec<(usize, String)> {
        let texts = match self.table.get(member) {
            None => return Vec::new(),
            Some(toml::Value::Array(texts)) => texts,
            Some(_) => {
                self.problem(member, "must be a list of strings");
                return Vec::new();
            }
        };
        let text = |(at, text): (usize, &toml::Value)| {
            let found = text.as_str().map(|text| (at, text.to_owned()));
            if found.is_none() {
                self.problem(&format!("{member}[{at}]"), "must be a string");
            }
            found
        };
        texts.iter().enumerate().filter_map(text).collect()
    }

    /// True or false.
    pub(super) fn truth(&self, member: &str) -> Option<bool> {
        match self.table.get(member)? {
            toml::Value::Boolean(truth) => Some(*truth),
            _ => {
                self.problem(member, "must be true or false");
                None
            }
        }
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(&self, member: &str, least: u64, most: u64) -> Option<u64> {
        let number = self.table.get(member)?.as_integer().and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.problem(member, format!("must be a whole number from {least} to {most}"));
        }
        number
    }

    /// A table within this one. One that is written as something else has been noted before.
    pub(super) fn inner(&self, member: &str) -> Option<Self> {
        let table = self.table.get(member)?.as_table()?;
        Some(Self { path: self.path_of(member), table, problems: self.problems })
    }

    /// The tables of a list.
    pub(super) fn list(&self, member: &str) -> Vec<Self> {
        let tables = self.table.get(member).and_then(toml::Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let section = |(at, table): (usize, &'t toml::Value)| {
            let path = format!("{}[{at}]", self.path_of(member));
            Some(Self { path, table: table.as_table()?, problems: self.problems })
        };
        tables.iter().enumerate().filter_map(section).collect()
    }
}
