//! The server's OpenAPI document as a judge of its answers: which operation a request is, what that may be answered with, and
//! what has been seen so far.
//!
//! Stricter than a client has to be: an object may have the members that are described and no others.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::http::Answer;

/// Headers that say something to clients, and so are described where they come.
const TELLING: [&str; 8] = [
    "retry-after",
    "location",
    "etag",
    "www-authenticate",
    "accept-encoding",
    "sec-websocket-version",
    "trailcast-begin",
    "trailcast-ping-seconds",
];

/// One method of one path.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its `operationId`.
    pub id: String,
    /// In upper case.
    pub method: String,
    /// The path, with names in braces.
    pub path: String,
    /// What the document says.
    pub described: Value,
}

/// The document, and which statuses each operation has been seen to answer with.
#[derive(Debug)]
pub struct Document {
    document: Value,
    seen: RefCell<BTreeMap<String, BTreeSet<u16>>>,
}

impl Document {
    /// Reads it.
    pub fn new(mut document: Value) -> Self {
        for (name, schema) in document["components"]["schemas"].as_object_mut().unwrap() {
            // A patch has any members of what it changes.
            if name != "ExtractPatch" {
                close(schema);
            }
        }
        Self { document, seen: RefCell::default() }
    }

    /// Everything that it describes.
    pub fn operations(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (path, item) in self.document["paths"].as_object().unwrap() {
            for (method, described) in item.as_object().unwrap() {
                if method != "parameters" {
                    let id = described["operationId"].as_str().unwrap().to_owned();
                    let (path, method) = (path.clone(), method.to_uppercase());
                    operations.push(Operation { id, method, path, described: described.clone() });
                }
            }
        }
        operations
    }

    /// The parameters in an operation's path.
    pub fn names_in(&self, path: &str) -> Vec<Value> {
        let given = self.document["paths"][path]["parameters"].as_array().cloned().unwrap_or_default();
        given.iter().map(|parameter| self.resolved(parameter).clone()).collect()
    }

    /// The statuses that an operation is said to answer with.
    pub fn statuses(&self, operation: &Operation) -> BTreeSet<u16> {
        operation.described["responses"].as_object().unwrap().keys().map(|status| status.parse().unwrap()).collect()
    }

    /// Those that [`Self::check`] has seen of an operation.
    pub fn seen(&self, operation: &Operation) -> BTreeSet<u16> {
        self.seen.borrow().get(&operation.id).cloned().unwrap_or_default()
    }

    /// Whether an answer is as described; notes that it was seen.
    pub fn check(&self, method: &str, target: &str, answer: &Answer) -> Result<(), String> {
        let about = |what: String| format!("{method} {target} is answered with {answer}\n{what}");
        let Some(path) = self.path_of(target) else {
            return if answer.status == 404 { Ok(()) } else { Err(about("no such path is described".into())) };
        };
        let item = &self.document["paths"][&path];
        let described = if method == "HEAD" { &item["get"] } else { &item[method.to_lowercase()] };
        if described.is_null() {
            return self.check_method_not_allowed(item, answer).map_err(about);
        }
        let Some(response) = described["responses"].get(answer.status.to_string()) else {
            return Err(about(format!("{} has no status {}", described["operationId"], answer.status)));
        };
        let response = self.resolved(response);
        self.check_headers(response, answer).map_err(about)?;
        if method == "HEAD" {
            return if answer.body.is_empty() { Ok(()) } else { Err(about("HEAD has a body".into())) };
        }
        self.check_body(response, answer).map_err(about)?;
        let id = described["operationId"].as_str().unwrap().to_owned();
        self.seen.borrow_mut().entry(id).or_default().insert(answer.status);
        Ok(())
    }

