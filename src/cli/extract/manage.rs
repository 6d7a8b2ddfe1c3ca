//! `trailcast extract add`, `ls`, `start`, `stop` and `rm`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use http::Method;
use serde_json::{Value, json};

use super::rest;
use crate::cli::failure::Failure;
use crate::cli::output::{harmless, print, say, shown};
use crate::client::ServerAddress;

pub(super) async fn add(address: &ServerAddress, name: &str, config: &Value, as_json: bool) -> Result<(), Failure> {
    let made = rest::ask(address, Method::POST, name, None, Some(config)).await?;
    let trail = made["trail"].as_str().unwrap_or_default().to_owned();
    done(as_json, &made, &format!("extract {name} added; it writes the trail {trail}"))
}

/// One line an extract.
pub(super) async fn list(address: &ServerAddress, as_json: bool) -> Result<(), Failure> {
    let mut text = String::new();
    for extract in rest::list(address).await? {
        let line = if as_json { extract.to_string() } else { harmless(&line(&extract)) };
        text += &format!("{line}\n");
    }
    Ok(print(text.as_bytes())?)
}

fn line(extract: &Value) -> String {
    let text = |member: &str| extract[member].as_str().unwrap_or("-");
    let number = |member: &str, unit: &str| match &extract[member] {
        Value::Number(number) => format!("{number} {unit}"),
        _ => "-".to_owned(),
    };
    let mut line = format!(
        "{:<24} {:<9} trail {:<16} at {:<14} lag {} {}",
        text("name"),
        text("status"),
        text("trail"),
        text("position"),
        number("lagBytes", "bytes"),
        number("lagSeconds", "s"),
    );
    if let Some(error) = extract["lastError"].as_str() {
        line += &format!("  {error}");
    }
    line
}

pub(super) async fn start(address: &ServerAddress, name: &str, as_json: bool) -> Result<(), Failure> {
    let patched = patch(address, name, "running").await?;
    done(as_json, &patched, &format!("extract {name} started"))
}

pub(super) async fn stop(address: &ServerAddress, name: &str, as_json: bool) -> Result<(), Failure> {
    let patched = patch(address, name, "stopped").await?;
    done(as_json, &patched, &format!("extract {name} stopped; its slot keeps the source's log until it runs again"))
}

async fn patch(address: &ServerAddress, name: &str, status: &str) -> Result<Value, Failure> {
    rest::ask(address, Method::PATCH, name, None, Some(&json!({ "status": status }))).await
}

/// Asks whether the slot is meant, which cannot be had back.
pub(super) async fn ask_to_drop(name: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("--drop-slot asks first, and there is no terminal: give --yes"));
    }
    let question = format!(
        "Remove extract {name} and drop its slot and its publication at the source? Changes that are not captured yet are lost \
         to it. [y/N] "
    );
    let answered = tokio::task::spawn_blocking(move || -> io::Result<String> {
        let mut terminal = io::stderr().lock();
        write!(terminal, "{question}")?;
        terminal.flush()?;
        let mut answer = String::new();
        io::Read::take(io::stdin().lock(), 16).read_line(&mut answer)?;
        Ok(answer)
    });
    let answer = answered.await.map_err(Failure::failed)?;
    let answer = answer.map_err(|error| Failure::failed(format!("the terminal: {error}")))?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::failed("nothing was removed"))
}

pub(super) async fn remove(address: &ServerAddress, name: &str, drop_slot: bool, as_json: bool) -> Result<(), Failure> {
    let said = rest::remove(address, name, drop_slot).await?;
    if !as_json {
        say(&said);
    }
    done(as_json, &json!({"name": name, "removed": true, "message": said}), &format!("extract {name} removed"))
}

fn done(as_json: bool, answer: &Value, what: &str) -> Result<(), Failure> {
    let line = if as_json { answer.to_string() } else { shown(what) };
    Ok(print(format!("{line}\n").as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_there_is_and_an_error_that_holds() {
        let waits = json!({"name": "e1", "status": "starting", "trail": "a1", "position": null, "lagBytes": null});
        assert_eq!(line(&waits), format!("{:<24} {:<9} trail {:<16} at {:<14} lag - -", "e1", "starting", "a1", "-"));
        let fails = json!({"name": "e1", "status": "failed", "trail": "a1", "position": "0/1", "lagBytes": 7, "lagSeconds": 0.5, "lastError": "no"});
        assert!(line(&fails).ends_with(" lag 7 bytes 0.5 s  no"), "{}", line(&fails));
    }
}
