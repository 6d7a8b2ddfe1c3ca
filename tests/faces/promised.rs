//! Goal: what `/openapi.json` promised when it was kept by hand is still promised. Method: that document
//! (`tests/fixtures/openapi-promised.json`, of November 2026) is compared with the one that the server makes from its types:
//! every path, method, parameter, status, header, member and type of it has to be there. The new one may say more.
//!
//! A client that was generated from the old document reads answers and sends bodies, so an answer may only become
//! narrower and a body only wider. Texts may change.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::support::Server;
use crate::support::clients::project;

/// Two documents, and what the new one does not keep of the old one.
struct Comparison<'d> {
    old: &'d Value,
    new: &'d Value,
    broken: Vec<String>,
}

/// Whether a value goes to the client or comes from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Answer,
    Body,
}

/// The schema itself, with what it refers to, and whether it may be null instead.
fn seen(document: &Value, schema: &Value) -> (Map<String, Value>, bool) {
    let Value::Object(members) = schema else { return (Map::new(), false) };
    let mut whole = Map::new();
    let mut nullable = false;
    let add = |whole: &mut Map<String, Value>, part: &Value| -> bool {
        let (part, nullable) = seen(document, part);
        for (name, member) in part {
            match (whole.get_mut(&name), member) {
                (Some(Value::Object(known)), Value::Object(more)) => known.extend(more),
                (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
                (_, member) => drop(whole.insert(name, member)),
            }
        }
        nullable
    };
    if let Some(target) = members.get("$ref").and_then(Value::as_str) {
        nullable |= add(&mut whole, document.pointer(&target[1..]).unwrap_or_else(|| panic!("{target} is not there")));
    }
    for part in members.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        nullable |= add(&mut whole, part);
    }
    for choice in ["anyOf", "oneOf"] {
        let choices: Vec<&Value> = members.get(choice).and_then(Value::as_array).into_iter().flatten().collect();
        if let [one, other] = choices[..]
            && [one, other].iter().any(|schema| schema["type"] == "null")
        {
            add(&mut whole, if one["type"] == "null" { other } else { one });
            nullable = true;
        }
    }
    for (name, member) in members {
        match (whole.get_mut(name), member) {
            (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
            _ => drop(whole.insert(name.clone(), member.clone())),
        }
    }
    (whole, nullable)
}

/// The only values that a schema allows, if it lists them.
fn values(schema: &Map<String, Value>) -> Option<BTreeSet<String>> {
    if let Some(only) = schema.get("const") {
        return Some([only.to_string()].into());
    }
    if let Some(listed) = schema.get("enum").and_then(Value::as_array) {
        return Some(listed.iter().map(Value::to_string).collect());
    }
    let pattern = schema.get("pattern")?.as_str()?.strip_prefix('^')?.strip_suffix('$')?;
    let words: Vec<&str> = pattern.trim_matches(['(', ')']).split('|').collect();
    let is_word = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    words.iter().all(is_word).then(|| words.iter().map(|word| json!(word).to_string()).collect())
}

const KINDS: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// The types that a schema allows; whoever allows numbers allows whole ones.
fn kinds(schema: &Map<String, Value>, nullable: bool) -> BTreeSet<&'static str> {
    fn named(name: &str) -> impl Iterator<Item = &'static str> {
        KINDS.into_iter().filter(move |kind| *kind == name || (*kind == "integer" && name == "number"))
    }
    let of_value = |text: &String| match text.as_bytes()[0] {
        b'"' => "string",
        b'n' => "null",
        b't' | b'f' => "boolean",
        b'{' => "object",
        b'[' => "array",
        _ => "integer",
    };
    let mut kinds: BTreeSet<&str> = match (schema.get("type"), values(schema)) {
        (Some(Value::String(name)), _) => named(name).collect(),
        (Some(Value::Array(names)), _) => names.iter().filter_map(Value::as_str).flat_map(named).collect(),
        (_, Some(values)) => values.iter().map(of_value).collect(),
        (_, None) if schema.contains_key("properties") => ["object"].into(),
        _ => KINDS.into(),
    };
    if nullable {
        kinds.insert("null");
    }
    kinds
}

