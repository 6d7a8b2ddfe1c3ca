//! Where a secret comes from: the first line of a file or of standard input, or a prompt that shows nothing of it.
//!
//! Owns the reading; which of these a command takes, and under which names, is the command's own.

use std::io::{self, BufRead, BufReader, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::failure::Failure;
use crate::limits;

/// The first line of a file.
pub(super) fn of_file(path: &Path) -> Result<String, Failure> {
    let about = |what: &dyn std::fmt::Display| Failure::failed(format!("{}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| about(&error))?;
    first_line(BufReader::new(file)).map_err(|error| about(&error))
}

/// The first line of standard input.
pub(super) async fn of_standard_input() -> Result<String, Failure> {
    let read = tokio::task::spawn_blocking(|| first_line(io::stdin().lock())).await.map_err(Failure::failed)?;
    read.map_err(|error| Failure::failed(format!("standard input: {error}")))
}

/// The first line without its end.
fn first_line(input: impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    // One more than fits, so that what is too long is refused and not cut; two for the line's end.
    std::io::Read::take(input, limits::CREDENTIAL_BYTES_MAX as u64 + 3).read_line(&mut line)?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "there is no password in the first line"));
    }
    Ok(line.to_owned())
}

/// What is typed after each of these questions, none of which is shown.
pub(super) async fn prompt<const N: usize>(questions: [&'static str; N]) -> Result<[String; N], Failure> {
    let failed = |error: io::Error| Failure::failed(format!("the terminal: {error}"));
    let hidden = Hidden::start().map_err(failed)?;
    let typed = tokio::task::spawn_blocking(move || -> io::Result<[String; N]> {
        let mut answers = [const { String::new() }; N];
        for (answer, question) in answers.iter_mut().zip(questions) {
            *answer = ask(question)?;
        }
        Ok(answers)
    });
    let typed = tokio::select! {
        typed = typed => typed.map_err(Failure::failed)?.map_err(failed),
        _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted; nothing was changed")),
    };
    drop(hidden);
    typed
}

fn ask(question: &str) -> io::Result<String> {
    let mut terminal = io::stderr().lock();
    write!(terminal, "{question}")?;
    terminal.flush()?;
    let answer = first_line(io::stdin().lock());
    writeln!(terminal)?;
    answer
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_and_keeps_its_blanks() {
        for text in [" a b \n", " a b \r\n", " a b ", " a b \nmore"] {
            assert_eq!(first_line(text.as_bytes()).unwrap(), " a b ", "{text:?}");
        }
        assert!(first_line("".as_bytes()).is_err() && first_line("\nsecond".as_bytes()).is_err());
        let long = "x".repeat(limits::CREDENTIAL_BYTES_MAX + 1);
        assert_eq!(first_line(long.as_bytes()).unwrap().len(), long.len(), "too long is for the server to refuse");
    }
}