    /// Whether a body that was taken is as described.
    pub fn check_request(&self, method: &str, target: &str, media_type: &str, body: &str) -> Result<(), String> {
        let about = |what: String| format!("{method} {target} took {media_type} {body}\n{what}");
        let path = self.path_of(target).ok_or_else(|| about("no such path is described".into()))?;
        let content = &self.document["paths"][&path][method.to_lowercase()]["requestBody"]["content"];
        let schema = content.get(media_type).and_then(|media| media.get("schema"));
        let schema = schema.ok_or_else(|| about("no such media type is described".into()))?;
        let values: Vec<Value> = match media_type {
            "application/yaml" => vec![serde_yaml::from_str(body).map_err(|error| about(error.to_string()))?],
            _ => {
                let values = serde_json::Deserializer::from_str(body).into_iter();
                values.collect::<Result<_, _>>().map_err(|error| about(error.to_string()))?
            }
        };
        values.iter().try_for_each(|value| self.check_value(schema, value).map_err(about))
    }

    /// Whether the document allows that text as the path's parameter.
    pub fn allows_name(&self, parameter: &Value, name: &str) -> bool {
        self.check_value(&parameter["schema"], &json!(name)).is_ok()
    }

    /// The path of the document that a request's target is of; a described one comes before one with names in it.
    fn path_of(&self, target: &str) -> Option<String> {
        let path = native(target.split('?').next().unwrap_or_default());
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |template: &&String| {
            let pattern: Vec<&str> = template.split('/').collect();
            let mut pairs = pattern.iter().zip(&parts);
            pattern.len() == parts.len()
                && pairs.all(|(wanted, part)| wanted == part || wanted.starts_with('{') && !part.is_empty())
        };
        let paths = self.document["paths"].as_object().unwrap();
        paths.keys().filter(fits).min_by_key(|template| template.matches('{').count()).cloned()
    }

    fn resolved<'v>(&'v self, value: &'v Value) -> &'v Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(target) => self.document.pointer(&target[1..]).unwrap_or_else(|| panic!("{target} is not there")),
            None => value,
        }
    }

    fn check_method_not_allowed(&self, item: &Value, answer: &Answer) -> Result<(), String> {
        let methods = item.as_object().unwrap().keys().filter(|name| *name != "parameters");
        let described: BTreeSet<String> = methods.map(|name| name.to_uppercase()).collect();
        let allowed = answer.header("allow").unwrap_or_default().split(", ").map(str::to_owned).collect();
        if answer.status != 405 || described != allowed {
            return Err(format!("the methods described are {described:?}"));
        }
        self.check_value(&json!({"$ref": "#/components/schemas/Refusal"}), &answer.json())
    }

    fn check_headers(&self, response: &Value, answer: &Answer) -> Result<(), String> {
        let described = response["headers"].as_object().cloned().unwrap_or_default();
        for (name, header) in &described {
            match answer.header(&name.to_lowercase()) {
                None if header["required"] == true => return Err(format!("the header {name} is missing")),
                None => {}
                Some(text) => {
                    let is_number = self.resolved(&header["schema"])["type"] == "integer";
                    let value = if is_number { serde_json::from_str(text).unwrap_or_default() } else { json!(text) };
                    self.check_value(&header["schema"], &value).map_err(|error| format!("{name}: {error}"))?;
                }
            }
        }
        let is_described = |name: &str| described.keys().any(|known| known.eq_ignore_ascii_case(name));
        match TELLING.iter().find(|name| answer.header(name).is_some() && !is_described(name)) {
            Some(name) => Err(format!("the header {name} is not described")),
            None => Ok(()),
        }
    }

    fn check_body(&self, response: &Value, answer: &Answer) -> Result<(), String> {
        let Some(content) = response.get("content").and_then(Value::as_object) else {
            return if answer.body.is_empty() { Ok(()) } else { Err("no body is described".into()) };
        };
        let given = answer.header("content-type").unwrap_or_default();
        let essence = given.split(';').next().unwrap_or_default();
        let media = content.get(essence).ok_or_else(|| format!("the media type {given} is not described"))?;
        let value: Value = match essence {
            "text/plain" | "text/html" | "application/x-ndjson" => json!(answer.text()),
            "application/yaml" => serde_yaml::from_str(&answer.text()).map_err(|error| error.to_string())?,
            _ => serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?,
        };
        self.check_value(&media["schema"], &value)
    }

    fn check_value(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let mut root = schema.clone();
        root["components"] = self.document["components"].clone();
        let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012);
        let validator = options.should_validate_formats(true).build(&root).map_err(|error| error.to_string())?;
        let faults: Vec<_> =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
    }
}

