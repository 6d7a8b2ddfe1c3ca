//! Every member of a stream's configuration, read from its schema: what it allows, and what it must refuse.

use serde_json::{Value, json};
use trailcast::catalog::stream::config_schema;

/// A member: where it stands, its schema, and how a value of it becomes a configuration.
pub struct Member {
    /// Such as `encoding.json.model` or `rules[0].action`.
    pub path: String,
    pub schema: Value,
    around: Vec<Step>,
}

/// One step from the member outwards.
#[derive(Clone)]
enum Step {
    /// Into an object that holds these other members.
    Object(String, Value),
    /// Into a list of one.
    List,
}

/// Every member, those of rules' conditions included.
pub fn members() -> Vec<Member> {
    let mut found = Vec::new();
    collect("", &config_schema(), &[], &mut found);
    found
}

/// What else an object needs to be allowed.
fn others(path: &str) -> Value {
    match path {
        "" => json!({"source": {"trail": "a1"}}),
        "rules[0]" => json!({"action": "include", "filter": {}}),
        _ if path.ends_with("columnValues[0]") => json!({"column": "c", "operator": "EQ", "value": 1}),
        _ if path.ends_with(']') => json!({"name": "c", "operator": "EQ", "value": "x"}),
        _ => json!({}),
    }
}

fn collect(path: &str, schema: &Value, around: &[Step], found: &mut Vec<Member>) {
    // The long form of `encoding` is the one with members.
    let schema = if path == "encoding" { &schema["oneOf"][1] } else { schema };
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path_of = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let mut steps = vec![Step::Object(name.clone(), others(path))];
        steps.extend_from_slice(around);
        found.push(Member { path: path_of.clone(), schema: inner.clone(), around: steps.clone() });
        collect(&path_of, inner, &steps, found);
    }
    // A tag may also be its name alone; the long form is the one with members.
    let items = schema.get("items").map(|items| if items["anyOf"].is_array() { &items["anyOf"][1] } else { items });
    if let Some(items) = items.filter(|items| items["type"] == "object") {
        let mut steps = vec![Step::List];
        steps.extend_from_slice(around);
        collect(&format!("{path}[0]"), items, &steps, found);
    }
}

impl Member {
    /// A configuration in which the member has this value.
    pub fn configured(&self, value: Value) -> Value {
        self.around.iter().fold(value, |value, step| match step {
            Step::List => json!([value]),
            Step::Object(name, others) => {
                let mut object = others.clone();
                object[name] = value;
                object
            }
        })
    }

    /// Values that it refuses, each with words that the refusal says beside the member's path.
    pub fn wrong_values(&self) -> Vec<(Value, Vec<String>)> {
        let schema = &self.schema;
        let text = |member: &str| schema[member].to_string();
        if let Some(allowed) = schema["enum"].as_array() {
            let words: Vec<_> =
                allowed.iter().map(|word| word.as_str().map_or(word.to_string(), str::to_owned)).collect();
            return vec![(json!("no such word"), words.clone()), (json!(7), words)];
        }
        match schema["type"].as_str() {
            Some("integer") => {
                let words = vec![text("minimum"), text("maximum")];
                let bound = |member: &str| text(member).parse::<i128>().unwrap();
                let (min, max) = (bound("minimum"), bound("maximum"));
                let wrong =
                    [json!(min - 1), json!(max + 1), json!(min.to_string()), json!(min as f64 + 0.5), json!({})];
                wrong.map(|value| (value, words.clone())).into()
            }
            Some("string") => {
                let (min, max) =
                    (schema["minLength"].as_u64().unwrap(), schema["maxLength"].as_u64().unwrap() as usize);
                let mut wrong = vec![json!("x".repeat(max + 1)), json!(7), json!([])];
                wrong.extend((min > 0).then(|| json!("")));
                let mut wrong: Vec<_> = wrong.into_iter().map(|value| (value, vec![max.to_string()])).collect();
                wrong.extend(schema.get("pattern").map(|_| (json!("a b"), Vec::new())));
                wrong
            }
            Some("boolean") => {
                let words = vec!["true or false".to_owned()];
                vec![(json!("yes"), words.clone()), (json!(1), words)]
            }
            Some("array") => {
                let words = vec!["1".to_owned(), text("maxItems")];
                vec![(json!([]), words.clone()), (json!("x"), words)]
            }
            Some("object") | None if schema["type"][0] == "object" || schema["type"] == "object" => {
                let mut wrong = vec![(json!(7), vec!["object".to_owned()])];
                if schema.get("patternProperties").is_none() {
                    wrong.push((json!({"unknown": 1}), vec!["unknown".to_owned()]));
                }
                wrong
            }
            _ if self.path == "encoding" => {
                vec![(json!("xml"), vec!["json".to_owned()]), (json!({"avro": {}}), vec![])]
            }
            _ if self.path.ends_with("value") => vec![(json!({}), vec!["string".to_owned()])],
            _ => vec![(json!(7), vec!["true, false".to_owned(), "64".to_owned()]), (json!(""), vec!["64".to_owned()])],
        }
    }

    /// What it allows, for people: `131072 … 10485760`, `` `op` · `row` `` and the like.
    pub fn range(&self) -> String {
        let schema = &self.schema;
        if let Some(allowed) = schema["enum"].as_array() {
            let words =
                allowed.iter().map(|word| format!("`{}`", word.as_str().map_or(word.to_string(), str::to_owned)));
            return words.collect::<Vec<_>>().join(" · ");
        }
        match schema["type"].as_str() {
            Some("integer") => format!("{} … {}", schema["minimum"], schema["maximum"]),
            Some("string") => format!("text of {} … {} characters", schema["minLength"], schema["maxLength"]),
            Some("boolean") => "boolean".to_owned(),
            Some("array") => format!("list of {} … {}", schema["minItems"], schema["maxItems"]),
            Some("object") => "object".to_owned(),
            None if schema["type"][0] == "object" => "object, or null".to_owned(),
            _ if self.path == "encoding" => "`json`, or an object".to_owned(),
            _ if self.path.ends_with("value") => "text, number, boolean".to_owned(),
            _ => "boolean, null, or a name of 1 … 64 characters".to_owned(),
        }
    }

    /// Its default, for people.
    pub fn default(&self) -> String {
        match &self.schema["default"] {
            Value::Null => "–".to_owned(),
            Value::String(text) => format!("`{text}`"),
            value => format!("`{value}`"),
        }
    }
}