fn names(schema: &Map<String, Value>, list: &str) -> BTreeSet<String> {
    let listed = schema.get(list).and_then(Value::as_array).into_iter().flatten();
    listed.filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Comparison<'_> {
    fn note(&mut self, place: &str, what: impl std::fmt::Display) {
        self.broken.push(format!("{place}: {what}"));
    }

    fn schema(&mut self, way: Way, place: &str, old: &Value, new: &Value) {
        let ((old, old_null), (new, new_null)) = (seen(self.old, old), seen(self.new, new));
        let (old_kinds, new_kinds) = (kinds(&old, old_null), kinds(&new, new_null));
        let (inner, outer) = match way {
            Way::Answer => (&new, &old),
            Way::Body => (&old, &new),
        };
        let fits = match way {
            Way::Answer => new_kinds.is_subset(&old_kinds),
            Way::Body => old_kinds.is_subset(&new_kinds),
        };
        if !fits {
            self.note(place, format!("{old_kinds:?} has become {new_kinds:?}"));
        }
        if let Some(allowed) = values(outer)
            && !values(inner).is_some_and(|values| values.is_subset(&allowed))
        {
            self.note(place, format!("of {allowed:?} it has become {:?}", values(inner)));
        }
        for exact in ["pattern", "format"] {
            // How many bits a number has is said of what its limits say already.
            let is_size = exact == "format"
                && outer.get(exact).and_then(Value::as_str).is_some_and(|name| name.starts_with("int"));
            if values(outer).is_none()
                && !is_size
                && outer.get(exact).is_some_and(|wanted| inner.get(exact) != Some(wanted))
            {
                self.note(place, format!("the {exact} {} has become {:?}", outer[exact], inner.get(exact)));
            }
        }
        for (limit, sign) in [
            ("minimum", 1.0),
            ("minLength", 1.0),
            ("minItems", 1.0),
            ("maximum", -1.0),
            ("maxLength", -1.0),
            ("maxItems", -1.0),
        ] {
            let of = |schema: &Map<String, Value>| schema.get(limit).and_then(Value::as_f64).map(|limit| limit * sign);
            if of(outer).is_some_and(|wanted| of(inner).is_none_or(|given| given < wanted)) {
                self.note(place, format!("{limit} {:?} has become {:?}", old.get(limit), new.get(limit)));
            }
        }
        if let Some(usual) = old.get("default").filter(|usual| new.get("default") != Some(usual)) {
            self.note(place, format!("left out it was {usual}, and is {:?}", new.get("default")));
        }
        let (needed, kept) = (names(outer, "required"), names(inner, "required"));
        for missing in needed.difference(&kept) {
            self.note(place, format!("whether {missing} has to be there has changed"));
        }
        for (name, member) in old.get("properties").and_then(Value::as_object).into_iter().flatten() {
            match new.get("properties").and_then(|members| members.get(name)) {
                Some(found) => self.schema(way, &format!("{place}.{name}"), member, found),
                None => self.note(place, format!("{name} is gone")),
            }
        }
        for inside in ["items", "additionalProperties"] {
            if let Some(member @ Value::Object(_)) = old.get(inside) {
                let found = new.get(inside).cloned().unwrap_or_default();
                self.schema(way, &format!("{place}[]"), member, &found);
            }
        }
    }

    fn resolved<'v>(document: &'v Value, value: &'v Value) -> &'v Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(target) => document.pointer(&target[1..]).unwrap_or_else(|| panic!("{target} is not there")),
            None => value,
        }
    }

    fn content(&mut self, way: Way, place: &str, old: &Value, new: &Value) {
        for (media_type, media) in old.as_object().into_iter().flatten() {
            match new.get(media_type) {
                Some(found) => self.schema(way, &format!("{place} {media_type}"), &media["schema"], &found["schema"]),
                None => self.note(place, format!("{media_type} is gone")),
            }
        }
    }

    fn responses(&mut self, place: &str, old: &Value, new: &Value) {
        for (status, response) in old.as_object().unwrap() {
            let place = format!("{place} {status}");
            let Some(found) = new.get(status) else {
                self.note(&place, "it is gone");
                continue;
            };
            let (response, found) = (Self::resolved(self.old, response), Self::resolved(self.new, found));
            self.content(Way::Answer, &place, &response["content"], &found["content"]);
            for (name, header) in response["headers"].as_object().into_iter().flatten() {
                let kept = &found["headers"][name];
                if kept.is_null() || header["required"] == true && kept["required"] != true {
                    self.note(&place, format!("the header {name} is gone or not always there"));
                }
                self.schema(Way::Answer, &format!("{place} {name}"), &header["schema"], &kept["schema"]);
            }
        }
    }

    fn parameters(&mut self, place: &str, old: &Value, new: &Value) {
        let all = |document: &Value, [item, operation]: [&Value; 2]| -> Vec<Value> {
            let lists = [&item["parameters"], &operation["parameters"]];
            let listed = lists.into_iter().filter_map(Value::as_array).flatten();
            listed.map(|parameter| Self::resolved(document, parameter).clone()).collect()
        };
        let method = place.split(' ').next().unwrap().to_lowercase();
        let (before, now) = (all(self.old, [old, &old[&method]]), all(self.new, [new, &new[&method]]));
        for parameter in before {
            let is_it = |other: &&Value| other["name"] == parameter["name"] && other["in"] == parameter["in"];
            let Some(found) = now.iter().find(is_it) else {
                self.note(place, format!("the parameter {} is gone", parameter["name"]));
                continue;
            };
            if found["required"] == true && parameter["required"] != true {
                self.note(place, format!("the parameter {} has to be given", parameter["name"]));
            }
            self.schema(Way::Body, &format!("{place} {}", parameter["name"]), &parameter["schema"], &found["schema"]);
        }
    }

    fn operations(mut self) -> Vec<String> {
        for (path, item) in self.old["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
                let place = format!("{} {path}", method.to_uppercase());
                let found = &self.new["paths"][path][method];
                if found.is_null() {
                    self.note(&place, "it is gone");
                    continue;
                }
                for same in ["operationId", "security"] {
                    if operation.get(same) != found.get(same) {
                        self.note(&place, format!("{same} has become {:?}", found.get(same)));
                    }
                }
                let role = |operation: &Value| {
                    operation["description"].as_str().map(|text| text.split('.').next().unwrap().to_owned())
                };
                if role(operation) != role(found) {
                    self.note(&place, format!("{:?} has become {:?}", role(operation), role(found)));
                }
                self.parameters(&place, item, &self.new["paths"][path]);
                let (body, found_body) = (&operation["requestBody"], &found["requestBody"]);
                self.content(Way::Body, &place, &body["content"], &found_body["content"]);
                if found_body["required"] == true && body["required"] != true {
                    self.note(&place, "a body has to be given");
                }
                self.responses(&place, &operation["responses"], &found["responses"]);
            }
        }
        self.broken
    }
}