/// The path without what a GoldenGate reverse proxy shows in it: the name of a deployment, if it has one, and of a service.
fn native(path: &str) -> String {
    for service in ["/distsrvr/", "/adminsrvr/"] {
        match path.split_once(service) {
            Some((before, rest)) if before.starts_with("/services") && before.matches('/').count() <= 2 => {
                return format!("/services/{rest}");
            }
            _ => {}
        }
    }
    path.to_owned()
}

/// Lets an object have the members that are described only, and so the objects in it.
fn close(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    if members.contains_key("properties") && !members.contains_key("$ref") {
        members.entry("additionalProperties").or_insert(json!(false));
    }
    if let Some(properties) = members.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(close);
    }
    if let Some(items) = members.get_mut("items") {
        close(items);
    }
}

#[test]
fn an_answer_that_is_not_as_described_is_noticed() {
    let envelope = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}});
    let document = json!({
        "paths": {"/x/{name}": {"get": {"operationId": "x", "responses": {
            "200": {"headers": {"ETag": {"required": true, "schema": {"type": "string"}}},
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/X"}}}},
            "304": {"description": "the same"},
        }}}},
        "components": {"schemas": {"X": envelope, "Refusal": {}}},
    });
    let document = Document::new(document);
    let answer = |status: u16, headers: &[(&str, &str)], body: &str| Answer {
        status,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: body.into(),
    };
    let (json, etag) = (("content-type", "application/json; charset=utf-8"), ("etag", "\"1\""));
    let good = answer(200, &[json, etag], r#"{"a":1}"#);
    assert_eq!(document.check("GET", "/x/y?z=1", &good), Ok(()));
    assert_eq!(document.check("HEAD", "/x/y", &answer(200, &[json, etag], "")), Ok(()));
    assert_eq!(document.check("GET", "/nothing/of/it", &answer(404, &[], "")), Ok(()));
    for (method, target, wrong, says) in [
        ("GET", "/x/y", answer(200, &[json, etag], r#"{"a":1,"b":2}"#), "'b'"),
        ("GET", "/x/y", answer(200, &[json, etag], r#"{"a":"1"}"#), "integer"),
        ("GET", "/x/y", answer(200, &[json, etag], r#"{}"#), "required"),
        ("GET", "/x/y", answer(200, &[json], r#"{"a":1}"#), "ETag is missing"),
        ("GET", "/x/y", answer(200, &[json, etag, ("retry-after", "1")], r#"{"a":1}"#), "retry-after is not described"),
        ("GET", "/x/y", answer(200, &[("content-type", "text/html"), etag], ""), "media type text/html"),
        ("GET", "/x/y", answer(404, &[json], "{}"), "has no status 404"),
        ("GET", "/x/y", answer(304, &[], "x"), "no body is described"),
        ("GET", "/x/", good.clone(), "no such path"),
        ("GET", "/services/a/b/distsrvr/x/y", good.clone(), "no such path"),
        ("POST", "/x/y", good.clone(), "methods described"),
        ("POST", "/x/y", answer(405, &[json, ("allow", "GET, POST")], "{}"), "methods described"),
    ] {
        let refusal = document.check(method, target, &wrong).unwrap_err();
        assert!(refusal.contains(says), "{says} is not in {refusal}");
    }
    let [operation] = &document.operations()[..] else { panic!() };
    assert_eq!((document.seen(operation), document.statuses(operation)), ([200].into(), [200, 304].into()));
}
