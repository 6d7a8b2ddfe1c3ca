//! What is wrong with a configuration: which member, on which line, and what is allowed.

use std::cell::RefCell;
use std::fmt;

use toml::de::{DeTable, DeValue};

/// One thing that is wrong. The text never shows values, which may be passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line of the file, from 1; `None` where the file has none, as for what is missing or comes from a flag.
    pub line: Option<usize>,
    /// The member's path, such as `stream[0].bufferSize`; empty where it is not one member's fault.
    pub member: String,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.member.is_empty() {
            // A name that nobody knows may hold anything.
            write!(f, "{}: ", self.member.chars().take(256).collect::<String>().escape_debug())?;
        }
        f.write_str(&self.message)
    }
}

/// Collects problems while a file is read.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn add(&self, member: &str, message: impl fmt::Display) {
        let problem = Problem { line: None, member: member.to_owned(), message: message.to_string() };
        self.0.borrow_mut().push(problem);
    }

    /// Whether a member below this path is among them.
    pub(super) fn has_below(&self, path: &str) -> bool {
        let behind = |problem: &Problem| problem.member.strip_prefix(path).map(|rest| rest.chars().next());
        self.0.borrow().iter().filter_map(behind).any(|next| matches!(next, None | Some('.' | '[')))
    }

    /// The paths of the members below this path that are among them, from there on.
    pub(super) fn below(&self, path: &str) -> Vec<String> {
        let rest = |problem: &Problem| Some(problem.member.strip_prefix(path)?.strip_prefix('.')?.to_owned());
        self.0.borrow().iter().filter_map(rest).collect()
    }

    pub(super) fn take(&self) -> Vec<Problem> {
        self.0.take()
    }

    /// All of them with their lines, in the order of the file.
    pub(super) fn located(&self, text: &str) -> Vec<Problem> {
        let mut problems = self.take();
        if let Ok(table) = DeTable::parse(text) {
            for problem in &mut problems {
                problem.line = start_of(table.get_ref(), &problem.member).map(|start| line_at(text, start));
            }
        }
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        problems
    }
}

/// The line of a byte, from 1.
pub(super) fn line_at(text: &str, start: usize) -> usize {
    1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count()
}

/// Where a member stands, or the nearest table around it.
fn start_of(table: &DeTable<'_>, path: &str) -> Option<usize> {
    let mut found = None;
    let mut table = table;
    for part in path.split('.') {
        let (name, numbers) = part.split_once('[').map_or((part, None), |(name, rest)| (name, Some(rest)));
        // What is missing is missing in the table around it.
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { return found };
        found = Some(key.span().start);
        let mut value = value.get_ref();
        for number in numbers.into_iter().flat_map(|numbers| numbers.split('[')) {
            let DeValue::Array(values) = value else { return found };
            let Some(element) = number.trim_end_matches(']').parse().ok().and_then(|at: usize| values.get(at)) else {
                return found;
            };
            found = Some(element.span().start);
            value = element.get_ref();
        }
        let DeValue::Table(inner) = value else { return found };
        table = inner;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_line_of_its_member_or_of_the_table_around_it() {
        let text =
            "log = 1\n\n[tls]\nkey = 2\n[[stream]]\nname = 3\n\n[[stream]]\nsource.trail = 4\n[stream.a]\nb = [5,\n 6]";
        let table = DeTable::parse(text).unwrap();
        let line = |path: &str| start_of(table.get_ref(), path).map(|start| line_at(text, start));
        assert_eq!((line("log"), line("tls.key"), line("tls.certificate")), (Some(1), Some(4), Some(3)));
        assert_eq!((line("stream[0].name"), line("stream[1].source.trail")), (Some(6), Some(9)));
        assert_eq!((line("stream[1].a.b[1]"), line("stream[1].name")), (Some(12), Some(8)));
        assert_eq!((line("nothing"), line("")), (None, None));
    }

    #[test]
    fn a_member_below_a_path_is_no_neighbour_with_a_longer_name() {
        let problems = Problems::default();
        problems.add("stream[10].name", "bad");
        assert!(!problems.has_below("stream[1]") && problems.has_below("stream[10]") && problems.has_below("stream"));
    }
}
