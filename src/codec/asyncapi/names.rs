//! Names that generators turn into classes: ASCII, Pascal case, unique, and no keyword of any language (each starts with
//! the name of a kind of record or with `Table`).

use std::collections::HashSet;

use serde_json::Value;

/// `public.order_items` becomes `PublicOrderItems`; what is no ASCII letter or digit separates words.
pub(super) fn pascal_case(text: &str) -> String {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
}

/// `name`, or with a number after it if it is taken (also in another case: some generators write files).
pub(super) fn unique(name: String, taken: &mut HashSet<String>) -> String {
    let mut free = name.clone();
    let mut number = 2;
    while !taken.insert(free.to_ascii_lowercase()) {
        free = format!("{name}{number}");
        number += 1;
    }
    free
}

/// Gives each object and enum schema within `schema` an `$id` that begins with `name`.
pub(super) fn identify(schema: &mut Value, name: &str, taken: &mut HashSet<String>) {
    let Some(members) = schema.as_object_mut() else { return };
    let is_object = members.get("type").is_some_and(|kind| {
        kind == "object" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"))
    });
    if is_object || members.contains_key("enum") || members.contains_key("const") {
        let id = unique(name.to_owned(), taken);
        members.shift_insert(0, "$id".into(), id.into());
    }
    if let Some(properties) = members.get_mut("properties").and_then(Value::as_object_mut) {
        for (property, inner) in properties {
            identify(inner, &format!("{name}{}", pascal_case(property)), taken);
        }
    }
    for (member, suffix) in [("items", "Item"), ("additionalProperties", "Value")] {
        if let Some(inner) = members.get_mut(member) {
            identify(inner, &format!("{name}{suffix}"), taken);
        }
    }
}
