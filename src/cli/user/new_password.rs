//! Where a new password comes from: a file, the environment, a prompt that shows nothing, standard input. Never a flag:
//! it would show in the list of processes.

use std::io::{self, BufRead, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::cli::failure::Failure;
use crate::limits;

/// The environment's name of a new password.
const NEW_PASSWORD: &str = "TRAILCAST_NEW_PASSWORD";

#[derive(Debug, Args)]
pub(super) struct NewPassword {
    /// File whose first line is the new password; - for standard input
    #[arg(long, env = "TRAILCAST_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl NewPassword {
    /// The new password.
    pub(super) async fn read(self) -> Result<String, Failure> {
        match self.password_file {
            Some(path) if path.as_os_str() != "-" => return of_file(&path),
            Some(_) => return of_standard_input().await,
            None => {}
        }
        match std::env::var(NEW_PASSWORD) {
            Ok(password) if !password.is_empty() => Ok(password),
            _ if io::stdin().is_terminal() => prompt().await,
            _ => of_standard_input().await,
        }
    }
}

fn of_file(path: &Path) -> Result<String, Failure> {
    let about = |what: &dyn std::fmt::Display| Failure::failed(format!("{}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| about(&error))?;
    first_line(BufReader::new(file)).map_err(|error| about(&error))
}

async fn of_standard_input() -> Result<String, Failure> {
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

/// Asks twice, and shows nothing of what is typed.
async fn prompt() -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::failed(format!("the terminal: {error}"));
    let hidden = Hidden::start().map_err(failed)?;
    let typed = tokio::task::spawn_blocking(|| -> io::Result<(String, String)> {
        Ok((ask("new password: ")?, ask("again: ")?))
    });
    let typed = tokio::select! {
        typed = typed => typed.map_err(Failure::failed)?.map_err(failed),
        _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted; nothing was changed")),
    };
    drop(hidden);
    let (first, second) = typed?;
    if first != second {
        return Err(Failure::failed("the two are not the same; nothing was changed"));
    }
    Ok(first)
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
