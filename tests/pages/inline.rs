//! Commands of ours in the running text of a page: too short to be run, but the program must know their words and flags.

use std::process::Command;

use crate::support::{Server, process};

/// The spans of code outside of blocks that are commands of ours.
pub(super) fn commands(page: &str) -> Vec<String> {
    let mut in_block = false;
    let mut commands = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            let spans = line.split('`').skip(1).step_by(2);
            commands.extend(spans.filter(|span| span.starts_with("trailcast ")).map(str::to_owned));
        }
    }
    commands
}

/// Whether `trailcast … --help` knows the subcommands and the flags. `a|b` stands for either, `…` for anything.
pub(super) fn check(command: &str) -> Result<(), String> {
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let mut path: Vec<&str> = Vec::new();
    let mut help = help_of(&path);
    // As long as there are subcommands, the next word is one.
    while let Some(listed) = help.split("\nCommands:\n").nth(1) {
        let Some(word) = words.get(path.len()).filter(|word| **word != "…") else { break };
        let known: Vec<&str> = listed.lines().take_while(|line| !line.is_empty()).filter_map(first_word).collect();
        if let Some(unknown) = word.split('|').find(|word| !known.contains(word)) {
            return Err(format!("{unknown} is none of {known:?}"));
        }
        path.extend(word.split('|').next());
        help = help_of(&path);
    }
    let flags = words.iter().filter(|word| word.starts_with("--")).filter_map(|flag| flag.split('=').next());
    let known = |flag: &str| help.split([' ', '\n', ',', '=']).any(|word| word == flag);
    flags.into_iter().find(|flag| !known(flag)).map_or(Ok(()), |flag| Err(format!("it has no {flag}")))
}

/// Subcommands stand two spaces in; what explains them further stands further in.
fn first_word(line: &str) -> Option<&str> {
    line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split_whitespace().next()
}

fn help_of(path: &[&str]) -> String {
    process::output(Command::new(Server::program()).args(path).arg("--help"))
}
