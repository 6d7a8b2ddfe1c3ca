//! What is printed: results on standard output, everything said beside them on standard error.

use std::io::{self, IsTerminal as _, Write};

use super::logging;

/// One line on standard error for the person in front of it. Nobody reading it is no failure.
pub(super) fn say(line: impl std::fmt::Display) {
    let line = harmless_lines(&line.to_string());
    if !logging::say(&line) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// A text of one line: control characters would steer the terminal or break the line.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|character| if steers(character) { ' ' } else { character }).collect()
}

/// A text of our own, with lines of its own, that may quote what others wrote.
pub(super) fn harmless_lines(text: &str) -> String {
    text.chars().map(|character| if character != '\n' && steers(character) { ' ' } else { character }).collect()
}

fn steers(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Whether standard output is a terminal that wants colours (`NO_COLOR` is respected).
pub(super) fn wants_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A name as it may be shown in a terminal: without anything that could steer it.
pub(super) fn shown(text: &str) -> String {
    text.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
}

/// Writes to standard output and hands it over at once.
pub(super) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(bytes)?;
    output.flush()
}
