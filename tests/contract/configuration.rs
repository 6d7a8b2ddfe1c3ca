//! Goal: every member of a configuration is documented as it is, with the test that pins it, and a value that it does
//! not take is refused by name and range, changing nothing. Method: the members are read from the schema.

use serde_json::{Value, json};

use super::members::{Member, members};
use crate::support::http::Answer;
use crate::support::{Server, clients};

const STREAM: &str = "/services/v2/stream";

fn refuses(answer: &Answer, member: &Member, body: &Value, words: &[String]) {
    let shown: String = body.to_string().chars().take(300).collect();
    assert_eq!(answer.status, 400, "{shown}: {answer}");
    let title = answer.titles();
    let named = member.path.rsplit('.').next().unwrap();
    assert!(title.contains(&member.path), "{named} is not named in: {title}: {shown}");
    for word in words {
        assert!(title.contains(word.as_str()), "`{word}` is not in: {title}: {shown}");
    }
}

#[test]
fn a_wrong_value_of_any_member_is_refused_by_name_and_range_and_changes_nothing() {
    let server = Server::start();
    server.make_trail("a1");
    let rules = json!([{"action": "exclude", "filter": {"objectTypes": ["DDL"]}}]);
    let config = json!({"source": {"trail": "a1"}, "description": "as it was", "rules": rules});
    server.post(&format!("{STREAM}/s1"), &config).expect(200);
    let mut refused = 0;
    for member in members() {
        for (value, words) in member.wrong_values() {
            let body = member.configured(value);
            refuses(&server.post(&format!("{STREAM}/s2"), &body), &member, &body, &words);
            let mut patch = body.clone();
            patch["description"] = json!("changed");
            if member.path == "description" {
                patch = body;
            }
            refuses(&server.patch(&format!("{STREAM}/s1"), &patch), &member, &patch, &words);
            refused += 1;
        }
    }
    assert!(refused > 150, "{refused}");
    for body in [json!({"unknown": 1}), json!({"source": {"trail": "a1", "path": "/x"}}), json!([]), json!("x")] {
        let answer = server.patch(&format!("{STREAM}/s1"), &body);
        assert_eq!(answer.status, 400, "{body}: {answer}");
    }
    server.get(&format!("{STREAM}/s2")).expect(404);
    assert_eq!(server.get(&format!("{STREAM}/s1")).expect(200).response(), config);
}

#[test]
fn the_documentation_of_a_configuration_lists_every_member_as_it_is() {
    let text = std::fs::read_to_string(clients::project().join("docs/configuration-stream.md")).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let documented: Vec<_> = rows.iter().map(|row| row[..3].join(" | ")).collect();
    let expected: Vec<_> = members()
        .iter()
        .map(|member| format!("`{}` | {} | {}", member.path.replace("[0]", "[]"), member.range(), member.default()))
        .collect();
    assert_eq!(documented, expected, "docs/configuration-stream.md should list:\n{}", expected.join("\n"));
    let sources = sources(&clients::project().join("src")) + &sources(&clients::project().join("tests"));
    for row in &rows {
        assert!(row.len() == 5 && row[3].len() > 5, "{row:?}");
        let test = row[4].trim_matches('`');
        assert!(sources.contains(&format!("fn {test}(")), "there is no test `{test}`");
    }
    let readme = std::fs::read_to_string(clients::project().join("README.md")).unwrap();
    assert!(readme.contains("docs/configuration-stream.md"));
}

fn sources(folder: &std::path::Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let skipped = path.ends_with("node_modules") || path.ends_with(".venv");
        if path.is_dir() && !skipped {
            all += &sources(&path);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            all += &std::fs::read_to_string(&path).unwrap();
        }
    }
    all
}
