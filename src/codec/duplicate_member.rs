//! Members that stand twice in one object of JSON, which most readers pass over in silence and each in its own way.
//!
//! Owns where they are looked for and how they are named. What is no JSON at all is for whoever reads it.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The path of a member that stands twice, such as `rules[0].action`, if there is one.
pub fn duplicate_member(json: &[u8]) -> Option<String> {
    serde_json::from_slice(json).ok().and_then(|Twice(path)| path)
}

/// The path of the first such member in a value.
struct Twice(Option<String>);

impl<'de> Deserialize<'de> for Twice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Twice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Twice, M::Error> {
        let mut names = HashSet::new();
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            let Twice(below) = map.next_value()?;
            if found.is_some() {
                continue;
            }
            found = if names.contains(&name) {
                Some(name.clone())
            } else {
                below.map(|path| if path.starts_with('[') { name.clone() + &path } else { format!("{name}.{path}") })
            };
            names.insert(name);
        }
        Ok(Twice(found))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Twice, S::Error> {
        let mut found = None;
        let mut at = 0;
        while let Some(Twice(below)) = elements.next_element()? {
            found = found.or_else(|| {
                below.map(|path| if path.starts_with('[') { format!("[{at}]{path}") } else { format!("[{at}].{path}") })
            });
            at += 1;
        }
        Ok(Twice(found))
    }

    fn visit_unit<E>(self) -> Result<Twice, E> {
        Ok(Twice(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Twice, E> {
        Ok(Twice(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Twice, E> {
        Ok(Twice(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Twice, E> {
        Ok(Twice(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Twice, E> {
        Ok(Twice(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Twice, E> {
        Ok(Twice(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_stands_twice_is_named_by_its_path() {
        for (json, path) in [
            (r#"{"a":1,"b":[true,null,-1,1.5,"x",{}],"c":{"a":1}}"#, None),
            (r#"{"a":1,"a":1}"#, Some("a")),
            (r#"{"a":1,"\u0061":1}"#, Some("a")),
            (r#"{"rules":[{"action":"include"},{"filter":{"x":1,"x":2}}]}"#, Some("rules[1].filter.x")),
            (r#"[[{"x":1,"x":2}]]"#, Some("[0][0].x")),
            (r#"{"a":{"x":1,"x":2},"a":1}"#, Some("a.x")),
            (r#"{"a":1,"a":"#, None),
        ] {
            assert_eq!(duplicate_member(json.as_bytes()).as_deref(), path, "{json}");
        }
    }
}