fn broken(old: &Value, new: &Value) -> Vec<String> {
    Comparison { old, new, broken: Vec::new() }.operations()
}

#[test]
fn everything_that_was_promised_is_promised_still() {
    let text = std::fs::read_to_string(project().join("tests/fixtures/openapi-promised.json")).unwrap();
    let mut old: Value = serde_json::from_str(&text).unwrap();
    let new = Server::start().get("/openapi.json").expect(200).json();
    // It stood in the program even then.
    old["components"]["schemas"]["DataStream"] = new["components"]["schemas"]["DataStream"].clone();
    // What it could not do then, an answer did not show; it said so where these are given.
    for member in ["columns"] {
        let now = new["components"]["schemas"]["DescribedExtract"]["properties"][member].clone();
        assert!(!now.is_null(), "{member} is gone");
        old["components"]["schemas"]["DescribedExtract"]["properties"][member] = now;
    }
    let operations = old["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap());
    let count = operations.flat_map(Map::keys).filter(|name| *name != "parameters").count();
    assert!(count > 45, "{count}");
    let broken = broken(&old, &new);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_promise_that_is_broken_is_noticed() {
    let document = json!({
        "paths": {"/x/{name}": {
            "parameters": [{"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}],
            "post": {
                "operationId": "x",
                "description": "Role: User.",
                "requestBody": {"content": {"application/json": {"schema": {
                    "type": "object", "required": ["a"], "properties": {"a": {"type": ["integer", "null"], "maximum": 9, "default": 1}},
                }}}},
                "responses": {"200": {
                    "headers": {"ETag": {"required": true, "schema": {"type": "string"}}},
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/X"}}},
                }},
            },
        }},
        "components": {"schemas": {"X": {
            "type": "object", "required": ["b"], "properties": {"b": {"enum": ["p", "q"]}, "c": {"type": "array", "items": {"type": "string"}}},
        }}},
    });
    assert_eq!(broken(&document, &document), Vec::<String>::new());
    let operation = "/paths/~1x~1{name}/post";
    let body = format!("{operation}/requestBody/content/application~1json/schema");
    let answer = "/components/schemas/X".to_owned();
    for (place, wrong, says) in [
        ("/paths".to_owned(), json!({}), "it is gone"),
        ("/paths/~1x~1{name}/parameters".to_owned(), json!([]), "the parameter \"name\" is gone"),
        (format!("{operation}/operationId"), json!("y"), "operationId"),
        (format!("{operation}/description"), json!("Role: Operator."), "Role: User"),
        (format!("{operation}/requestBody/content"), json!({}), "application/json is gone"),
        (format!("{body}/properties/a/type"), json!("integer"), "has become"),
        (format!("{body}/properties/a/maximum"), json!(8), "maximum"),
        (format!("{body}/properties/a/default"), json!(2), "left out"),
        (format!("{body}/properties"), json!({}), "a is gone"),
        (format!("{body}/required"), json!(["a", "z"]), "z has to be there"),
        (format!("{operation}/responses"), json!({}), "200: it is gone"),
        (format!("{operation}/responses/200/headers/ETag/required"), json!(false), "ETag"),
        (format!("{answer}/required"), json!([]), "b has to be there"),
        (format!("{answer}/properties/b/enum"), json!(["p", "q", "r"]), "it has become"),
        (format!("{answer}/properties/c/items/type"), json!("integer"), "has become"),
    ] {
        let mut changed = document.clone();
        *changed.pointer_mut(&place).unwrap() = wrong;
        let said = broken(&document, &changed).join("\n");
        assert!(said.contains(says), "{place}: {said:?} does not say {says:?}");
    }
    for (place, more) in [
        (format!("{body}/required"), json!([])),
        (format!("{body}/properties/a/maximum"), json!(10)),
        (format!("{answer}/properties/b"), json!({"const": "p"})),
        (format!("{answer}/properties/b"), json!({"type": "string", "pattern": "^(p|q)$"})),
        (format!("{operation}/responses/503"), json!({})),
    ] {
        let mut changed = document.clone();
        let (parent, name) = place.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[name] = more;
        assert_eq!(broken(&document, &changed), Vec::<String>::new(), "{place}");
    }
}
