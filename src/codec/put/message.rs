//! A message of a put: `{"op":"MESSAGE","key":…,"value":…|"valueBase64":…,"partition":…|"hashKey":…}`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::value::unfit;
use super::{Fault, PutOperation, PutTransaction, fault, text};
use crate::limits::{MESSAGE_KEY_BYTES_MAX, MESSAGE_VALUE_BYTES_MAX};

/// What `op` says of it, as JSON.
pub(super) const NAME: &str = "\"MESSAGE\"";

/// The members that it may have.
pub(super) const MEMBERS: [&str; 6] = ["op", "key", "value", "valueBase64", "partition", "hashKey"];

/// A message of a put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutMessage<'a> {
    /// Its key, if it has one.
    pub key: Option<Cow<'a, str>>,
    /// Its content: a JSON text as it came, or any bytes.
    pub value: Cow<'a, [u8]>,
    /// Where it goes.
    pub place: PutPlace,
}

/// What decides the partition of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutPlace {
    /// Its key, or chance without one.
    Key,
    /// This hash, whatever its key.
    Hash(u128),
    /// It goes to this partition, whatever its key.
    Partition(u16),
}

/// The members of a message, as JSON.
#[derive(Debug, Default)]
pub(super) struct Given<'a> {
    key: Option<&'a str>,
    value: Option<&'a str>,
    value_base64: Option<&'a str>,
    partition: Option<&'a str>,
    hash_key: Option<&'a str>,
}

impl<'a> Given<'a> {
    /// Takes in a member other than `op`; says whether it is one, and new.
    pub(super) fn take(&mut self, name: &str, json: &'a str) -> bool {
        let member = match name {
            "key" => &mut self.key,
            "value" => &mut self.value,
            "valueBase64" => &mut self.value_base64,
            "partition" => &mut self.partition,
            "hashKey" => &mut self.hash_key,
            _ => return false,
        };
        member.replace(json).is_none()
    }
}

impl<'a> PutMessage<'a> {
    /// Reads what an operation's members say. Faults name the member.
    pub(super) fn read(given: &Given<'a>) -> Result<Self, Fault> {
        let key = match given.key {
            None | Some("null") => None,
            Some(json) => Some(text(json, "key")?),
        };
        if key.as_ref().is_some_and(|key| key.len() > MESSAGE_KEY_BYTES_MAX) {
            return fault("key", format!("must have at most {MESSAGE_KEY_BYTES_MAX} bytes"));
        }
        let value = Self::value(given)?;
        if value.len() > MESSAGE_VALUE_BYTES_MAX {
            let member = if given.value.is_some() { "value" } else { "valueBase64" };
            return fault(member, format!("must have at most {MESSAGE_VALUE_BYTES_MAX} bytes"));
        }
        Ok(Self { key, value, place: Self::place(given)? })
    }

    fn value(given: &Given<'a>) -> Result<Cow<'a, [u8]>, Fault> {
        match (given.value, given.value_base64) {
            (Some(value), None) => match unfit(value) {
                None => Ok(Cow::Borrowed(value.as_bytes())),
                Some(what) => fault("value", what.to_string()),
            },
            (None, Some(value)) => {
                let bytes = STANDARD.decode(text(value, "valueBase64")?.as_bytes());
                bytes.map(Cow::Owned).map_err(|_| {
                    ("valueBase64".to_owned(), "must be base64 with its padding (A-Z, a-z, 0-9, +, /, =)".to_owned())
                })
            }
            (Some(_), Some(_)) => fault("valueBase64", "is not taken beside value; give one of the two"),
            (None, None) => fault("value", "is required, or valueBase64 in its place"),
        }
    }

    fn place(given: &Given<'a>) -> Result<PutPlace, Fault> {
        match (given.partition, given.hash_key) {
            (None, None) => Ok(PutPlace::Key),
            (Some(_), Some(_)) => fault("hashKey", "is not taken beside partition; give one of the two"),
            (Some(partition), None) => match partition.parse() {
                Ok(partition) => Ok(PutPlace::Partition(partition)),
                Err(_) => fault("partition", "must be the number of an open partition, such as 0"),
            },
            (None, Some(hash)) => {
                let digits = text(hash, "hashKey")?;
                let canonical = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                let canonical = canonical && (digits == "0" || !digits.starts_with('0'));
                match digits.parse().ok().filter(|_| canonical) {
                    Some(hash) => Ok(PutPlace::Hash(hash)),
                    None => fault("hashKey", format!("must be a string of decimal digits from 0 to {}", u128::MAX)),
                }
            }
        }
    }
}

impl<'a> PutTransaction<'a> {
    /// Adds a message as the next operation.
    pub(super) fn push_message(&mut self, message: PutMessage<'a>) {
        self.messages.push(message);
        let message = Some(self.messages.len() - 1);
        let (form, cells_at) = (usize::MAX, self.cells.len());
        self.operations.push(PutOperation { form, message, cells_at, tokens: None, ddl: None });
    }
}

#[cfg(test)]
mod tests {
    use crate::codec::put::{PutPlace, parse};
    use crate::record::Timestamp;

