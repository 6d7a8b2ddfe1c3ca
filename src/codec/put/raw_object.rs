//! A JSON object read one level deep.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::shown;

/// A JSON object whose values are still text, in the order given, no name twice.
#[derive(Debug, Default)]
pub struct RawObject<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> RawObject<'a> {
    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// Members up to which looking through them is faster than a set.
const FEW_MEMBERS: usize = 16;

/// Notices a name that stands twice.
#[derive(Default)]
pub(super) struct Names<'a>(HashSet<Cow<'a, str>>);

impl<'a> Names<'a> {
    /// Whether `name` is none of the `earlier` ones, all of which have been asked about before.
    #[allow(clippy::ptr_arg)] // It is kept as it is, borrowed or not.
    pub(super) fn is_new<'n>(
        &mut self,
        name: &Cow<'a, str>,
        earlier: impl ExactSizeIterator<Item = &'n Cow<'a, str>>,
    ) -> bool
    where
        'a: 'n,
    {
        if earlier.len() < FEW_MEMBERS {
            return earlier.into_iter().all(|known| known != name);
        }
        if self.0.is_empty() {
            self.0.extend(earlier.cloned());
        }
        self.0.insert(name.clone())
    }
}

/// An object as it was read, and what its names are wrong in.
struct Reading<'a>(RawObject<'a>, Option<String>);

impl<'a> RawObject<'a> {
    /// Reads what is known to be JSON; the error is for whoever sent it.
    pub(super) fn read(json: &'a str) -> Result<Self, String> {
        match serde_json::from_str(json) {
            Ok(Reading(object, None)) => Ok(object),
            Ok(Reading(_, Some(wrong))) => Err(wrong),
            Err(error) => Err(format!("must be an object: {error}")),
        }
    }
}

impl<'de> Deserialize<'de> for RawObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Reading(object, wrong) = Reading::deserialize(deserializer)?;
        wrong.map_or(Ok(object), |wrong| Err(serde::de::Error::custom(wrong)))
    }
}

impl<'de> Deserialize<'de> for Reading<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Reading<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut names = Names::default();
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                let mut wrong = None;
                while let Some(name) = map.next_key::<&'de RawValue>()? {
                    let value = map.next_value()?;
                    match super::text(name.get(), "") {
                        Ok(name) if names.is_new(&name, members.iter().map(|(known, _)| known)) => {
                            members.push((name, value));
                        }
                        Ok(name) => wrong = wrong.or_else(|| Some(format!("member {:?} stands twice", shown(&name)))),
                        Err((_, what)) => {
                            wrong = wrong.or_else(|| Some(format!("the member {} {what}", shown(name.get()))))
                        }
                    }
                }
                Ok(Reading(RawObject(members), wrong))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
