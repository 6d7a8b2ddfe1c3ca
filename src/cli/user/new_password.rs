//! Where a new password comes from: a file, the environment, a prompt that shows nothing, standard input. Never a flag:
//! it would show in the list of processes.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;

use crate::cli::failure::Failure;
use crate::cli::hidden_line::{of_file, of_standard_input, prompt};

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
            _ if io::stdin().is_terminal() => asked_twice().await,
            _ => of_standard_input().await,
        }
    }
}

async fn asked_twice() -> Result<String, Failure> {
    let [first, second] = prompt(["new password: ", "again: "]).await?;
    if first != second {
        return Err(Failure::failed("the two are not the same; nothing was changed"));
    }
    Ok(first)
}