    fn read(members: &str) -> Result<(Option<String>, Vec<u8>, PutPlace), String> {
        let body = format!(r#"{{"operations":[{{"op":"MESSAGE"{members}}}]}}"#);
        let read = parse(body.as_bytes(), Timestamp::from_micros(0)).map_err(|error| error.to_string())?;
        let message = read[0].messages[read[0].operations[0].message.unwrap()].clone();
        Ok((message.key.map(|key| key.into_owned()), message.value.into_owned(), message.place))
    }

    #[test]
    fn a_message_is_a_key_a_value_and_what_decides_its_partition() {
        let key = Some("k".to_owned());
        assert_eq!(
            read(r#","key":"k","value":{"a": 1.10}"#),
            Ok((key.clone(), b"{\"a\": 1.10}".to_vec(), PutPlace::Key))
        );
        assert_eq!(read(r#","value":null"#), Ok((None, b"null".to_vec(), PutPlace::Key)));
        assert_eq!(read(r#","key":null,"value":"x""#), Ok((None, b"\"x\"".to_vec(), PutPlace::Key)));
        assert_eq!(
            read(r#","key":"k","valueBase64":"/wA=","partition":7"#),
            Ok((key.clone(), vec![0xFF, 0], PutPlace::Partition(7)))
        );
        let greatest = format!(r#","key":"k","value":1,"hashKey":"{}""#, u128::MAX);
        assert_eq!(read(&greatest), Ok((key, b"1".to_vec(), PutPlace::Hash(u128::MAX))));
    }

    #[test]
    fn what_is_wrong_with_a_message_is_said_with_its_member() {
        let above = format!(r#","value":1,"hashKey":"{}0""#, u128::MAX);
        let long = format!(r#","value":1,"key":"{}""#, "k".repeat(crate::limits::MESSAGE_KEY_BYTES_MAX + 1));
        for (members, member) in [
            (r#","key":"k""#, "value"),
            (r#","value":1,"value":1"#, ""),
            (r#","value":1,"valueBase64":"""#, "valueBase64"),
            (r#","valueBase64":"!""#, "valueBase64"),
            (r#","valueBase64":1"#, "valueBase64"),
            (r#","value":"\ud800""#, "value"),
            (r#","value":1,"key":7"#, "key"),
            (r#","value":1,"key":["k"]"#, "key"),
            (r#","value":1,"partition":-1"#, "partition"),
            (r#","value":1,"partition":65536"#, "partition"),
            (r#","value":1,"partition":"0""#, "partition"),
            (r#","value":1,"partition":1.0"#, "partition"),
            (r#","value":1,"partition":0,"hashKey":"0""#, "hashKey"),
            (r#","value":1,"hashKey":0"#, "hashKey"),
            (r#","value":1,"hashKey":"+1""#, "hashKey"),
            (r#","value":1,"hashKey":"01""#, "hashKey"),
            (r#","value":1,"hashKey":"""#, "hashKey"),
            (above.as_str(), "hashKey"),
            (long.as_str(), "key"),
            (r#","value":1,"table":"t""#, "table"),
            (r#","value":1,"tokens":{}"#, "tokens"),
        ] {
            let told = read(members).unwrap_err();
            let dot = if member.is_empty() { "" } else { "." };
            assert!(told.starts_with(&format!("line 1: operations[0]{dot}{member}: ")), "{members}: {told}");
        }
    }
}
