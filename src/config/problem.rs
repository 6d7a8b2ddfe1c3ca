//! What is wrong with a configuration: which member, on which line, what is allowed, and what stands there.
//!
//! Owns where a member stands and whether its value may be shown: a password never is, nor what might be one.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// One thing that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problem {
    /// The line of the file, from 1; `None` where the file has none, as for what is missing or comes from a flag.
    pub line: Option<usize>,
    /// The member's path, such as `stream[0].bufferSize`; empty where it is not one member's fault.
    pub member: String,
    /// What is wrong, and what is allowed.
    pub message: String,
    /// What stands there, as it is written, where that is one value and no secret.
    pub value: Option<String>,
    /// A server starts all the same.
    pub is_warning: bool,
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
        if self.is_warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)?;
        match &self.value {
            Some(value) if !self.says_value(value) => write!(f, "; it is {value}"),
            _ => Ok(()),
        }
    }
}

impl Problem {
    /// Of one member of the file, its line and value still to be found.
    pub fn of(member: &str, message: impl fmt::Display) -> Self {
        Self { member: member.to_owned(), message: message.to_string(), ..Self::default() }
    }

    /// Whether the message holds a text, such as a path, already.
    fn says_value(&self, value: &str) -> bool {
        let bare = value.trim_matches(['"', '\'']);
        bare.len() > 2 && bare.len() < value.len() && self.message.contains(bare)
    }
}

/// Collects problems while a file is read.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn add(&self, member: &str, message: impl fmt::Display) {
        self.0.borrow_mut().push(Problem::of(member, message));
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
        located(text, self.take())
    }
}

/// Problems with the lines and values of their members, in the order of the file; those of no member of it come last.
pub fn located(text: &str, mut problems: Vec<Problem>) -> Vec<Problem> {
    if let Ok(table) = DeTable::parse(text) {
        for problem in problems.iter_mut().filter(|problem| problem.line.is_none()) {
            let (start, value) = find(table.get_ref(), &problem.member);
            problem.line = start.map(|start| line_at(text, start));
            let is_shown = !problem.message.starts_with("unknown member") && !is_secret(&problem.member);
            problem.value = value.filter(|_| is_shown).and_then(|span| shown(text.get(span)?));
        }
    }
    problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    problems
}

/// Whether what stands in a member may be a password, or a password in the wrong place.
fn is_secret(member: &str) -> bool {
    let last = member.rsplit('.').next().unwrap_or_default();
    last.to_ascii_lowercase().contains("password") || (last == "key" && member.contains("columns["))
}

/// A value as it is written, on one line and not too long; nothing of what may hold a password within.
fn shown(value: &str) -> Option<String> {
    let is_address_with_password = value.contains("://") && value.contains('@');
    let is_one_line = !value.contains(char::is_control);
    if is_address_with_password || !is_one_line {
        return None;
    }
    let mut characters = value.chars();
    let start: String = characters.by_ref().take(SHOWN_CHARS_MAX).collect();
    Some(if characters.next().is_some() { format!("{start}…") } else { start })
}

/// Characters of a value that are shown.
const SHOWN_CHARS_MAX: usize = 80;

/// The line of a byte, from 1.
pub(super) fn line_at(text: &str, start: usize) -> usize {
    1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count()
}

/// Where a member stands, or the nearest table around it; and where its value does, if it is there and one value.
fn find(table: &DeTable<'_>, path: &str) -> (Option<usize>, Option<Range<usize>>) {
    let mut found = None;
    let mut table = table;
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        let (name, numbers) = part.split_once('[').map_or((part, None), |(name, rest)| (name, Some(rest)));
        // What is missing is missing in the table around it.
        let Some((key, spanned)) = table.iter().find(|(key, _)| key.get_ref() == name) else { return (found, None) };
        found = Some(key.span().start);
        let mut spanned = spanned;
        for number in numbers.into_iter().flat_map(|numbers| numbers.split('[')) {
            let DeValue::Array(values) = spanned.get_ref() else { return (found, None) };
            let Some(element) = number.trim_end_matches(']').parse().ok().and_then(|at: usize| values.get(at)) else {
                return (found, None);
            };
            found = Some(element.span().start);
            spanned = element;
        }
        match spanned.get_ref() {
            DeValue::Table(inner) => table = inner,
            DeValue::Array(_) => return (found, None),
            _ => return (found, parts.peek().is_none().then(|| spanned.span())),
        }
    }
    (found, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_the_line_of_its_member_or_of_the_table_around_it() {
        let text =
            "log = 1\n\n[tls]\nkey = 2\n[[stream]]\nname = 3\n\n[[stream]]\nsource.trail = 4\n[stream.a]\nb = [5,\n 6]";
        let table = DeTable::parse(text).unwrap();
        let line = |path: &str| find(table.get_ref(), path).0.map(|start| line_at(text, start));
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

    #[test]
    fn a_value_is_shown_as_it_is_written_and_a_secret_is_not() {
        let text = "log = 'x'\nlisten = 9002\npublicUrl = \"https://u:hunter2@h\"\nallowedOrigins = [\"a\", \"b\"]\n\
                    audit = { file = true }\n[[user]]\npasswordEnv = \"hunter2\"\ndigset = \"hunter2\"\n[[extract]]\ncolumns = [{ key = \"hunter2\" }]\n";
        let value = |member: &str, message: &str| located(text, vec![Problem::of(member, message)]).remove(0).value;
        assert_eq!(value("log", "bad").as_deref(), Some("'x'"));
        assert_eq!(value("listen", "bad").as_deref(), Some("9002"));
        assert_eq!(value("allowedOrigins[1]", "bad").as_deref(), Some("\"b\""));
        assert_eq!(value("audit.file", "bad").as_deref(), Some("true"));
        for (member, message) in [
            ("publicUrl", "bad"),
            ("allowedOrigins", "bad"),
            ("audit", "bad"),
            ("user[0].passwordEnv", "bad"),
            ("extract[0].columns[0].key", "bad"),
            ("user[0].digset", "unknown member; did you mean \"x\"?"),
            ("user[0].name", "is missing"),
            ("", "bad"),
        ] {
            assert_eq!(value(member, message), None, "{member}");
        }
        let long = format!("log = \"{}\"", "x".repeat(200));
        let shown = located(&long, vec![Problem::of("log", "bad")]).remove(0).value.unwrap();
        assert_eq!(shown.chars().count(), SHOWN_CHARS_MAX + 1);
        let said = located("log = 'loud'", vec![Problem::of("log", "must be \"text\"")]).remove(0).to_string();
        assert_eq!(said, "line 1: log: must be \"text\"; it is 'loud'");
    }
}
