//! `trailcast extract check`: what a source says of an extract, a line each, with the statements that mend it.

use http::Method;
use serde_json::Value;

use super::rest;
use crate::cli::failure::Failure;
use crate::cli::output::{harmless, print, wants_colour};
use crate::client::ServerAddress;

/// Checks the extract of that name, or the one that `config` would make.
pub(super) async fn run(
    address: &ServerAddress,
    name: &str,
    config: Option<&Value>,
    as_json: bool,
) -> Result<(), Failure> {
    let method = if config.is_some() { Method::POST } else { Method::GET };
    let mut answer = rest::ask(address, method, name, Some("check"), config).await?;
    let Value::Array(findings) = answer["findings"].take() else {
        return Err(Failure::failed("the answer is no check of an extract"));
    };
    let mut text = String::new();
    for finding in &findings {
        text += &if as_json { format!("{finding}\n") } else { lines(finding, wants_colour()) };
    }
    print(text.as_bytes())?;
    let to_mend = findings.iter().filter(|finding| finding["state"] == "error").count();
    match to_mend {
        0 => Ok(()),
        1 => Err(Failure::failed("one of these has to be mended before the extract can run; then check again")),
        more => Err(Failure::failed(format!(
            "{more} of these have to be mended before the extract can run, from the top; then check again"
        ))),
    }
}

/// Where the text of a line begins.
const INDENT: usize = 27;

fn lines(finding: &Value, colour: bool) -> String {
    let text = |member: &str| harmless(finding[member].as_str().unwrap_or_default());
    let state = text("state");
    let number = match state.as_str() {
        "ok" => 32,
        "warning" => 33,
        _ => 31,
    };
    let padded = format!("{state:<8}");
    let padded = if colour { format!("\u{1b}[{number}m{padded}\u{1b}[0m") } else { padded };
    let mut lines = format!("{padded} {:<17} {}\n", text("what"), text("message"));
    if finding["statement"].is_string() {
        lines += &format!("{:INDENT$}{};\n", "", text("statement"));
    }
    if finding["needsRestart"] == true {
        lines += &format!("{:INDENT$}and restart the server\n", "");
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_statement_stands_below_what_it_mends_and_can_be_pasted() {
        let mut finding = json!({"what": "wal_level", "state": "error", "message": "it is\nreplica", "statement": "ALTER SYSTEM", "needsRestart": true});
        let indent = " ".repeat(INDENT);
        let expected = format!(
            "error    wal_level         it is replica\n{indent}ALTER SYSTEM;\n{indent}and restart the server\n"
        );
        assert_eq!(lines(&finding, false), expected);
        finding = json!({"what": "server", "state": "ok", "message": "fine", "needsRestart": false});
        assert_eq!(lines(&finding, false), "ok       server            fine\n");
        assert!(lines(&finding, true).starts_with("\u{1b}[32mok      \u{1b}[0m server"));
    }
}
